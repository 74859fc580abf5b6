"""psfmatch detect: the table of sources."""

import json

import numpy as np
import pytest
from astropy.table import Table

from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.tables import read_table

SMOOTHING = ("--psf-fwhm", "4.6")


@pytest.mark.parametrize("name", ["sources.fits", "sources.ecsv", "sources.csv"])
def test_bright_stars_are_in_the_table(name, psfmatch, pair_folder, pair, tmp_path):
    ended = psfmatch("detect", pair_folder / "science.fits", "-o", name, *SMOOTHING)
    assert (ended.status, ended.err) == (0, "")
    table = read_table(tmp_path / name)
    assert ended.out.startswith(f"detect: {len(table)} sources (threshold 10 ")
    bright = pair.stars[(pair.stars["snr"] > 50) & ~pair.stars["saturated"]]
    inside = [min(star["x"], star["y"]) > 15 and max(star["x"], star["y"]) < 304 for star in bright]
    for star in bright[inside]:
        # A fifth of the FWHM allows for the pull of a neighbour.
        assert np.hypot(table["x"] - star["x"], table["y"] - star["y"]).min() < 1.0


def test_the_threshold_and_the_record(psfmatch, pair_folder, tmp_path):
    ended = psfmatch(
        "detect", pair_folder / "science.fits", "-o", "a.ecsv", "--psf-sigma", "2", "--sigma", "20", "--json"
    )
    assert ended.status == 0
    summary = json.loads(ended.out)
    assert (summary["threshold"], summary["sigma"]) == (20.0, 2.0)
    assert summary["n_sources"] == len(Table.read(tmp_path / "a.ecsv"))
    document = TaskMetadata.from_json((tmp_path / "a_metadata.json").read_text())
    detection = document["psfMatch:selectDetection"]
    # Width and growth by the rules for a sigma of 2: 7 sigma rounded to an odd number, 2.4 sigma rounded.
    assert (detection["sigma"], detection["smoothingKernelWidth"], detection["nGrow"]) == (2.0, 15, 5)
    assert set(document["run.inputs"].metadata) == {"exposure"}


def test_without_smoothing(psfmatch, pair_folder, tmp_path):
    assert psfmatch("detect", pair_folder / "science.fits", "-o", "a.ecsv", *SMOOTHING, "--no-smooth").status == 0
    document = TaskMetadata.from_json((tmp_path / "a_metadata.json").read_text())
    assert document["psfMatch:selectDetection.doSmooth"] is False


def test_the_record_can_be_printed_one_item_a_line(psfmatch, pair_folder):
    ended = psfmatch("detect", pair_folder / "science.fits", "-o", "a.ecsv", "--psf-sigma", "2", "--metadata-flat")
    lines = ended.out.splitlines()
    assert "psfMatch:selectDetection.nGrow = 5" in lines
    assert 'run.status = "ok"' in lines
    assert 'run.settings.detection.stats_mask = ["BAD", "SAT", "EDGE", "NO_DATA"]' in lines


def test_two_widths_are_refused(psfmatch, pair_folder):
    ended = psfmatch("detect", pair_folder / "science.fits", "-o", "a.ecsv", *SMOOTHING, "--psf-sigma", "2")
    assert ended.status == 2
    assert "--psf-fwhm and --psf-sigma" in ended.err


def test_a_table_name_without_a_known_suffix_is_refused_before_the_work(psfmatch, tmp_path):
    ended = psfmatch("detect", "missing.fits", "-o", "sources.txt")
    assert ended.status == 2
    assert "must end in .fits" in ended.err
    assert list(tmp_path.iterdir()) == []
