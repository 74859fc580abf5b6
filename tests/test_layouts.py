import numpy as np
import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.instruments import locate_planes
from psfmatch_cli.layouts import Hdu, PlaneMap, as_variance, origin_from_header

SHAPE = (8, 9)


def hdus(*cards, shape=SHAPE):
    """HDUs with these cards; None stands for an HDU without image."""
    return [
        Hdu(index, {} if header is None else header, None if header is None else shape)
        for index, header in enumerate(cards)
    ]


def test_lsst_planes_are_found_by_exttype_in_any_order():
    found = locate_planes(hdus(None, {"EXTTYPE": "VARIANCE"}, {"EXTTYPE": "IMAGE "}, {"EXTTYPE": "MASK"}), "f")
    assert found == PlaneMap("lsst", 2, 3, 1)


def test_lsst_planes_are_found_by_extname():
    found = locate_planes(hdus(None, {"EXTNAME": "image"}, {"EXTNAME": "Mask"}, {"EXTNAME": "VARIANCE"}), "f")
    assert found == PlaneMap("lsst", 1, 2, 3)


@pytest.mark.parametrize("first", [0, 1])
def test_lsst_planes_without_names_are_found_by_position(first):
    planes = [None] * first + [{}, {"MP_BAD": 0}, {}]
    assert locate_planes(hdus(*planes), "f") == PlaneMap("lsst", first, first + 1, first + 2)


def test_exttype_wins_over_extname():
    cards = hdus(None, {"EXTTYPE": "IMAGE", "EXTNAME": "VARIANCE"}, {"EXTTYPE": "VARIANCE", "EXTNAME": "IMAGE"})
    assert locate_planes(cards, "f") == PlaneMap("lsst", 1, None, 2)


def test_missing_lsst_planes_are_missing_and_not_taken_from_another():
    assert locate_planes(hdus(None, {"EXTTYPE": "IMAGE"}, {"EXTTYPE": "VARIANCE"}), "f").mask is None
    assert locate_planes(hdus(None, {"EXTTYPE": "IMAGE"}, {"EXTTYPE": "MASK"}), "f").variance is None


def test_an_unexpected_exttype_at_the_place_of_a_plane_is_an_error():
    with pytest.raises(InputError, match="HDU 2 has EXTTYPE 'FLAGS', expected 'MASK'"):
        locate_planes(hdus(None, {"EXTTYPE": "IMAGE"}, {"EXTTYPE": "FLAGS"}, {"EXTTYPE": "VARIANCE"}), "f")


def test_our_psf_extension_is_found():
    names = [{"EXTNAME": name} for name in ("IMAGE", "MASK", "VARIANCE", "PSF")]
    assert locate_planes(hdus(None, *names), "f").psf == 4


def test_first_image_of_a_plain_file():
    assert locate_planes(hdus(None, {}, {}), "f") == PlaneMap("plain", 1)
    assert locate_planes(hdus({}, {}), "f") == PlaneMap("plain", 0)
    assert locate_planes(hdus({}, {}), "f", image=1) == PlaneMap("plain", 1)


def test_companions_share_the_version_of_the_image():
    chips = [{"EXTNAME": name, "EXTVER": chip} for chip in (1, 2) for name in ("SCI", "ERR", "DQ")]
    assert locate_planes(hdus(None, *chips), "f") == PlaneMap("plain", 1, 3, 2, "noise")
    assert locate_planes(hdus(None, *chips), "f", image=4) == PlaneMap("plain", 4, 6, 5, "noise")


@pytest.mark.parametrize(
    ("name", "kind"), [("ERR", "noise"), ("VAR", "variance"), ("VARIANCE", "variance"), ("WHT", "weight")]
)
def test_noise_companions(name, kind):
    found = locate_planes(hdus({"EXTNAME": "SCI"}, {"EXTNAME": name}), "f")
    assert (found.variance, found.variance_kind) == (1, kind)


def test_an_error_plane_asked_for_by_name_stands_alone():
    found = locate_planes(hdus(None, {"EXTNAME": "SCI"}, {"EXTNAME": "ERR"}, {"EXTNAME": "DQ"}), "f", image=2)
    assert found == PlaneMap("plain", 2)


def test_no_image_is_an_error():
    with pytest.raises(InputError, match="f: no two-dimensional image in the file"):
        locate_planes(hdus(None), "f")
    with pytest.raises(InputError, match="HDU 0 holds no two-dimensional image"):
        locate_planes(hdus(None, {}), "f", image=0)
    with pytest.raises(InputError, match="no two-dimensional image"):
        locate_planes(hdus({}, shape=(3, 8, 9)), "f")


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, (12, -7)),
        ({"CRVAL1A": 11.6, "CRVAL2A": -7.5}, (12, -7)),
        ({"CRPIX2A": 2}, (0, 0)),
        ({"LTV1": 5}, (12, -7)),
    ],
)
def test_origin_comes_from_the_alternative_wcs(changes, origin):
    header = {"CRPIX1A": 1.0, "CRPIX2A": 1, "CRVAL1A": 12, "CRVAL2A": -7, **changes}
    assert origin_from_header(header) == origin


def test_origin_without_cards_is_zero():
    assert origin_from_header({"LTV1": -4, "LTV2": -5}) == (0, 0)


def test_variance_of_each_kind_of_plane():
    values = np.array([[4.0, 0.0, -2.0, np.nan, np.inf]])
    variance, no_data = as_variance(values, "variance")
    np.testing.assert_array_equal(variance, values.astype(np.float32))
    assert not no_data.any()
    variance, no_data = as_variance(values, "noise")
    np.testing.assert_array_equal(variance, np.float32([[16, np.nan, np.nan, np.nan, np.inf]]))
    assert not no_data.any()
    variance, no_data = as_variance(values, "weight")
    np.testing.assert_array_equal(variance, np.float32([[0.25, np.inf, np.inf, np.inf, 0]]))
    assert no_data.tolist() == [[False, True, True, True, False]]
