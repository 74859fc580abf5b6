"""Numbers of a trial, from tables whose numbers are known."""

import numpy as np
import pytest
from astropy.table import Table
from scipy import ndimage
from scipy.special import ndtr

from made_pairs import exposure
from psfmatch_cli.diff_detect import find_difference_sources
from psfmatch_cli.fakes.compare import nearest, with_origin
from psfmatch_cli.fakes.completeness import fit_completeness
from psfmatch_cli.fakes.score import bins_table, expected_peaks, summary_of, width_of, wilson
from psfmatch_cli.matched_filter import difference_pixels, matched_filter
from psfmatch_cli.psf import gaussian_psf


def made_fakes(n=8000, *, bias=0.01, width=1.03, seed=1):
    """Sources of error 2, found at S/N 5 and brighter, measured too bright by `bias` and with errors too small."""
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(2), np.log(100), n))
    error = np.full(n, 2.0)
    flux = snr * error
    measured = (1 + bias) * flux + width * error * rng.normal(size=n)
    found = measured / error >= 5
    nan = np.where(found, 1.0, np.nan)
    x, y = rng.uniform(0, 1000, (2, n))
    return Table(
        {
            "x": x, "y": y, "on_galaxy": np.arange(n) % 4 == 0, "flux": flux, "snr": snr,
            "forced_flux": measured, "forced_flux_err": error, "found": found,
            "found_x": (x + 0.1 * rng.normal(size=n)) * nan, "found_x_err": 0.1 * nan,
            "found_y": (y + 0.15 * rng.normal(size=n)) * nan, "found_y_err": 0.1 * nan,
            "found_flux": measured * nan, "found_flux_err": error * nan, "found_snr": measured / error * nan,
        }
    )  # fmt: skip


def test_the_numbers_are_those_that_were_put_in():
    summary = summary_of(made_fakes())
    assert [summary[name]["n_injected"] for name in ("all", "sky", "galaxy")] == [8000, 6000, 2000]
    for numbers in summary.values():
        # Within 4 of the standard errors told; those are what the sizes of the samples make them.
        for name, truth in (("flux_bias", 0.01), ("forced_flux_bias", 0.01)):
            assert abs(numbers[name] - truth) < 4 * numbers[f"{name}_err"]
            assert numbers[f"{name}_err"] < 0.003
        # The bias is up to one error of the brightest; its scatter, 0.24, adds to that of the noise.
        width = np.hypot(1.03, 0.24)
        assert numbers["forced_flux_pull_width"] == pytest.approx(width, abs=4 * numbers["forced_flux_pull_width_err"])
        assert numbers["x_pull_width"] == pytest.approx(1.0, abs=5 * numbers["x_pull_width_err"])
        assert numbers["y_pull_width"] == pytest.approx(1.5, abs=5 * numbers["y_pull_width_err"])
        assert abs(numbers["snr_50"] - 5 / 1.01) < 4 * numbers["snr_50_err"] < 0.3


def test_the_bias_of_few_is_not_known():
    numbers = summary_of(made_fakes()[:1])["galaxy"]
    assert numbers["snr_50"] is numbers["forced_flux_pull_width"] is None


@pytest.mark.parametrize(("center", "width", "plateau"), [(5.0, 1.0, 0.999), (7.0, 2.0, 0.9)])
def test_the_curve_of_efficiency_comes_back(center, width, plateau):
    rng = np.random.default_rng(4)
    errors = []
    for _ in range(12):
        snr = np.exp(rng.uniform(np.log(2), np.log(100), 600))
        found = rng.random(600) < plateau * ndtr((snr - center) / width)
        fit = fit_completeness(snr, found)
        half = center + width * (0.0 if plateau > 0.99 else 0.1397)  # ndtri(0.5 / 0.9)
        errors.append((fit.half - half) / fit.half_err)
        assert fit.plateau == pytest.approx(plateau, abs=0.05)
    # Mean and width of 12 unit Gaussians.
    assert abs(np.mean(errors)) < 1.2
    assert 0.5 < np.std(errors) < 1.7


def test_half_is_not_known_where_fewer_are_found():
    rng = np.random.default_rng(5)
    fit = fit_completeness(rng.uniform(2, 100, 500), rng.random(500) < 0.3)
    assert np.isnan(fit.half)
    assert fit.plateau == pytest.approx(0.3, abs=0.06)
    assert np.isnan(fit_completeness(np.arange(1.0, 9), np.ones(8, bool)).half)


def test_bins_count_what_is_in_them():
    fakes, edges = made_fakes(400), np.array([2.0, 5, 10, 100])
    detections = Table(
        {
            "polarity": [1, 1, 1, 1, -1], "snr": [6.0, 7, 8, 20, 30],
            "is_fake": [1, 1, 0, 0, 0], "was_there": [0, 0, 0, 1, 0],
        }
    )  # fmt: skip
    before = Table({"polarity": [1, -1, -1], "snr": [20.0, 12, 6]})
    table = bins_table(fakes, detections, before, edges, 5.0, lambda u: 100 / u)
    first = table[:3]
    assert list(table["sample"]) == ["all"] * 3 + ["sky"] * 3 + ["galaxy"] * 3
    assert list(first["n_detected"]) == [0, 2, 0]
    assert list(first["n_new"]) == [0, 1, 0]
    assert list(first["n_negative"]) == [0, 1, 1]
    assert list(first["n_gaussian"]) == [0, 10, 9]
    np.testing.assert_allclose(first["purity"], [np.nan, 0.5, 0.0])
    assert table["n_injected"][:3].sum() == table["n_injected"][3:].sum() == 400
    assert table["n_found"][:3].sum() == np.asarray(fakes["found"]).sum()
    low, middle, high = (np.asarray(first[f"efficiency{end}"]) for end in ("_low", "", "_high"))
    assert ((low <= middle) & (middle <= high)).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    hit = np.random.default_rng(6).binomial(400, 0.8, 20000)
    low, high = wilson(hit, np.full(20000, 400))
    # The interval of a discrete number cannot be exact: each number of 400 near its ends is worth 3 %.
    assert np.mean((low <= 0.8) & (high >= 0.8)) == pytest.approx(0.683, abs=0.04)
    assert [ends[0] for ends in wilson(np.array([0]), np.array([0]))] == [0.0, 1.0]


def test_pulls_beyond_the_limit_are_counted_apart():
    made = width_of(np.r_[np.random.default_rng(7).normal(size=4000), 50.0, -9.0])
    assert (made["n"], made["outliers"]) == (4000, 2)
    assert made["width"] == pytest.approx(1.0, abs=4 * made["width_err"])


def test_gaussian_noise_has_as_many_peaks_as_expected():
    psf, rng = gaussian_psf(4.0), np.random.default_rng(8)
    difference = exposure(rng.normal(size=(1200, 1200)), 1.0, psf=psf)
    significance = matched_filter(
        difference_pixels(difference.masked_image), psf, (0, 0), np.zeros((1200, 1200), bool)
    ).significance
    peaks = (significance == ndimage.maximum_filter(significance, size=3)) & (significance > 3.5)
    expected = expected_peaks(difference, 3.5)
    assert expected > 80
    # Poisson noise; pixels miss up to a tenth of the peaks of a continuous field just above the threshold.
    assert abs(peaks.sum() - expected) < 4 * np.sqrt(expected) + 0.1 * expected


def test_detections_are_matched_within_the_radius():
    table = Table({"x": [10.0, 50.0], "y": [10.0, 50.0]})
    row, close = nearest(np.array([11.0, 49.0, 30.0]), np.array([10.0, 50.0, 30.0]), table, 1.0)
    assert (list(row[:2]), list(close)) == ([0, 1], [True, True, False])
    assert not nearest(np.array([1.0]), np.array([1.0]), table[:0], 5.0)[1].any()


def test_detections_are_told_apart_by_their_origin():
    columns = ("x", "y", "polarity")
    after = Table(rows=[(10.0, 10.0, 1), (30.0, 30.0, 1), (50.0, 50.0, -1), (70.0, 70.0, 1)], names=columns)
    before = Table(rows=[(10.2, 10.0, 1), (30.3, 30.0, -1), (50.1, 50.0, -1)], names=columns)
    fakes = Table({"found": [True, False], "found_x": [70.0, np.nan], "found_y": [70.0, np.nan]})
    made = with_origin(after, before, fakes, 0.5)
    assert list(made["is_fake"]) == [False, False, False, True]
    assert list(made["was_there"]) == [True, False, True, False]
    assert "is_fake" not in after.colnames


def test_no_detection_at_all_is_no_error():
    difference = exposure(np.zeros((60, 60)), 1.0, psf=gaussian_psf(4.0))
    assert len(find_difference_sources(difference)) == 0
