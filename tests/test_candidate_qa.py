"""Statistics of residuals against scipy's tests, and what they say of right and wrong kernels."""

import numpy as np
import pytest
from scipy import stats

from made_stamps import COEFFICIENTS, fit, make_stamps
from psfmatch_cli.candidate_qa import STATISTICS, ad_probability, ks_probability, quality_items
from psfmatch_cli.fitted import FittedStamps, residual_pixels

RNG = np.random.default_rng(8)
SAMPLES = {
    "unit Gaussian": RNG.normal(size=400),
    "wide": 1.3 * RNG.normal(size=400),
    "uniform": RNG.uniform(-1.7, 1.7, 400),
    "few": RNG.normal(size=12),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_kolmogorov_smirnov_as_scipy(name):
    z = np.sort(SAMPLES[name])
    # Stephens' approximation is good to a few per cent of the probability.
    assert ks_probability(z) == pytest.approx(stats.kstest(z, "norm").pvalue, rel=0.06, abs=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", SAMPLES)
def test_anderson_darling_agrees_with_the_levels_of_scipy(name):
    z = np.sort(SAMPLES[name])
    found = stats.anderson(z, "norm")
    probability = ad_probability(z)
    for level, critical in zip(found.significance_level, found.critical_values, strict=True):
        # Two tabulations of the same levels: not compared within 5 % of a critical value.
        if abs(found.statistic / critical - 1) > 0.05:
            assert (probability < level / 100) == (found.statistic > critical)


def test_equal_values_are_no_gaussian():
    assert ad_probability(np.zeros(20)) == 0.0


def items_of(fitted: FittedStamps, local: np.ndarray) -> dict[str, float]:
    """All items for these parameters as those of the spatial model."""
    return quality_items(fitted, local, residual_pixels(fitted, local))


@pytest.fixture(scope="module")
def fitted():
    return fit(make_stamps(60, noise=3.0))


def test_a_right_kernel_leaves_unit_gaussians(fitted):
    right = np.tile([*COEFFICIENTS, 0.0], (60, 1))
    items = items_of(fitted, right)
    # 60 stamps of 361 pixels, correlated over a few pixels by the convolved template.
    assert abs(items["KCDiffimMean_SPATIAL_MEAN"]) < 0.02
    assert items["KCDiffimStDev_SPATIAL_MEAN"] == pytest.approx(1.0, abs=0.03)
    assert items["KCDiffimIQR_SPATIAL_MEAN"] == pytest.approx(1.349, abs=0.05)
    assert items["KCDiffimChiSq_SPATIAL_MEAN"] == pytest.approx(1.0, abs=0.05)
    assert 0.3 < items["KCDiffimKSProb_SPATIAL_MEAN"] < 0.7
    assert 0.3 < items["KCDiffimADSig_SPATIAL_MEAN"] < 0.7
    # The noise of the science image, and a quarter of its variance through the kernel.
    assert items["KCDiffimMseResids_SPATIAL_MEAN"] == pytest.approx(9 * (1 + 0.25 * 0.22), rel=0.1)


def test_own_kernels_fit_better_than_the_truth_and_a_wrong_one_worse(fitted):
    right = np.tile([*COEFFICIENTS, 0.0], (60, 1))
    wrong = right * np.array([*[1.2] * 9, 1.0])
    good, bad = items_of(fitted, right), items_of(fitted, wrong)
    assert good["KCDiffimChiSq_LOCAL_MEAN"] < good["KCDiffimChiSq_SPATIAL_MEAN"] < bad["KCDiffimChiSq_SPATIAL_MEAN"]
    assert bad["KCDiffimKSProb_SPATIAL_MEDIAN"] < 1e-6
    assert good["KCDiffimMseKernel_SPATIAL_MEAN"] < 0.1 * bad["KCDiffimMseKernel_SPATIAL_MEAN"]


def test_the_names_are_statistic_kernel_and_summary(fitted):
    names = set(items_of(fitted, fitted.solutions))
    summaries = ("MEAN", "MEDIAN", "STDEV")
    expected = {f"KCDiffim{s}_{k}_{v}" for s in STATISTICS for k in ("LOCAL", "SPATIAL") for v in summaries}
    assert names == expected | {f"KCDiffimMseKernel_SPATIAL_{v}" for v in summaries}


def test_the_statistics_are_those_of_plain_numpy():
    stamps = make_stamps(3, noise=3.0)
    stamps.science_judged[1, 10:12, 8:20] = False
    made = fit(stamps)
    pixels = residual_pixels(made, made.solutions)
    plain = {name: [] for name in ("Mean", "Median", "IQR", "StDev", "ChiSq")}
    for residual, variance, use in zip(pixels.residual, pixels.variance, made.judged, strict=True):
        z = residual[use] / np.sqrt(variance[use])
        quartiles = np.percentile(z, [25, 75])
        for name, value in zip(
            plain, (z.mean(), np.median(z), np.ptp(quartiles), z.std(ddof=1), np.mean(z**2)), strict=True
        ):
            plain[name].append(value)
    items = items_of(made, made.solutions)
    for name, values in plain.items():
        assert items[f"KCDiffim{name}_LOCAL_MEAN"] == pytest.approx(np.mean(values), abs=1e-12)
        assert items[f"KCDiffim{name}_LOCAL_STDEV"] == pytest.approx(np.std(values), abs=1e-12)


def test_candidates_without_pixels_are_left_out():
    stamps = make_stamps(3, noise=3.0)
    stamps.science_judged[1] = False
    items = items_of(*(lambda made: (made, made.solutions))(fit(stamps)))
    assert all(np.isfinite(value) for value in items.values())
    stamps.science_judged[:] = False
    items = items_of(*(lambda made: (made, made.solutions))(fit(stamps)))
    assert np.isnan(items["KCDiffimMean_LOCAL_MEAN"])
