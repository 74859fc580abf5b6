"""psfmatch fakes: the products and the line."""

import json

import numpy as np
import pytest
from astropy.table import Table

from conftest import FWHMS
from psfmatch_cli.fakes.compare import COLUMNS
from psfmatch_cli.fakes.score import COLUMNS as BIN_COLUMNS


@pytest.fixture
def files(pair_folder):
    """Beginning of a command line."""
    files = pair_folder / "template.fits", pair_folder / "science.fits", "-o", "fakes.ecsv"
    return "fakes", *files, *FWHMS, "--kernel-order", "0", "--background-order", "1"


def test_tables_plot_and_summary_are_written(psfmatch, files, tmp_path):
    ended = psfmatch(*files, "--density", 300, "--seed", 2, "--diff-sources", "all.ecsv")
    assert (ended.status, ended.err) == (0, "")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"fakes.ecsv", "fakes_bins.ecsv", "fakes.svg", "fakes_metadata.json", "all.ecsv"}
    fakes, bins, found = (Table.read(tmp_path / name) for name in ("fakes.ecsv", "fakes_bins.ecsv", "all.ecsv"))
    assert fakes.colnames == list(COLUMNS)
    assert bins.colnames == list(BIN_COLUMNS)
    assert np.asarray(fakes["found"]).sum() == np.asarray(found["is_fake"]).sum() > 5
    n_found, n = int(np.asarray(fakes["found"]).sum()), len(fakes)
    assert ended.out.startswith(f"fakes: {n_found} of {n} injected sources found, ")
    assert ended.out.endswith("-> fakes.ecsv\n")
    assert "<svg" in (tmp_path / "fakes.svg").read_text()


def test_the_summary_is_json_and_products_can_be_left_out(psfmatch, files, tmp_path):
    only = ("--no-bins", "--no-plot", "--no-metadata", "--density", 100, "--json", "--seed", 7, "--on-galaxies", "0")
    summary = json.loads(psfmatch(*files, *only).out)
    assert {path.name for path in tmp_path.iterdir()} == {"fakes.ecsv"}
    assert summary["all"]["n_injected"] == summary["sky"]["n_injected"] == 10
    assert "galaxy" not in summary


def test_the_difference_is_whitened_unless_told_otherwise(psfmatch, files):
    dumped = psfmatch("fakes", "a.fits", "b.fits", "-o", "c.ecsv", "--dump-config").out
    assert "decorrelate = true" in dumped
    assert "decorrelate = false" in psfmatch(*files, "--no-decorrelate", "--dump-config").out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--density", "0"), "fakes.density"),
        (("--on-galaxies", "1.5"), "fakes.on_galaxies"),
        (("-c", "fakes.min_snr=200"), "min_snr must be below max_snr"),
        (("--bins", "bins.txt"), "bins.txt: a table file must end in"),
    ],
)
def test_wrong_options_are_refused(psfmatch, files, options, told):
    ended = psfmatch(*files, *options)
    assert ended.status == 2
    assert told in ended.err
