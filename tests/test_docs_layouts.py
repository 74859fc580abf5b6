"""The page on layouts says what the code does: every layout, flag and card, and none that there is not."""

import re

import pytest
from test_reading_layouts import ALL_FILES

import made_files as made
from doc_pages import GUIDE, code, rows, sections
from psfmatch_cli import quality_flags as flags
from psfmatch_cli.instruments import LAYOUTS
from psfmatch_cli.io import read_exposure, write_exposure
from psfmatch_cli.keywords import QUANTITIES
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.mosaic import Chip
from psfmatch_cli.mosaic_file import MosaicWriter
from psfmatch_cli.psf import gaussian_psf

PAGE = "\n".join(sections(GUIDE / "reference" / "layouts.rst").values())


def test_every_layout_has_a_row_in_the_order_of_the_search():
    found = rows(PAGE, "Layouts, in the order in which they are tried")
    assert [code(row[0])[0] for row in found] == list(LAYOUTS)


COLUMNS = ("image", "mask", "variance", "psf", "gain", "saturation", "pixel_scale", "zero_point")
#: What the page says of each column that a made file fills, and what is said of the file that was read.
FOUND = {
    "mosaic": {
        "image": ("first chip", "HDU 1 (N4)"), "mask": ("_MASK", "HDU 2 (N4_MASK)"),
        "variance": ("_VARIANCE", "HDU 3 (N4_VARIANCE)"), "psf": ("_PSF", "PSF extension"),
        "saturation": ("its mask, plane SAT", "HDU 2"), "pixel_scale": ("the chip", "WCS"),
        "zero_point": ("FLUXMAG0", "header FLUXMAG0"),
    },
    "lsst": {
        "image": ("IMAGE", "IMAGE"), "mask": ("MASK", "MASK"), "variance": ("VARIANCE", "VARIANCE"),
        "psf": ("PSF", "PSF extension"), "saturation": ("MASK", "mask"), "pixel_scale": ("IMAGE", "WCS"),
        "zero_point": ("FLUXMAG0", "header FLUXMAG0"),
    },
    "jwst": {
        "image": ("first SCI", "HDU 1 (SCI)"), "mask": ("DQ", "(DQ)"), "variance": ("ERR squared", "(ERR), a noise"),
        "saturation": ("DQ", "HDU 3"), "pixel_scale": ("SCI", "WCS"), "zero_point": ("MJy/sr", "unit MJy/sr"),
    },
    "hst": {
        "image": ("first SCI", "HDU 1 (SCI)"), "mask": ("DQ", "(DQ)"), "variance": ("ERR squared", "(ERR), a noise"),
        "gain": ("BUNIT", "unit ELECTRONS"), "saturation": ("DQ", "HDU 3"), "pixel_scale": ("SCI", "WCS"),
        "zero_point": ("PHOTFLAM and PHOTPLAM, with EXPTIME", "PHOTFLAM, PHOTPLAM and header EXPTIME"),
    },
    "decam": {
        "image": ("first image", "HDU 1"), "mask": ("_ood_", "_ood_"), "variance": ("_oow_", "_oow_"),
        "gain": ("mean of GAINA and GAINB", "mean of header GAINA, GAINB"), "saturation": ("_ood_", "_ood_"),
        "pixel_scale": ("image", "WCS"), "zero_point": ("MAGZERO", "header MAGZERO"),
    },
    "ztf": {
        "image": ("first image", "HDU 0"), "mask": ("mskimg", "mskimg"), "psf": ("sciimgdaopsfcent",) * 2,
        "gain": ("GAIN", "header GAIN"), "saturation": ("mskimg", "mskimg"), "pixel_scale": ("image", "WCS"),
        "zero_point": ("MAGZP", "header MAGZP"),
    },
    "panstarrs": {
        "image": ("first image", "HDU 1"), "mask": (".mask", ".mask.fits"), "variance": (".wt", ".wt.fits"),
        "gain": ("CELL.GAIN", "header CELL.GAIN"), "saturation": (".mask", ".mask.fits"),
        "pixel_scale": ("image", "WCS"), "zero_point": ("FPA.ZP and the exposure time", "FPA.ZP and header EXPTIME"),
    },
    "sdss": {
        "image": ("HDU 0", "HDU 0"), "gain": ("table of CCDs", "table of SDSS CCDs"),
        "pixel_scale": ("image", "WCS"), "zero_point": ("nanomaggy", "unit nanomaggy"),
    },
    "swarp": {
        "image": ("first image", "HDU 0"), "variance": (".weight", ".weight.fits"), "gain": ("GAIN", "header GAIN"),
        "saturation": ("SATURATE", "header SATURATE"), "pixel_scale": ("image", "WCS"),
    },
    "plain": {"image": ("first image", "HDU 0"), "gain": ("estimated from the sky", "estimated from sky level")},
}  # fmt: skip


def lsst_file(folder):
    """The image of another layout, written in LSST's."""
    found = read_exposure(made.ztf_files(folder))
    write_exposure(folder / "lsst.fits", found.with_pixels(found.masked_image, psf=gaussian_psf(3.0)))
    return folder / "lsst.fits"


def mosaic_file(folder):
    """The same as the chip N4 of a mosaic."""
    with MosaicWriter(folder / "mosaic.fits") as file:
        file.add_exposure(Chip("N4", 1, Hdu(0, {}, made.SHAPE), "0"), read_exposure(lsst_file(folder)))
    return folder / "mosaic.fits"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_plane_is_found_where_the_table_says(layout, tmp_path):
    row = next(row for row in rows(PAGE, "Layouts, in the order in which they are tried") if f"``{layout}``" == row[0])
    cells = dict(zip(COLUMNS, row[2:], strict=True))
    found = read_exposure({**ALL_FILES, "lsst": lsst_file, "mosaic": mosaic_file}[layout](tmp_path))
    stated = {name: fact.source for name, fact in found.facts.quantities.items()}
    read = {**found.noise.sources, **stated, **found.facts.planes, "saturation": found.noise.sources["saturation"]}
    if "gain" not in read and found.noise.origin == "gain":
        read["gain"] = found.noise.sources["gain"]
    for column, (told, source) in FOUND[layout].items():
        assert told in cells[column], column
        assert source in read[column], column
    told_planes = {name for name in ("mask", "psf") if name in found.facts.planes}
    assert told_planes == {"mask", "psf"} & set(FOUND[layout])
    if "zero_point" in stated:
        assert "zero_point" in FOUND[layout]


def numbers(cell):
    """Whole numbers of a cell such as "29, 30" or "14 to 16"."""
    ends = [int(n) for n in re.findall(r"\d+", cell)]
    return range(ends[0], ends[-1] + 1) if " to " in cell else ends


def planes(table, values):
    return [table.planes.get(value) or "no harm" for value in values]


def check(caption, tables, value_of):
    """Every row of a table of the page against the tables of the code, and no value left out."""
    seen = set()
    for row in rows(PAGE, caption):
        values = [value_of(number) for number in numbers(row[0])]
        seen |= set(values)
        for table, cell in zip(tables, row[1:], strict=True):
            assert planes(table, values) == [cell] * len(values), (table.name, row)
    assert seen == {value for table in tables for value in table.planes}


def test_flags():
    check("Bits of HST", (flags.ACS, flags.WFC3_UVIS, flags.WFC3_IR, flags.WFPC2), int)
    check("Bits of the others", (flags.JWST, flags.ZTF, flags.PANSTARRS, flags.DECAM_OLD), lambda bit: 1 << bit)
    check("Codes of DECam since version 3.5.0", (flags.DECAM,), int)


def test_cards():
    found = {code(row[0])[0]: tuple(code(row[1])) for row in rows(PAGE, "Cards of quantities")}
    assert found == {name: (*quantity.cards, *quantity.amplifiers) for name, quantity in QUANTITIES.items()}
