"""psfmatch demo: the simulated pair in files."""

import numpy as np
from astropy.table import Table

from psfmatch_cli.io import read_exposure
from psfmatch_cli.simulate import preset, simulate_pair


def test_the_files_hold_the_simulated_pair(psfmatch, tmp_path):
    ended = psfmatch("demo", "here", "--size", "128", "--seed", "3")
    assert (ended.status, ended.err) == (0, "")
    pair = simulate_pair(preset("demo", width=128, height=128, seed=3))
    assert ended.out == f"demo: {len(pair.transients)} sources changed, flux ratio 1.25 -> here\n"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "science.fits",
        "template.fits",
        "truth.ecsv",
    ]
    for role in ("template", "science"):
        written, made = read_exposure(tmp_path / "here" / f"{role}.fits"), getattr(pair, role)
        np.testing.assert_array_equal(written.image, made.image)
        np.testing.assert_array_equal(written.variance, made.variance)
    np.testing.assert_array_equal(Table.read(tmp_path / "here" / "truth.ecsv")["flux"], pair.transients["flux"])


def test_files_are_replaced_only_on_request(psfmatch):
    assert psfmatch("demo", "--size", "64").status == 0
    ended = psfmatch("demo", "--size", "64")
    assert ended.status == 1
    assert "use --overwrite" in ended.err
    assert psfmatch("demo", "--size", "64", "--overwrite", "-q").out == ""


def test_a_size_that_cannot_be_is_refused(psfmatch):
    ended = psfmatch("demo", "--size", "10")
    assert ended.status == 2
    assert "64" in ended.err
