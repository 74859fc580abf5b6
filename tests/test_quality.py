"""The whole job without options on a field with all its defects: a small case of benchmarks/simulated_pairs.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.simulate import preset, simulate_pair

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import metrics
import simulated_pairs

SIZE = 768


@pytest.fixture(scope="module")
def outcome():
    pair = simulate_pair(preset("standard", width=SIZE, height=SIZE, seed=4, n_transients=60))
    return pair, ImagePsfMatchTask().subtract_exposures(pair.template, pair.science)


def usable_of(result):
    difference = result.subtracted_exposure
    bad = difference.masked_image.flagged(["NO_DATA", "SAT", "BAD", "CR", "EDGE"])
    return ~bad & np.isfinite(difference.image)


def test_the_sky_is_as_noisy_as_the_variance_says(outcome):
    pair, result = outcome
    difference, usable = result.subtracted_exposure, usable_of(result)
    sky = usable & (pair.science_truth < np.percentile(pair.science_truth, 50))
    z = difference.image[sky] / np.sqrt(difference.variance[sky])
    # 200,000 pixels: the error of a robust width is 0.003.
    assert metrics.width(z) == pytest.approx(1.0, abs=0.02)


def test_transients_keep_their_flux_and_stand_out(outcome):
    pair, result = outcome
    difference, usable = result.subtracted_exposure, usable_of(result)
    ratios, found = [], []
    for row in pair.transients[np.abs(pair.transients["snr"]) > 20]:
        x, y = row["x"] - difference.xy0[0], row["y"] - difference.xy0[1]
        psf, _, _ = simulated_pairs.psf_at(pair, "science", row["x"], row["y"])
        flux = metrics.psf_flux(difference.image, usable, x, y, psf)
        if np.isfinite(flux):
            at = np.s_[int(y) - 1 : int(y) + 3, int(x) - 1 : int(x) + 3]
            ratios.append(flux / row["flux"] - 1)
            found.append(np.abs(difference.image[at] / np.sqrt(difference.variance[at])).max() > 5)
    assert len(ratios) > 10
    # About 25 fluxes of 1 to 5 % error each: the median is good to 0.6 %.
    assert abs(np.median(ratios)) < 0.02
    assert np.mean(found) > 0.95


def test_little_else_stands_out(outcome):
    pair, result = outcome
    difference, usable = result.subtracted_exposure, usable_of(result)
    z = np.where(usable, difference.image / np.sqrt(np.where(usable, difference.variance, 1.0)), 0.0)
    x0, y0 = difference.xy0
    rate = metrics.false_peaks(z, usable, pair.transients["x"] - x0, pair.transients["y"] - y0, 3 * 4.6)
    # Two peaks a megapixel are one here; three leave room for chance.
    assert rate * usable.sum() / 1e6 <= 3


def test_the_flux_ratio_and_the_choices_are_found(outcome):
    pair, result = outcome
    assert result.convolved == "template"
    # The kernel's window holds all but a few thousandths of a Moffat kernel.
    assert result.psf_matching_kernel.center_sum == pytest.approx(pair.config.flux_ratio, rel=0.01)
    assert result.summary["n_used"] > 30
