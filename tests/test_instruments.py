"""Layouts are recognised by content; companions follow from the name that the user typed."""

import pytest

from psfmatch_cli.instruments import LAYOUTS, companion_names, locate_planes
from psfmatch_cli.layouts import Hdu, PlaneMap

SHAPE = (8, 9)


def hdus(*cards):
    return [Hdu(n, {} if card is None else card, None if card is None else SHAPE) for n, card in enumerate(cards)]


def layout_of(*cards):
    return locate_planes(hdus(*cards), "f").layout


@pytest.mark.parametrize(
    ("cards", "layout"),
    [
        ([{"TELESCOP": "HST"}, {"EXTNAME": "SCI"}], "hst"),
        ([{"TELESCOP": "JWST", "INSTRUME": "MIRI"}, {"EXTNAME": "SCI"}], "jwst"),
        ([{"EXTNAME": "SCI", "INSTRUME": "NIRCAM"}], "jwst"),
        ([{"INSTRUME": "NIRISS"}], "plain"),
        ([{"PROCTYPE": "InstCal", "PRODTYPE": "image"}, {"EXTNAME": "S29"}], "decam"),
        ([{"INSTRUME": "DECam"}, {"EXTNAME": "S29"}], "plain"),
        ([{"INSTRUME": "ZTF/MOSAIC"}], "ztf"),
        ([{"ORIGIN": "Zwicky Transient Facility"}], "ztf"),
        ([{}, {"BSOFTEN": 2.0, "BOFFSET": 1.0}], "panstarrs"),
        ([{}, {"CELL.GAIN": 1.0}], "panstarrs"),
        ([{"ORIGIN": "SDSS", "RUN": 1, "CAMCOL": 2}], "sdss"),
        ([{"ORIGIN": "SDSS"}], "plain"),
        ([{"SOFTNAME": "SWarp"}], "swarp"),
        ([{"COMBINET": "MEDIAN", "RESAMPT1": "LANCZOS3"}], "swarp"),
        ([{"TELESCOP": "0.6 m"}], "plain"),
        # What this program wrote keeps the cards of the file that it read.
        ([{"TELESCOP": "HST"}, {"EXTTYPE": "IMAGE"}, {"EXTTYPE": "MASK"}, {"EXTTYPE": "VARIANCE"}], "lsst"),
    ],
)
def test_layouts_and_their_marks(cards, layout):
    assert layout_of(*cards) == layout


def test_a_layout_that_is_asked_for_is_used():
    planes = hdus({"TELESCOP": "HST"}, {"EXTNAME": "SCI"}, {"EXTNAME": "DQ"})
    assert locate_planes(planes, "f", layout="plain") == PlaneMap("plain", 1, 2)
    assert locate_planes(planes, "f", layout="ztf").layout == "ztf"


def test_a_weight_beside_an_error_tells_the_coverage():
    planes = hdus(None, {"EXTNAME": "SCI"}, {"EXTNAME": "ERR"}, {"EXTNAME": "WHT"})
    assert locate_planes(planes, "f") == PlaneMap("plain", 1, None, 2, "noise", None, 3)


@pytest.mark.parametrize(
    ("layout", "name", "names"),
    [
        (
            "decam",
            "c4d_190503_101849_ooi_z_v1.fits.fz",
            {"mask": "c4d_190503_101849_ood_z_v1.fits.fz", "weight": "c4d_190503_101849_oow_z_v1.fits.fz"},
        ),
        ("decam", "c4d_190503_101849_osi_z_v1.fits", {"mask": "c4d_190503_101849_osd_z_v1.fits"}),
        ("decam", "c4d_190503_101849_ood_z_v1.fits.fz", {}),
        ("ztf", "ztf_2019_zr_c03_o_q1_sciimg.fits", {"mask": "ztf_2019_zr_c03_o_q1_mskimg.fits"}),
        ("ztf", "ztf_000713_zr_c03_q1_refimg.fits", {"noise": "ztf_000713_zr_c03_q1_refunc.fits"}),
        (
            "panstarrs",
            "a.stk.r.unconv.fits",
            {"mask": "a.stk.r.unconv.mask.fits", "variance": "a.stk.r.unconv.wt.fits"},
        ),
        ("panstarrs", "a.unconv.mask.fits", {}),
        ("swarp", "coadd.fits", {"weight": "coadd.weight.fits"}),
        ("swarp", "coadd.weight.fits", {}),
        ("plain", "image.fits", {}),
        ("hst", "j1_flc.fits", {}),
    ],
)
def test_names_of_companions(layout, name, names):
    found = companion_names(LAYOUTS[layout], name)
    assert {role: found[role][0] for role in names} == names
    assert bool(found) == bool(names)


def test_a_companion_may_be_packed_in_another_way():
    names = companion_names(LAYOUTS["swarp"], "coadd.fits.fz")["weight"]
    assert names == ["coadd.weight.fits.fz", "coadd.weight.fits", "coadd.weight.fits.gz"]
