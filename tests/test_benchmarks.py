"""The figures of merit of the benchmarks, on arrays whose figures are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from psfmatch_cli.simulate import SimulatedPair, preset, simulate_pair
from psfmatch_cli.simulation.render import MoffatShape, moffat_stamp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import files
import mask_policy
import metrics
import real_pairs
import simulated_pairs
import stage_candidates
import stage_convolve
import stage_detect
import stage_fit
import stage_read
import stage_subtract
import stage_write
import stages
import timing
import unit
import whole


@pytest.fixture(scope="module")
def pair() -> SimulatedPair:
    return simulate_pair(preset("demo", width=512, height=512, seed=4, n_transients=40))


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(0.0, 3.0, (200, 250))


def test_width_of_gaussian_values_and_of_outliers():
    values = np.random.default_rng(2).normal(5.0, 2.0, 100_000)
    assert abs(metrics.width(values) - 2.0) < 0.02  # 0.4 % expected
    values[::10] = 1e6
    assert metrics.width(values) < 2.4
    assert np.isnan(metrics.width(np.array([])))


def test_sky_spread_is_one_for_the_true_variance(noise):
    usable = np.ones(noise.shape, bool)
    usable[:, :5] = False
    noise[:, :5] = np.nan
    sources = np.zeros(noise.shape, bool)
    sources[50:60, 50:60] = True
    noise[sources] += 100.0
    spread = metrics.sky_spread(noise, np.full(noise.shape, 9.0), usable, sources)
    assert spread.n == 200 * 245 - 100
    assert abs(spread.width - 1.0) < 0.02
    assert abs(spread.rms - 1.0) < 0.02


def test_aperture_pixels():
    rows, columns = metrics.aperture_pixels((20, 20), 10.0, 9.0, 1.0)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(8, 10), (9, 9), (9, 10), (9, 11), (10, 10)]
    assert metrics.aperture_pixels((20, 20), 0.5, 9.0, 1.0) is None
    assert metrics.aperture_pixels((20, 20), 10.0, 19.0, 1.0) is None


def test_apertures_on_white_noise_have_unit_width(noise):
    x, y = (c.ravel() for c in np.meshgrid(np.arange(10.0, 240.0, 8), np.arange(10.0, 190.0, 8)))
    usable = np.ones(noise.shape, bool)
    usable[10, 10] = False
    found = metrics.aperture_significance(noise, np.full(noise.shape, 9.0), usable, x, y, 3.5)
    assert len(found) == len(x) - 1
    assert abs(metrics.width(found) - 1.0) < 0.12  # 667 apertures: 4.5 %


def test_empty_positions_stay_off_sources():
    occupied = np.zeros((60, 60), bool)
    occupied[:, 30:] = True
    x, y = metrics.empty_positions(occupied, 4.0, 50, np.random.default_rng(3))
    assert len(x) == 50
    assert x.max() <= 25
    assert min(x.min(), y.min()) >= 5


def test_photometry_returns_a_known_flux():
    shape = MoffatShape(3.4, 0.1, 0.0, 3.5)
    image, usable = np.zeros((61, 61)), np.ones((61, 61), bool)
    wide = moffat_stamp(shape, 0.3, -0.2, 20)
    image[10:51, 15:56] = 500.0 * wide
    psf = wide[8:-8, 8:-8]
    place = (image, usable, 35.3, 29.8, psf)
    assert abs(metrics.psf_flux(*place) / 500.0 - 1.0) < 1e-12
    assert abs(metrics.aperture_flux(*place, 3.4) / 500.0 - 1.0) < 1e-12
    usable[29, 44] = False
    assert np.isnan(metrics.psf_flux(*place))
    assert np.isnan(metrics.psf_flux(image, usable, 3.0, 29.8, psf))


def test_bias_is_the_median_of_relative_errors():
    bias = metrics.Bias.of(np.array([1.1, 2.2, np.nan, 3.0]), np.array([1.0, 2.0, 5.0, 3.0]))
    assert abs(bias.median - 0.1) < 1e-12
    assert bias.n == 3


def test_matched_filter_has_unit_width_and_the_optimal_significance(noise):
    variance, usable = np.full(noise.shape, 9.0), np.ones(noise.shape, bool)
    psf = moffat_stamp(MoffatShape(3.4, 0.0, 0.0, 3.5), 0.0, 0.0, 10)
    usable[100:110, 100:110] = False
    noise[~usable] = np.nan
    white = metrics.matched_filter(noise, variance, usable, psf)
    assert np.isfinite(white).all()
    assert (white[~usable] == 0).all()
    assert abs(metrics.width(white[usable]) - 1.0) < 0.05  # 50 000 pixels hold some 1700 independent values
    alone = np.zeros(noise.shape)
    alone[40:61, 60:81] = 400.0 * psf
    significance = metrics.matched_filter(alone, variance, usable, psf)
    expected = 400.0 * np.sqrt(np.sum(psf**2)) / 3.0
    assert abs(significance.max() / expected - 1.0) < 1e-9
    assert np.unravel_index(significance.argmax(), noise.shape) == (50, 70)


def test_peaks_completeness_and_false_peaks():
    significance, usable = np.zeros((100, 100)), np.ones((100, 100), bool)
    significance[20, 30], significance[20, 31] = 9.0, 7.0
    significance[60, 50] = -6.0
    significance[80, 80] = 8.0
    significance[90, 10] = 50.0
    usable[90, 10] = False
    x, y, value = metrics.peaks(significance, usable)
    assert list(zip(x, y, value, strict=True)) == [(30, 20, 9.0), (50, 60, -6.0), (80, 80, 8.0)]
    true_x, true_y = np.array([31.0, 50.0, 10.0, 70.0]), np.array([21.0, 60.0, 90.0, 10.0])
    found, n = metrics.completeness(significance, usable, true_x, true_y, np.array([1.0, 1.0, 1.0, 1.0]))
    assert n == 3  # that on the unusable pixel does not count
    assert found == 1 / 3  # the second has the wrong sign, the last is not there
    rate = metrics.false_peaks(significance, usable, true_x, true_y, 3.0)
    assert abs(rate / (1e6 / (9999 - 4 * np.pi * 9)) - 1.0) < 1e-9


def test_explained_mask_grows_by_the_kernel():
    science, template = np.zeros((50, 50), bool), np.zeros((50, 50), bool)
    science[20, 20] = template[30, 35] = True
    grown = metrics.explained_mask(science, template, 3)
    inner = grown[3:-3, 3:-3]
    assert inner.sum() == 2 * 49
    assert grown.sum() == 2 * 49 + 50 * 50 - 44 * 44
    np.testing.assert_array_equal(metrics.explained_mask(science, template, 0), science | template)


def test_score_of_a_pair_with_known_noise():
    rng = np.random.default_rng(7)
    science = 1000.0 + rng.normal(0.0, 10.0, (256, 256))
    star = 20_000.0 * moffat_stamp(MoffatShape(4.0, 0.0, 0.0, 3.5), 0.0, 0.0, 16)
    for y in range(50, 220, 40):
        for x in range(50, 220, 40):
            science[y - 16 : y + 17, x - 16 : x + 17] += star
    perfect = rng.normal(0.0, 10.0, science.shape)
    usable = np.ones(science.shape, bool)
    part = usable.copy()
    part[:, 128:] = False
    scores = metrics.score_pair(science, {"a": perfect, "b": 2.0 * perfect}, {"a": usable, "b": part})
    assert abs(scores["a"].sky - 10.0) < 0.3  # 10 000 pixels or more
    assert abs(scores["b"].sky / scores["a"].sky - 2.0) < 1e-9
    assert abs(scores["a"].star_mad - 1.0) < 0.15
    assert scores["a"].good == 1.0
    assert scores["b"].good == 0.5


def test_files_come_back(pair, tmp_path):
    files.write_lsst(tmp_path / "science.fits", pair.science)
    back = files.read_planes(tmp_path / "science.fits")
    np.testing.assert_array_equal(back.image, pair.science.image)
    np.testing.assert_array_equal(back.mask, pair.science.mask)
    assert back.planes == dict(pair.science.planes)
    assert (~back.usable).sum() == (pair.science.mask != 0).sum()
    np.testing.assert_array_equal(files.read_image(tmp_path / "science.fits"), pair.science.image)


def test_metadata_are_optional(tmp_path):
    assert files.read_metadata(tmp_path / "d.fits") == {}
    task = {"scalars": {"nGood": 7}, "arrays": {"ALKernelSize": [21, 25], "ALBasisDegGauss": [4, 2]}, "metadata": {}}
    (tmp_path / "d_metadata.json").write_text(json.dumps({"metadata": {"psfMatch": task}}))
    found = files.read_metadata(tmp_path / "d.fits")
    assert found == {"nGood": 7, "ALKernelSize": 25, "ALBasisDegGauss": [4, 2]}


def test_markdown_table():
    rows = [{"case": "a", "width": 1.00049, "n": 3}, {"case": "b", "width": float("nan"), "n": None}]
    assert files.markdown_table(rows).splitlines() == [
        "| case | width | n |",
        "|---|---|---|",
        "| a | 1 | 3 |",
        "| b | - | - |",
    ]
    assert files.transpose(rows)[0]["case"] == "width"
    assert files.transpose(rows)[1] == {"case": "n", "a": 3, "b": None}


def test_a_perfect_subtraction_meets_the_limits(pair):
    row = simulated_pairs.measure("perfect", pair, simulated_pairs.perfect_run(pair), 1.0)
    assert row["n flux"] > 10
    assert abs(row["flux bias %"]) < 4.0 * row["+-"]  # too few transients in a small field for 0.5 %
    assert row["found %"] == 100.0
    assert row["unexplained %"] == 0.0
    assert abs(row["sky width"] - 1.0) < 0.02
    assert row["n stars"] > 50
    assert abs(row["star rms"] - 1.0) < 0.3  # 65 stars: 9 % expected
    assert row["false / width"] < 8.0  # at most two in a quarter of a megapixel


def test_unsubtracted_stars_are_noticed(pair):
    run = simulated_pairs.perfect_run(pair)
    wrong = run.difference.image + 0.05 * (pair.science_truth - pair.config.sky)
    spoilt = simulated_pairs.Run(
        files.Planes(wrong, run.difference.mask, run.difference.variance, run.difference.planes, None), {}, 1.0
    )
    row = simulated_pairs.measure("spoilt", pair, spoilt, 1.0)
    assert {"star width", "false /Mpix"} <= set(row["misses"].split(", "))


def test_template_defects_are_seen_on_the_science_grid():
    warped = simulate_pair(preset("warped", width=200, height=200, n_stars=0, n_galaxies=0, n_transients=0))
    seen = simulated_pairs.template_bad_on_science_grid(warped)
    assert seen[:10, 100].all()  # the template is shifted by 20 pixels and does not reach the lower border
    assert seen.mean() < 0.5


def test_injected_stars_are_on_empty_sky():
    rng = np.random.default_rng(5)
    image = rng.normal(100.0, 2.0, (400, 400))
    out, stamp, x, y = real_pairs.add_stars(image, 3.0, 5, rng)
    assert len(x) == 5
    assert abs((out - image).sum() / (5 * stamp.sum()) - 1.0) < 1e-9
    assert min(x.min(), y.min()) >= real_pairs.MARGIN


def test_policies_are_scored_side_by_side(tmp_path):
    rng = np.random.default_rng(8)
    science = 1000.0 + rng.normal(0.0, 10.0, (256, 256))
    star = 20_000.0 * moffat_stamp(MoffatShape(4.0, 0.0, 0.0, 3.5), 0.0, 0.0, 16)
    for y in range(50, 220, 40):
        for x in range(50, 220, 40):
            science[y - 16 : y + 17, x - 16 : x + 17] += star
    files.fits.writeto(tmp_path / "science.fits", science)
    items = {"spatialKernelSum": 0.5, "convolvedExposure": "Science", "nCandidates": 9, "nGood": 7}

    def run(residual: float) -> mask_policy.Run:
        image = rng.normal(0.0, 10.0, science.shape) + residual * (science - 1000.0)
        planes = files.Planes(image, np.zeros(science.shape, np.int64), np.full(science.shape, 100.0), {}, None)
        return mask_policy.Run(planes, items | {"spatialKernelOrderUsed": 1}, 2.0)

    pair = real_pairs.RealPair("template.fits", "science.fits", 1e9, 4.0)
    made = {"exclude": run(0.0), "reject": run(0.05)}
    good, bad = mask_policy.rows_of("a", pair, tmp_path / "science.fits", made, 2.02)
    assert abs(good["star_rms"] - 1.0) < 0.2  # some 400 pixels, and the sky's own width
    assert bad["star_rms"] > 1.5 * good["star_rms"]
    assert bad["star_frac"] > 1.5 * good["star_frac"]
    assert abs(good["sky / noise"] - 1.0) < 0.05
    assert good["sum error %"] == pytest.approx(100.0 * (2.0 / 2.02 - 1.0))
    assert (good["kept"], good["used"], good["order"], good["seconds"]) == (9, 7, 1, 2.0)
    only, failed = mask_policy.rows_of("a", pair, tmp_path / "science.fits", {"exclude": run(0.0), "reject": 3}, 2.0)
    assert only["policy"] == "exclude"
    assert failed == {"pair": "a", "policy": "reject", "kept": "failed with status 3"}


def test_stamps_are_drawn(pair, tmp_path):
    pytest.importorskip("matplotlib")
    import render

    for role in ("template", "science"):
        files.write_lsst(tmp_path / f"{role}.fits", getattr(pair, role))
    names = [str(tmp_path / name) for name in ("template.fits", "science.fits", "science.fits")]
    render.main([*names, "-o", str(tmp_path / "m.png"), "--number", "1", "--half", "10"])
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_machine_unit_is_a_time():
    assert 0.0 < unit.machine_unit(64, 2) < 1.0


def test_a_run_is_measured():
    # The sum takes some 50 ms of the processor, the list 80 MB.
    cost = timing.run([sys.executable, "-c", "x = list(range(1000)) * 10000; sum(x)"])
    assert 0.01 < cost.cpu < 5.0
    assert cost.wall > 0.01
    assert cost.peak > 76.0
    with pytest.raises(subprocess.CalledProcessError):
        timing.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_best_of_each_figure_counts():
    costs = iter([timing.Cost(3.0, 1.0, 9.0), timing.Cost(2.0, 2.0, 8.0)])
    assert timing.best(2, lambda: next(costs)) == timing.Cost(2.0, 1.0, 8.0)


def test_goals_grow_with_the_pixels():
    assert whole.goal_of("standard", 4096) == (14.0, 1.1 * 1024)
    assert whole.goal_of("standard", 16384) == (None, 250.0 + 64 * 256)


def test_scaling_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        {"case": "a", "side": side, "wall units": side / 100, "peak MiB": 300.0, "goal units": goal, "goal MiB": 400.0}
        for side, goal in ((1024, 5.5), (2048, None))
    ]
    whole.plot(rows, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_every_stage_can_be_timed(tmp_path, monkeypatch):
    options = stages.parse(None, ["--case", "demo", "--size", "300", "--threads", "1", "--pairs", str(tmp_path)])
    work = stages.Work(options)
    for stage in (stage_read, stage_detect, stage_candidates, stage_fit, stage_convolve, stage_subtract, stage_write):
        for step in stage.steps(work).values():
            step()
    assert work.settings.threads == 1
    monkeypatch.setattr(timing, "unit_seconds", lambda: 0.5)
    output = tmp_path / "read.json"
    arguments = ["--case", "demo", "--size", "300", "--pairs", str(tmp_path), "--repeats", "1", "--output", str(output)]
    stage_read.main(arguments)
    made = json.loads(output.read_text())
    assert made["environment"]["unit s"] == 0.5
    assert [row["step"] for row in made["rows"]] == ["headers", "template", "science"]
    assert all(row["wall units"] == 2.0 * row["wall s"] > 0 for row in made["rows"])
