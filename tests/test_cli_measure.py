"""psfmatch measure, detect on a difference, and subtract --diff-sources."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from psfmatch_cli import cli, read_table, write_exposure
from psfmatch_cli.simulate import preset, simulate_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pair, its difference with the table of sources, and that of the other order."""
    where = tmp_path_factory.mktemp("measure")
    pair = simulate_pair(preset("demo", width=448, height=448, seed=7, n_transients=14, psf_variation=0.0))
    for role in ("template", "science"):
        write_exposure(where / f"{role}.fits", getattr(pair, role))
    pair.transients.write(where / "truth.ecsv")
    files = [str(where / "template.fits"), str(where / "science.fits")]
    more = ["--diff-sources", str(where / "sources.fits"), "--no-matched", "--decorrelate"]
    assert cli.exit_status(["subtract", *files, "-o", str(where / "diff.fits"), *more]) == 0
    return where


def good(truth):
    """Transients that are clear of noise and of the border."""
    inside = [(truth[axis] > 30) & (truth[axis] < 418) for axis in "xy"]
    return truth[(np.abs(truth["snr"]) > 8) & inside[0] & inside[1]]


def test_subtract_lists_the_sources_of_the_difference(folder):
    made, truth = read_table(folder / "sources.fits"), good(read_table(folder / "truth.ecsv"))
    assert len(truth) >= 6
    for row in truth:
        distance = np.hypot(made["x"] - row["x"], made["y"] - row["y"])
        found = made[int(distance.argmin())]
        # S/N 8 places a source to 0.3 pixels.
        assert distance.min() < 1.2
        assert found["polarity"] == np.sign(row["flux"])
        # What is new is the science image's flux minus the template's, within the noise of all three.
        scatter = np.hypot(found["science_flux_err"], found["template_flux_err"])
        change = found["science_flux"] - found["template_flux"]
        assert change == pytest.approx(found["psf_flux"], abs=5 * scatter + 0.05 * abs(found["psf_flux"]))
    assert (made["nearest_separation"] >= 0).all()
    header = fits.getheader(folder / "sources.fits", 1)
    assert header["PMTMPL"] == "template.fits"
    assert header["FLUXWIDTH"] > 0.9


def test_detect_knows_a_difference(folder, psfmatch):
    run = psfmatch("detect", folder / "diff.fits", "-o", folder / "found.ecsv")
    assert run.status == 0
    assert "detect: a difference: " in run.out
    assert "(significance 5, both)" in run.out
    made, found = read_table(folder / "sources.fits"), read_table(folder / "found.ecsv")
    assert len(found) == len(made)
    # The PSF goes through 32-bit numbers.
    np.testing.assert_allclose(found["psf_flux"], made["psf_flux"], rtol=1e-4)


def test_options_of_detect_on_a_difference(folder, psfmatch):
    high = psfmatch("detect", folder / "diff.fits", "-o", folder / "high.ecsv", "--sigma", "40")
    assert high.status == 0
    assert (read_table(folder / "high.ecsv")["snr"] >= 40).all()
    one = psfmatch(
        "detect", folder / "diff.fits", "-o", folder / "one.ecsv", "-c", "difference_sources.polarity=negative"
    )
    assert one.status == 0
    assert (read_table(folder / "one.ecsv")["polarity"] == -1).all()
    wrong = psfmatch("detect", folder / "diff.fits", "-o", folder / "no.ecsv", "--psf-fwhm", "3")
    assert wrong.status == 2
    assert "--psf-fwhm is for the search of an exposure" in wrong.err
    wrong = psfmatch("detect", folder / "diff.fits", "-o", folder / "no.ecsv", "--no-smooth")
    assert wrong.status == 2
    assert "a difference is searched with its PSF" in wrong.err


def test_measure_gives_the_true_fluxes(folder, psfmatch):
    run = psfmatch(
        "measure", folder / "diff.fits", folder / "science.fits", "--sources", folder / "truth.ecsv", "-o",
        folder / "curve.ecsv",
    )  # fmt: skip
    assert run.status == 0
    table, truth = read_table(folder / "curve.ecsv"), read_table(folder / "truth.ecsv")
    assert len(table) == 2 * len(truth)
    first = table[table["image"] == "diff.fits"]
    pulls = (first["psf_flux"] - truth["flux"]) / first["psf_flux_err"]
    # Near masked pixels and bright stars a few are worse than their errors.
    assert np.nanmedian(np.abs(pulls)) < 1.5


def test_measure_on_the_sky_is_measure_on_the_pixels(folder, psfmatch):
    truth = good(read_table(folder / "truth.ecsv"))[0]
    assert psfmatch(
        "measure", folder / "diff.fits", "--at-pixel", f"{truth['x']},{truth['y']}", "-o", folder / "p.ecsv"
    ).status == 0  # fmt: skip
    from psfmatch_cli import read_exposure
    from psfmatch_cli.sky_positions import sky_of

    pixels = read_table(folder / "p.ecsv")
    ra, dec = (float(v) for v in sky_of(read_exposure(folder / "diff.fits"), truth["x"], truth["y"]))
    sky = psfmatch("measure", folder / "diff.fits", "--at", f"{ra!r},{dec!r}", "-o", folder / "s.ecsv")
    assert sky.status == 0
    np.testing.assert_allclose(read_table(folder / "s.ecsv")["psf_flux"], pixels["psf_flux"], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "measure needs positions"),
        (["--at", "150,2", "--at-pixel", "1,2"], "measure needs positions"),
        (["--at-pixel", "1"], '--at-pixel takes "X,Y"'),
        (["--at", "150;2"], '--at takes "RA,DEC"'),
        (["--at", "10:xx:00,+02:00:00"], '--at takes "RA,DEC"'),
        (["--at", "400,2"], "right ascension must be 0 to 360"),
    ],
)
def test_wrong_positions(folder, psfmatch, options, message):
    run = psfmatch("measure", folder / "diff.fits", "-o", folder / "no.ecsv", *options)
    assert run.status == 2
    assert message in run.err
    assert not (folder / "no.ecsv").exists()


def test_hours_and_degrees_are_one_place(folder, psfmatch):
    for text, name in (("10:00:28.8,+02:12:00", "h.ecsv"), ("150.12,2.2", "d.ecsv")):
        assert psfmatch("measure", folder / "diff.fits", "--at", text, "-o", folder / name).status == 0
    one, other = (read_table(folder / name) for name in ("h.ecsv", "d.ecsv"))
    np.testing.assert_allclose(one["ra"], other["ra"], atol=1e-9)
