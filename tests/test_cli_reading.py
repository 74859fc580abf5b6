"""Options on reading: from texts to what the reader takes."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits

import made_files as made
from psfmatch_cli.cli.reading import keyword_map, read_options
from psfmatch_cli.cli.reading_options import READING
from psfmatch_cli.errors import UsageError
from psfmatch_cli.instruments import LAYOUTS
from psfmatch_cli.keywords import QUANTITIES


def given(**values):
    """Values of the options of a role, as click gives them."""
    return {f"science_{name}": () if name == "keyword" else None for name in READING} | {"science_fwhm": None} | values


def test_nothing_given_is_nothing_said():
    assert set(vars(read_options(given(), "science")).values()) == {None}
    assert read_options(given(science_layout="auto"), "science").layout is None


def test_cards_are_named_by_quantity():
    options = read_options(given(science_keyword=("gain=egain", "read-noise = RON ")), "science")
    assert options.keywords == {"gain": "EGAIN", "read_noise": "RON"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("gain",), 'a card is named as "QUANTITY=CARD"'),
        (("gain=",), 'a card is named as "QUANTITY=CARD"'),
        (("gain=A", "gain=B"), "the card of gain is named twice: A and B"),
    ],
)
def test_other_forms_are_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        keyword_map(texts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"science_keyword": ("colour=A",)}, "options of the science exposure: unknown quantity 'colour'"),
        ({"science_layout": "hubble"}, "unknown layout 'hubble'; known are mosaic, lsst"),
        ({"science_exposure_time": -1.0}, "exposure_time must be a positive number"),
    ],
)
def test_unknown_names_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        read_options(given(**values), "science")


def test_the_help_names_all_layouts_and_quantities(psfmatch):
    text = " ".join(psfmatch("info", "--help").out.split()).replace("- ", "-")
    named = re.search(r"Layout of the file: (.*?)\.", text)[1]
    assert re.split(r", | or ", named) == list(LAYOUTS)
    quantities = re.search(r"Quantities: (.*?)\.", text)[1]
    assert [name.replace("-", "_") for name in quantities.split(", ")] == list(QUANTITIES)


def test_the_record_holds_what_lies_beside_the_exposure(psfmatch, tmp_path):
    path = made.ztf_files(tmp_path, [256])
    assert psfmatch("detect", path, "-o", "out.ecsv").status == 0
    run = json.loads((tmp_path / "out_metadata.json").read_text())["metadata"]["run"]["metadata"]
    reading = run["reading"]["metadata"]["exposure"]
    assert reading["scalars"]["layout"] == "ztf"
    assert reading["metadata"]["planes"]["scalars"]["psf"].startswith("file ")
    assert reading["metadata"]["quantities"]["metadata"]["zero_point"]["scalars"]["source"] == "header MAGZP"
    assert {"exposure", "exposure_mask", "exposure_psf"} <= set(run["inputs"]["metadata"])
    assert len(run["inputs"]["metadata"]["exposure_mask"]["scalars"]["sha256"]) == 64


def test_a_pair_of_two_surveys_is_subtracted_with_no_option_but_the_file_names(psfmatch, pair, tmp_path):
    weight = 1 / pair.template.variance
    head = made.primary(pair.template.image, SOFTNAME="SWarp", BUNIT="adu", GAIN=50.0)
    head.header.update(pair.template.wcs.to_header())
    template = made.save(tmp_path / "coadd.fits", head)
    made.save(tmp_path / "coadd.weight.fits", made.primary(weight))
    for word, product in (("ooi", "image"), ("ood", "dqmask"), ("oow", "wtmap")):
        exposure = pair.science
        saturated = np.where(exposure.masked_image.flagged(["SAT"]), 3, 0).astype(np.int16)
        plane = {"ooi": exposure.image, "ood": saturated, "oow": 1 / exposure.variance}[word]
        hdu = made.compressed(plane, "S29", BUNIT="electrons")
        hdu.header.update(exposure.wcs.to_header())
        science = tmp_path / f"c4d_1_2_{word}_g_v1.fits.fz"
        made.save(science, made.primary(PROCTYPE="InstCal", PRODTYPE=product, PLVER="V5.0"), hdu)
    science = tmp_path / "c4d_1_2_ooi_g_v1.fits.fz"
    ended = psfmatch("subtract", template, science, "-o", "diff.fits", "--json")
    summary = json.loads(ended.out)
    assert (ended.status, summary["convolved"]) == (0, "template")
    assert summary["kernel_sum"] == pytest.approx(1.25, rel=0.02)
    assert summary["sky_width"] == pytest.approx(1.0, abs=0.1)
    with fits.open("diff.fits") as hdus:
        assert [hdus[name].header.get("BUNIT") for name in ("IMAGE", "VARIANCE")] == ["electrons", "electrons**2"]
        saturated = pair.science.masked_image.flagged(["SAT"])
        assert (hdus["MASK"].data[saturated] >> hdus["MASK"].header["MP_SAT"] & 1).all()


def test_a_file_that_was_read_because_it_lies_beside_is_never_overwritten(psfmatch, tmp_path):
    path = made.swarp_files(tmp_path)
    before = (tmp_path / "coadd.weight.fits").read_bytes()
    ended = psfmatch("detect", path, "-o", "coadd.weight.fits", "--overwrite", "--no-metadata")
    assert (ended.status, (tmp_path / "coadd.weight.fits").read_bytes()) == (2, before)
    assert "the output coadd.weight.fits is also an input" in ended.err
