"""psfmatch subtract --register: files whose WCS is wrong or missing."""

import json

import numpy as np
import pytest

from made_alignments import misaligned_pair, shifted
from psfmatch_cli.io import read_exposure, write_exposure
from psfmatch_cli.metadata import TaskMetadata
from reference_data import data_folder

OPTIONS = ("--kernel-order", "0", "--background-order", "1", "--template-fwhm", "3.1", "--science-fwhm", "3.7")


@pytest.fixture
def files(tmp_path):
    """Beginning of a command line: the template's WCS is 4 px wrong."""
    pair = misaligned_pair(shifted(24.0, -8.0), known=(20.0, -8.0), n_stars=80)
    write_exposure(tmp_path / "template.fits", pair.template)
    write_exposure(tmp_path / "science.fits", pair.science)
    return "subtract", "template.fits", "science.fits", "-o", "diff.fits", *OPTIONS


def test_stars_correct_the_wcs_and_all_say_so(files, psfmatch, tmp_path):
    ended = psfmatch(*files, "--register", "stars", "--warped", "warped.fits", "--json", "-v")
    assert ended.status == 0, ended.err
    summary = json.loads(ended.out)
    assert summary["registration_method"] == "wcs+stars"
    assert np.hypot(*summary["registration_star_offset"]) < 0.03
    record = TaskMetadata.from_json((tmp_path / "diff_metadata.json").read_text())["psfMatch"]
    assert record["nRegistrationStars"] == summary["n_registration_stars"] > 30
    assert record["registrationStarOffsetXBefore"] == pytest.approx(4.0, abs=0.03)
    assert "registration by wcs+stars; shift from" in ended.err
    # The warped template has the science image's stars under its own.
    warped, science = read_exposure(tmp_path / "warped.fits"), read_exposure(tmp_path / "science.fits")
    inner = np.s_[40:-40, 40:-40]
    assert np.corrcoef(warped.image[inner].ravel(), science.image[inner].ravel())[0, 1] > 0.95


def test_the_wcs_alone_is_warned_of(files, psfmatch, tmp_path):
    ended = psfmatch(*files, "--register", "wcs", "--matched", "none", "--kernel", "none")
    assert "warning: registration: the template's stars lie (+4.00," in ended.err
    record = TaskMetadata.from_json((tmp_path / "diff_metadata.json").read_text())["psfMatch"]
    assert record["registrationMethod"] == "wcs"


def test_a_wrong_choice_is_a_wrong_use(files, psfmatch):
    ended = psfmatch(*files, "--register", "guess")
    assert ended.status == 2
    assert "'asterisms'" in ended.err
    ended = psfmatch(*files, "--register", "stars", "--no-warp")
    assert ended.status == 2
    assert "warping is off" in ended.err


def test_candidates_takes_the_same_option(files, psfmatch, tmp_path):
    names = files[1:3]
    ended = psfmatch("candidates", *names, "-o", "c.ecsv", "--register", "stars", "-v", *OPTIONS[4:])
    assert ended.status == 0, ended.err
    assert "registration by wcs+stars" in ended.err


@pytest.mark.parametrize(
    ("pair", "template", "science", "offset", "kept"),
    [
        # On their own WCSs the nights differ by a sixth of a pixel; the scatter is that of a drift scan.
        ("sdss-r", "template.fits.gz", "science.fits.gz", 0.165, "wcs"),
        # No WCS, a minute apart on one pixel grid.
        ("eso085", "template.fit", "science.fit", 0.1, "pixels"),
        ("nircam-a2744", "template.fits", "science.fits", 0.1, "wcs"),
    ],
)
def test_real_pairs_are_told_apart_by_hundredths_of_a_pixel(pair, template, science, offset, kept):
    from psfmatch_cli.align import align
    from psfmatch_cli.config import WarpConfig

    folder = data_folder(pair)
    exposures = [read_exposure(folder / name) for name in (template, science)]
    made = align(*exposures, WarpConfig())
    assert made.method == kept
    assert made.offsets.distance == pytest.approx(offset, abs=0.03)
    assert made.offsets.n > 60
    refined = align(*exposures, WarpConfig(registration="stars"))
    assert refined.offsets.distance < 0.03
    assert refined.offsets.rms < made.offsets.rms
