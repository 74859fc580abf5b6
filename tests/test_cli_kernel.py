"""psfmatch kernel, and psfmatch subtract --use-kernel and --fail-on-quality."""

import importlib.util
import json

import numpy as np
import pytest
from astropy.io import fits

from conftest import FWHMS
from psfmatch_cli import TaskMetadata, cli, kernel_plot, load_kernel, read_exposure, read_table

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def kernel(pair_folder, tmp_path_factory):
    """Kernel file of the pair."""
    path = tmp_path_factory.mktemp("kernel") / "diff_kernel.fits"
    files = [str(pair_folder / f"{name}.fits") for name in ("template", "science")]
    arguments = ["subtract", *files, "-o", str(path.with_name("diff.fits")), *FWHMS, "--register", "none"]
    assert cli.exit_status([*arguments, "-c", "kernel.calculate_kernel_uncertainty=true"]) == 0
    return path


@pytest.fixture
def pair_files(pair_folder):
    return pair_folder / "template.fits", pair_folder / "science.fits"


def test_the_summary_of_a_file(psfmatch, kernel):
    saved = load_kernel(kernel)
    told = json.loads(psfmatch("kernel", kernel, "--json").out)
    assert told["convolved"] == "template"
    assert told["kernel_sum"] == pytest.approx(saved.kernel.center_sum)
    assert told["region"] == [0, 0, 319, 319]
    lines = psfmatch("kernel", kernel).out.splitlines()
    assert f"kernel size       {saved.kernel.size}" in lines


def test_a_position_is_told_and_written(psfmatch, kernel, tmp_path):
    saved = load_kernel(kernel)
    told = json.loads(psfmatch("kernel", kernel, "--at", "100,200.5", "--json", "-o", "at.fits").out)
    assert told["sum"] == pytest.approx(float(saved.kernel.sum(100, 200.5)))
    assert told["sum_error"] == pytest.approx(saved.kernel.sum_error(100, 200.5))
    with fits.open(tmp_path / "at.fits") as hdus:
        np.testing.assert_array_equal(hdus[0].data, saved.kernel.image(100, 200.5))
        np.testing.assert_array_equal(hdus["ERROR"].data, saved.kernel.error_image(100, 200.5))
        assert (hdus[0].header["PMKX"], hdus[0].header["PMKY"]) == (100.0, 200.5)
    assert psfmatch("kernel", kernel, "--at", "100,200.5", "-o", "at.ecsv").status == 0
    table = read_table(tmp_path / "at.ecsv")
    np.testing.assert_allclose(table["value"], saved.kernel.image(100, 200.5).ravel())
    np.testing.assert_allclose(table["error"], saved.kernel.error_image(100, 200.5).ravel())


def test_a_grid_is_told_and_written(psfmatch, kernel, tmp_path):
    saved = load_kernel(kernel)
    lines = psfmatch("kernel", kernel, "--grid", "2,3", "-o", "grid.fits").out.splitlines()
    assert len(lines) == 7
    size = saved.kernel.size
    with fits.open(tmp_path / "grid.fits") as hdus:
        assert hdus[0].data.shape == (3 * size, 2 * size)
        shapes = hdus["SHAPES"].data
        np.testing.assert_allclose(hdus["CUBE"].data.sum(axis=(1, 2)), shapes["sum"])
        np.testing.assert_allclose(hdus["CUBE"].data[5], saved.kernel.image(shapes["x"][5], shapes["y"][5]), atol=1e-12)
    assert psfmatch("kernel", kernel, "--grid", "2,3", "-o", "grid.csv").status == 0
    assert len(read_table(tmp_path / "grid.csv")) == 6


def test_a_picture_is_drawn(psfmatch, kernel, tmp_path):
    pytest.importorskip("matplotlib")
    assert psfmatch("kernel", kernel, "--plot", "k.png").status == 0
    assert (tmp_path / "k.png").read_bytes().startswith(PNG)
    again = psfmatch("kernel", kernel, "--plot", "k.png")
    assert (again.status, "already exists" in again.err) == (1, True)


def test_the_picture_shows_the_kernels():
    pytest.importorskip("matplotlib")
    from made_pairs import known_kernel, plane
    from psfmatch_cli.kernel_shape import kernel_grid

    shape = (100, 150)
    made = known_kernel(1, shape)
    grid = kernel_grid(made, 3, 2)
    first, *maps = kernel_plot.kernel_figure(made, plane(shape, [2.0, 1.0, 0.0]), grid).axes[:3]
    shown = np.asarray(first.images[0].get_array())
    np.testing.assert_allclose(np.sign(shown) * shown**2, grid.mosaic(), atol=1e-12)
    background = np.asarray(maps[1].images[0].get_array())
    # The middles of the outermost points are half a point from the border.
    np.testing.assert_allclose(background[0, [0, -1]], [2.0 - 59 / 60, 2.0 + 59 / 60], atol=1e-6)


def test_without_matplotlib_one_line_says_what_to_do(psfmatch, kernel, monkeypatch):
    monkeypatch.setattr(kernel_plot, "find_spec", lambda name: None)
    ended = psfmatch("kernel", kernel, "--plot", "k.png")
    assert ended.status == 2
    assert ended.err == (
        "psfmatch: error: a plot needs the package matplotlib; install it with pip install 'psfmatch[plot]'\n"
    )
    assert importlib.util.find_spec is not kernel_plot.find_spec


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--at", "1,2", "--grid", "2,2"], 2, "give one of them"),
        (["-o", "k.fits"], 2, "give one of them"),
        (["--at", "1"], 2, "1 is not two numbers"),
        (["--grid", "1.5,2"], 2, "1.5,2 is not two numbers"),
        (["--at", "1000,2"], 2, "outside of the pixels"),
        (["--at", "1,2", "-o", "k.txt"], 2, "k.txt"),
        (["--plot", "k.jpg"], 2, "its name ends in .png"),
    ],
)
def test_what_cannot_be_done_is_one_line(psfmatch, kernel, arguments, status, message):
    ended = psfmatch("kernel", kernel, *arguments)
    assert ended.status == status
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_saved_kernel_makes_the_same_products(psfmatch, kernel, pair_files, tmp_path):
    run = psfmatch("subtract", *pair_files, "-o", "d.fits", "--use-kernel", kernel, *FWHMS, "--register", "none")
    assert run.status == 0
    assert f"nothing fitted, {kernel} applied, " in run.out
    assert {path.name for path in tmp_path.iterdir()} == {
        "d.fits",
        "d_kernel.fits",
        "d_matched.fits",
        "d_metadata.json",
    }
    made, before = read_exposure("d.fits"), read_exposure(kernel.with_name("diff.fits"))
    good = np.isfinite(made.image) & np.isfinite(before.image)
    # The file has the background that was refined on the sky, which is subtracted in one step here.
    np.testing.assert_allclose(made.image[good], before.image[good], atol=2e-3)
    record = TaskMetadata.from_json((tmp_path / "d_metadata.json").read_text())
    assert record["psfMatch.kernelFile"] == str(kernel)
    assert record["run.inputs.use_kernel.path"] == str(kernel)
    np.testing.assert_array_equal(load_kernel("d_kernel.fits").kernel.basis, load_kernel(kernel).kernel.basis)


@pytest.mark.parametrize(
    "option", [("--kernel-order", "1"), ("--sources", "s.fits"), ("--strict",), ("--score", "s.fits")]
)
def test_options_of_a_fit_are_refused(psfmatch, kernel, pair_files, option):
    ended = psfmatch("subtract", *pair_files, "-o", "d.fits", "--use-kernel", kernel, *option)
    assert ended.status == 2
    assert f"--use-kernel fits nothing, so {option[0]} cannot be given with it" in ended.err


def test_a_bad_difference_says_so_everywhere(psfmatch, pair_files, tmp_path):
    strict = ["-c", "quality.star_residual_doubtful=1e-9", "-c", "quality.sky_mean_doubtful=1e-9"]
    strict += ["-c", "quality.sky_mean_bad=1e-6"]
    arguments = ["subtract", *pair_files, *FWHMS, *strict]
    usual = psfmatch(*arguments, "-o", "one.fits")
    assert usual.status == 0
    assert ", quality: BAD (sky is off zero by " in usual.out
    ended = psfmatch(*arguments, "-o", "two.fits", "--fail-on-quality")
    assert ended.status == 4
    assert ended.err.endswith("psfmatch: error: the quality of the difference is bad (--fail-on-quality)\n")
    record = TaskMetadata.from_json((tmp_path / "two_metadata.json").read_text())
    assert (record["run.status"], record["run.exitCode"]) == ("bad quality", 4)
    assert record["psfMatch.quality.verdict"] == record["run.summary.quality"] == "bad"
    for path in ("one.fits", "two.fits", "two_matched.fits", "two_kernel.fits"):
        header = fits.getheader(tmp_path / path)
        assert header["PMQUAL"] == "bad"
        assert header["PMQWHY"].startswith("sky is off zero by ")


def test_a_good_difference_does_not_fail(psfmatch, pair_files, tmp_path):
    run = psfmatch("subtract", *pair_files, "-o", "d.fits", *FWHMS, "--quality", "full", "--fail-on-quality")
    assert run.status == 0
    assert ", quality: good -> d.fits" in run.out
    header = fits.getheader(tmp_path / "d.fits")
    assert (header["PMQUAL"], "PMQWHY" in header) == ("good", False)
    record = TaskMetadata.from_json((tmp_path / "d_metadata.json").read_text())
    assert record["psfMatch.quality.nPositive"] == record["run.summary.n_positive"]
    cells = record["psfMatch.quality.cells"]
    assert len(cells.get_array("skyWidth")) == 16
    # 576 pixels or fewer a cell: a width is good to 4 %.
    assert np.nanmedian(cells.get_array("skyWidth")) == pytest.approx(1.0, abs=0.05)
