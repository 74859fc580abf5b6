"""Chips of one file, and which belong together in two."""

import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.instruments import locate_planes
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.mosaic import chip_hdus, match_chips, name_chips

SHAPE = (20, 30)
FILES = ("template.fits", "science.fits")


def file(*extensions, head=None, image=None):
    """HDUs of a file: a primary one, then one of each name or mapping of cards."""
    headers = [{"EXTNAME": each} if isinstance(each, str) else each for each in extensions]
    return [Hdu(0, head or {}, image), *(Hdu(n, header, SHAPE) for n, header in enumerate(headers, start=1))]


def labels(pairing):
    return [(template.label, science.label) for template, science in pairing.pairs]


def keys(pairing):
    return [(template.key, science.key) for template, science in pairing.pairs]


def test_chips_are_matched_by_name_in_the_order_of_the_science_file():
    pairing = match_chips(file("N4", "S29", "N9"), file("S29", "n4", "N7"), FILES)
    assert pairing.by == "EXTNAME"
    assert labels(pairing) == [("S29", "S29"), ("N4", "N4")]
    assert [template.hdu.index for template, _ in pairing.pairs] == [2, 1]
    assert (pairing.only_template, pairing.only_science) == (("N9",), ("N7",))


def hst(*versions):
    return file(*({"EXTNAME": name, "EXTVER": n} for n in versions for name in ("SCI", "ERR", "DQ")))


def test_chips_of_hst_are_told_apart_by_their_version():
    pairing = match_chips(hst(1, 2), hst(2, 1), FILES)
    assert labels(pairing) == [("SCI,2", "SCI,2"), ("SCI", "SCI")]
    assert keys(pairing) == [("SCI,2", "SCI,2"), ("SCI,1", "SCI,1")]


def test_a_card_tells_chips_without_names():
    template, science = ([{"CCDNUM": n} for n in numbers] for numbers in ((1, 2), (2, 1, 3)))
    pairing = match_chips(file(*template), file(*science), FILES)
    assert pairing.by == "CCDNUM"
    assert labels(pairing) == [("CCDNUM2", "CCDNUM2"), ("CCDNUM1", "CCDNUM1")]
    assert keys(pairing) == [("2", "1"), ("1", "2")]
    assert pairing.only_science == ("CCDNUM3",)


def test_a_card_tells_chips_of_doubled_names():
    chips = [{"EXTNAME": "CHIP", "DETECTOR": name} for name in ("east", "west")]
    pairing = match_chips(file(*chips), file(*chips[::-1]), FILES)
    assert (pairing.by, labels(pairing)) == ("DETECTOR", [("WEST", "WEST"), ("EAST", "EAST")])


@pytest.mark.parametrize("name", ["", "IM1"])
def test_chips_that_nothing_tells_apart_are_matched_by_order(name):
    pairing = match_chips(file({}, {}), file(*[{"EXTNAME": name}] * 2, head={}, image=None), FILES)
    assert (pairing.by, keys(pairing)) == ("order", [("1", "1"), ("2", "2")])
    assert labels(pairing) == [("EXT1", "EXT1"), ("EXT2", "EXT2")]


def test_one_image_of_either_file_makes_a_pair_unless_both_have_names_that_differ():
    primary = [Hdu(0, {}, SHAPE)]
    assert labels(match_chips(file("IMAGE"), primary, FILES)) == [("EXT0", "EXT0")]
    assert keys(match_chips(file("IMAGE"), primary, FILES)) == [("IMAGE", "0")]
    with pytest.raises(InputError, match="no extension in common: by EXTNAME they have N4 and S29"):
        match_chips(file("N4"), file("S29"), FILES)


def test_what_cannot_be_told_apart_is_an_error():
    with pytest.raises(InputError, match=r"\(2 of template.fits and 3 of science.fits\) belong together"):
        match_chips(file({}, {}), file({}, {}, {}), FILES)
    with pytest.raises(InputError, match=r"2 of template.fits and 2 of science.fits"):
        match_chips(file("N4", "S29"), file({}, {}), FILES)
    with pytest.raises(InputError, match=r"science.fits has 2 extensions N4\)"):
        match_chips(file("N4", "S29", "N7"), file("N4", "N4", "S29"), FILES)
    with pytest.raises(InputError, match=r"template.fits: no two-dimensional image"):
        match_chips(file("MASK"), file("N4"), FILES)


def test_images_that_look_like_planes_of_others_are_not_guessed_at():
    with pytest.raises(InputError, match=r"science.fits: N4_MASK, N4_VARIANCE may be a mask or a variance"):
        name_chips(file("N4", "N4_MASK", "N4_VARIANCE"), "science.fits")


@pytest.mark.parametrize(
    ("hdus", "chips"),
    [
        (hst(1, 2), [1, 4]),
        (file("N4", "S29", "PSF", "WHT"), [1, 2]),
        (file("IMAGE", "MASK", "VARIANCE", "PSF"), [1]),
        (file(*({"EXTTYPE": kind} for kind in ("IMAGE", "MASK", "IMAGE", "MASK"))), [1, 3]),
        (file("N4", "N4_MASK", "N4_VARIANCE", "S29", "S29_PSF", head={"PMFORMAT": "psfmatch-mosaic"}), [1, 4]),
        (file("BPM", image=SHAPE), [0]),
    ],
)
def test_planes_are_no_chips(hdus, chips):
    assert [hdu.index for hdu in chip_hdus(hdus, "file.fits")] == chips


def test_several_lsst_exposures_in_a_file_keep_their_planes():
    kinds = ("IMAGE", "MASK", "VARIANCE")
    in_turn = file(*({"EXTTYPE": kind} for kind in kinds * 2))
    by_version = file(*({"EXTNAME": kind, "EXTVER": n} for kind in kinds for n in (1, 2)))
    for hdus, image, planes in ((in_turn, 4, (5, 6)), (by_version, 2, (4, 6)), (by_version, 1, (3, 5))):
        found = locate_planes(hdus, "file.fits", image)
        assert (found.layout, found.image, found.mask, found.variance) == ("lsst", image, *planes)
    assert [chip.label for chip in name_chips(by_version, "file.fits")[1]] == ["IMAGE", "IMAGE,2"]


def test_the_planes_of_a_mosaic_are_those_of_the_name_and_version():
    names = [(name + plane, n) for n in (1, 2) for name in ("SCI",) for plane in ("", "_MASK", "_VARIANCE")]
    hdus = file(*({"EXTNAME": name, "EXTVER": n} for name, n in names), head={"PMFORMAT": "psfmatch-mosaic"})
    assert (locate_planes(hdus, "f").image, locate_planes(hdus, "f").mask) == (1, 2)
    second = locate_planes(hdus, "f", 4)
    assert (second.layout, second.image, second.mask, second.variance, second.psf) == ("mosaic", 4, 5, 6, None)
