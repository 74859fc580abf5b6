"""World coordinates in the ways in which they are written."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from psfmatch_cli.wcs_header import geometry, projection_name, read_wcs, solved_beside

SHAPE = (300, 400)


def header(rotation=0.0, scale=0.5, flipped=False, kind="TAN", frame=("RA---", "DEC--")):
    angle = np.deg2rad(rotation)
    made = fits.Header({"NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]})
    made["CTYPE1"], made["CTYPE2"] = frame[0] + kind, frame[1] + kind
    made["CRVAL1"], made["CRVAL2"], made["CRPIX1"], made["CRPIX2"] = 150.0, 60.0, 200.5, 150.5
    step, sign = scale / 3600, 1 if flipped else -1
    made["CD1_1"], made["CD1_2"] = sign * step * np.cos(angle), step * np.sin(angle)
    made["CD2_1"], made["CD2_2"] = -sign * step * np.sin(angle), step * np.cos(angle)
    return made


@pytest.mark.parametrize("rotation", [0.0, 30.0, -120.0])
@pytest.mark.parametrize("flipped", [False, True])
def test_scale_orientation_and_centre(rotation, flipped):
    found = geometry(WCS(header(rotation, flipped=flipped)), SHAPE, "TAN")
    assert found.pixel_scale == pytest.approx(0.5, rel=1e-6)
    # The position angle of the y axis: east of north.
    assert found.rotation == pytest.approx(rotation, abs=1e-3)
    assert found.flipped == flipped
    assert (found.ra, found.dec, found.projection) == (pytest.approx(150.0), pytest.approx(60.0), "TAN")
    assert found.pixel_area == pytest.approx((0.5 * np.pi / 180 / 3600) ** 2, rel=1e-6)


def test_the_centre_is_told_in_icrs():
    found = geometry(WCS(header(frame=("GLON-", "GLAT-"))), SHAPE)
    truth = SkyCoord(150.0, 60.0, unit="deg", frame="galactic").icrs
    assert (found.ra, found.dec) == (pytest.approx(truth.ra.deg), pytest.approx(truth.dec.deg))
    assert found.pixel_scale == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("frame", ["fk4", "fk5"])
def test_an_old_equinox_is_brought_to_icrs(frame):
    cards = header()
    cards.update({"RADESYS": frame.upper(), "EQUINOX": 1950.0})
    found = geometry(WCS(cards), SHAPE)
    truth = SkyCoord(150.0, 60.0, unit="deg", frame=frame, equinox="B1950" if frame == "fk4" else "J1950").icrs
    assert (found.ra, found.dec) == (pytest.approx(truth.ra.deg, abs=1e-7), pytest.approx(truth.dec.deg, abs=1e-7))


def test_a_field_at_the_pole():
    cards = header(30.0)
    cards["CRVAL2"] = 89.9999
    assert geometry(WCS(cards), SHAPE).pixel_scale == pytest.approx(0.5, rel=1e-6)


def test_a_distortion_that_leaves_no_pixel_has_no_geometry():
    cards = header(kind="TAN-SIP")
    cards.update({"A_ORDER": 2, "B_ORDER": 2, "B_2_0": 0.0, "A_2_0": 1e300})
    cards["CRPIX1"], cards["CRPIX2"] = 1e9, 1e9
    assert geometry(WCS(cards), SHAPE) is None


def test_the_first_header_with_a_wcs_counts():
    hdus = fits.HDUList([fits.PrimaryHDU()])
    assert read_wcs(hdus, [fits.Header(), header(scale=0.7)], "f").proj_plane_pixel_scales()[0].value * 3600 == (
        pytest.approx(0.7)
    )
    assert read_wcs(hdus, [fits.Header()], "f") is None


def test_scamps_linear_terms_alone_change_nothing():
    hdus = fits.HDUList([fits.PrimaryHDU()])
    plain = header(20.0)
    scamp = plain.copy()
    for axis in (1, 2):
        scamp.update({f"PV{axis}_0": 0.0, f"PV{axis}_1": 1.0, f"PV{axis}_2": 0.0})
    assert (projection_name([plain]), projection_name([scamp])) == ("TAN", "TPV")
    corners = [[0.0, 0.0], [399.0, 299.0]]
    truth = read_wcs(hdus, [plain], "f").all_pix2world(corners, 0)
    np.testing.assert_allclose(read_wcs(hdus, [scamp], "f").all_pix2world(corners, 0), truth, rtol=0, atol=1e-11)


def test_parameters_by_the_standard_are_left_alone():
    cards = header()
    cards.update({"PV1_1": 0.0, "PV1_2": 90.0, "PV1_3": 180.0})
    assert projection_name([cards]) == "TAN"
    wcs = read_wcs(fits.HDUList([fits.PrimaryHDU()]), [cards], "f")
    np.testing.assert_allclose(wcs.all_pix2world([[199.5, 149.5]], 0), [[150.0, 60.0]], rtol=0, atol=1e-9)


def test_old_matrices_are_understood():
    cards = header()
    for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del cards[name]
    cards.update({"CDELT1": -0.25 / 3600, "CDELT2": 0.25 / 3600})
    cards.update({"PC001001": 1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0})
    wcs = read_wcs(fits.HDUList([fits.PrimaryHDU()]), [cards], "f")
    assert geometry(wcs, SHAPE).pixel_scale == pytest.approx(0.25, rel=1e-6)


def test_the_file_of_a_solution(tmp_path):
    path = tmp_path / "a.fits.gz"
    assert solved_beside(path) is None
    (tmp_path / "a.wcs").touch()
    assert solved_beside(path) == tmp_path / "a.wcs"
    assert solved_beside(tmp_path / "a.wcs") is None
