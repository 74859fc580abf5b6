"""The user's own sources on the command line, in every kind of file, and regions to look at."""

import numpy as np
import pytest

from conftest import FWHMS
from psfmatch_cli.kernel_io import load_kernel
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.regions import read_regions
from psfmatch_cli.tables import read_table, write_table


@pytest.fixture
def candidates(psfmatch, pair_folder, tmp_path):
    """Function that runs psfmatch candidates with further options and returns how it ended and the table, if any."""
    files = pair_folder / "template.fits", pair_folder / "science.fits"

    def run(*options, output="c.ecsv"):
        ended = psfmatch("candidates", *files, "-o", output, *FWHMS, "--kernel-size", "15", "--overwrite", *options)
        path = tmp_path / output
        return ended, read_table(path) if ended.status == 0 else None

    return run


@pytest.fixture
def stars(pair):
    """The brightest stars of the pair that lie well inside."""
    table = pair.stars[np.argsort(-pair.stars["flux"])]
    inside = np.all([(table[axis] > 40) & (table[axis] < 280) for axis in "xy"], axis=0)
    return table[inside][:12]["x", "y"]


def record(tmp_path):
    return TaskMetadata.from_json((tmp_path / "c_metadata.json").read_text())


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "csv"])
def test_a_table_of_detect_gives_the_same_places_either_way(psfmatch, pair_folder, candidates, tmp_path, suffix):
    name = f"found.{suffix}"
    assert psfmatch("detect", pair_folder / "science.fits", "-o", name, "--psf-fwhm", "4.6").status == 0
    found = read_table(tmp_path / name)
    made = {}
    for columns, how in (("ra,dec", "ra, dec (sky) through the science WCS"), ("x,y", "x, y (pixels from 0)")):
        ended, made[columns] = candidates("--sources", name, "--sources-columns", columns)
        assert (ended.status, ended.err) == (0, "")
        assert record(tmp_path)["psfMatch.sourcePositions"] == how
    _, by_itself = candidates("--sources", name)
    for axis in "xy":
        np.testing.assert_array_equal(made["x,y"][axis], found[axis])
        np.testing.assert_allclose(made["ra,dec"][axis], found[axis], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(by_itself[axis], made["ra,dec"][axis])
    assert made["x,y"]["reason"].tolist() == made["ra,dec"]["reason"].tolist()
    assert made["x,y"]["source_id"].tolist() == found["id"].tolist()


def test_pixels_count_from_1_by_their_name_or_by_an_option(candidates, stars, tmp_path):
    _, expected = (write_table(tmp_path / "xy.csv", stars), candidates("--sources", "xy.csv")[1])
    np.testing.assert_array_equal(expected["x"], stars["x"])
    fits_pixels = stars.copy()
    for axis in "xy":
        fits_pixels[axis] += 1
    write_table(tmp_path / "one.csv", fits_pixels)
    fits_pixels.rename_columns(("x", "y"), ("X_IMAGE", "Y_IMAGE"))
    write_table(tmp_path / "sextractor.fits", fits_pixels)
    for options in (("--sources", "one.csv", "--sources-origin", "1"), ("--sources", "sextractor.fits")):
        _, made = candidates(*options)
        np.testing.assert_allclose(made["x"], stars["x"], rtol=0, atol=1e-9)
        assert made["reason"].tolist() == expected["reason"].tolist()
        assert record(tmp_path)["psfMatch.sourcePositions"].endswith("(pixels from 1)")


def test_regions_are_written_and_read_again(psfmatch, pair_folder, candidates, tmp_path):
    ended, table = candidates("--regions", "c.reg")
    assert ended.status == 0
    text = (tmp_path / "c.reg").read_text()
    assert "# PMSCI = science.fits" in text
    kept = table[table["status"] == "unused"]
    assert text.count("\n-circle(") == len(table) - len(kept)
    np.testing.assert_allclose(read_regions(tmp_path / "c.reg")["ds9_first"], kept["x"] + 1, atol=1e-6)
    assert record(tmp_path)["run.outputs.regions"] == "c.reg"

    files = pair_folder / "template.fits", pair_folder / "science.fits"
    options = ("--sources", "c.reg", "--regions", "fate.reg", "--kernel-order", "0", "--no-matched")
    assert psfmatch("subtract", *files, "-o", "d.fits", *FWHMS, *options).status == 0
    fates = load_kernel(tmp_path / "d_kernel.fits").candidates
    text = (tmp_path / "fate.reg").read_text()
    for status, color in (("used", "green"), ("rejected", "red"), ("refused", "grey"), ("unused", "cyan")):
        assert text.count(f"color={color} tag={{{status}}}") == np.count_nonzero(fates["status"] == status)
    assert "used" in fates["status"]


def test_sky_regions_are_sources(candidates, pair, stars, tmp_path):
    ra, dec = pair.science.wcs.all_pix2world(stars["x"], stars["y"], 0)
    lines = [f'circle({a:.10f},{d:.10f},3")' for a, d in zip(ra, dec, strict=True)]
    (tmp_path / "s.reg").write_text("icrs\n" + "\n".join(lines))
    _, made = candidates("--sources", "s.reg")
    # Ten digits of a degree are 4e-7 arcsec.
    np.testing.assert_allclose(made["x"], stars["x"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(made["ra"], ra, rtol=0, atol=1e-9)
    assert record(tmp_path)["psfMatch.sourcePositions"] == "DS9 regions (icrs)"


def test_a_mask_policy_can_be_asked_for(candidates, tmp_path):
    counts = {}
    for policy in ("exclude", "reject"):
        assert candidates("--mask-policy", policy)[0].status == 0
        counts[policy] = record(tmp_path)["run.summary.n_sources"], record(tmp_path)["run.summary.counts.candidates"]
        assert record(tmp_path)["run.settings.candidates.mask_policy"] == policy
    assert counts["exclude"][0] == counts["reject"][0]
    assert counts["exclude"][1] > counts["reject"][1]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--sources-origin", "1"), 2, "--sources-columns and --sources-origin are for the file of --sources"),
        (("--sources", "s.csv", "--sources-columns", "x"), 2, 'two columns are given as "X,Y"'),
        (("--sources", "s.csv", "--sources-columns", "x,z"), 2, "s.csv: there is no column 'z'"),
        (("--sources", "flux.csv"), 2, "flux.csv: a source list needs the columns x and y"),
        (("--sources", "s.reg"), 1, "s.reg, line 2: 'circle(1,2' is no region"),
        (("--sources", "empty.reg"), 3, "empty.reg is empty"),
        (("--sources", "empty.csv"), 3, "empty.csv is empty"),
        (("--sources", "s.csv"), 3, "none of 2 sources can be a kernel candidate (refused: 2 outside)"),
        (("--sources", "none.reg"), 1, "none.reg: no such file"),
        (("--regions", "c.txt"), 2, "c.txt: a file of regions must end in .reg"),
    ],
)
def test_what_is_wrong_with_sources(candidates, tmp_path, options, status, message):
    (tmp_path / "s.csv").write_text("x,y\n-50,1\n3,900\n")
    (tmp_path / "flux.csv").write_text("flux\n1\n")
    (tmp_path / "empty.csv").write_text("x,y\n")
    (tmp_path / "s.reg").write_text("image\ncircle(1,2\n")
    (tmp_path / "empty.reg").write_text("image\n")
    ended, _ = candidates(*options)
    assert ended.status == status
    assert message in ended.err
    assert ended.err.count("\n") == 1
