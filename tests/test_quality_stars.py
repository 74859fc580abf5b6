"""Residuals of stars: what is left of their light comes back, whatever the noise."""

import numpy as np
import pytest

from made_pairs import gaussian_stars, star_grid
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.quality_sources import count_sources
from psfmatch_cli.quality_stars import at_least, star_residuals

SHAPE, FWHM, SIGMA, SKY = (420, 420), 4.0, 4.0 / 2.3548, 100.0
#: Mean absolute value of the noise.
ABSOLUTE = 5.0 * np.sqrt(2 / np.pi)


@pytest.fixture(scope="module")
def stars():
    return star_grid(SHAPE, flux=(1e5, 1e6))


@pytest.fixture(scope="module")
def light(stars):
    return gaussian_stars(SHAPE, stars["x"], stars["y"], stars["flux"], SIGMA)


def images(light, residual, variance=25.0):
    noise = np.random.default_rng(2).normal(0, np.sqrt(variance), SHAPE)
    plane = np.full(SHAPE, variance, np.float32)
    made = MaskedImage.from_arrays((residual + noise).astype(np.float32), variance=plane)
    return made, MaskedImage.from_arrays((light + SKY).astype(np.float32), variance=plane)


def residuals(difference, science, stars, scale=1.0, sky_level=ABSOLUTE):
    return star_residuals(difference, science, stars["x"], stars["y"], fwhm=FWHM, scale=scale, sky_level=sky_level)


def test_noise_alone_leaves_nothing(stars, light):
    found = residuals(*images(light, 0.0), stars)
    # 49 pixels of 60 stars.
    assert found.median_chi2 == pytest.approx(1.0, abs=0.06)
    assert found.relative_residual < 0.005
    assert abs(found.flux_residual) < 0.002
    assert found.ratio.mean() < 0.02


@pytest.mark.parametrize("part", [0.05, -0.2])
def test_a_part_of_the_light_comes_back(stars, light, part):
    found = residuals(*images(light, part * light), stars)
    # Both are lowered by two standard errors.
    assert found.relative_residual == pytest.approx(abs(part), rel=0.02)
    assert found.flux_residual == pytest.approx(part, rel=0.02)
    assert found.ratio.mean() == pytest.approx(abs(part), rel=0.15)


def test_a_shift_of_one_pixel_leaves_what_the_overlap_of_gaussians_says(stars, light):
    other = gaussian_stars(SHAPE, stars["x"] + 1.0, stars["y"], stars["flux"], SIGMA)
    found = residuals(*images(light, light - other), stars)
    expected = np.sqrt(2 * (1 - np.exp(-1 / (4 * SIGMA**2))))
    # The core ends at one FWHM, where a tenth of the power of a dipole is missing.
    assert found.relative_residual == pytest.approx(expected, rel=0.1)
    # To second order the shift takes light out of the core.
    assert abs(found.flux_residual) < 0.05


def test_a_difference_in_other_counts_is_compared_with_light_in_those(stars, light):
    difference, science = images(light, 0.1 * light * 0.5)
    assert residuals(difference, science, stars, scale=0.5).relative_residual == pytest.approx(0.1, rel=0.02)


def test_faint_stars_prove_nothing(light):
    stars = star_grid(SHAPE, flux=(100.0, 300.0))
    faint = gaussian_stars(SHAPE, stars["x"], stars["y"], stars["flux"], SIGMA)
    found = residuals(*images(faint, 0.0), stars)
    assert not found.bright.any()
    assert np.isnan(found.relative_residual)


def test_stars_at_the_border_and_on_bad_pixels_are_left_out(stars, light):
    difference, science = images(light, 0.0)
    whole = len(residuals(difference, science, stars))
    x, y = int(stars["x"][30]), int(stars["y"][30])
    difference.mask[y - 5 : y + 6, x - 5 : x + 6] |= difference.bits(["SAT"])
    assert len(residuals(difference, science, stars)) == whole - 1
    at_border = {"x": np.array([3.0, -50.0]), "y": np.array([200.0, 200.0])}
    assert len(residuals(difference, science, at_border)) == 0


def test_at_least():
    values = np.random.default_rng(1).normal(0.0, 1.0, 1000)
    assert abs(at_least(values)) < 0.1
    # Two standard errors of the median of 1000 values: 0.08.
    assert at_least(values + 1.0) == pytest.approx(0.92, abs=0.08)
    assert at_least(np.full(5, -2.0)) == -2.0
    assert np.isnan(at_least(np.ones(4)))


def test_sources_of_both_signs_are_counted(stars, light):
    flux = np.where(np.arange(len(stars)) % 3 == 0, -4e3, 4e3)
    residual = gaussian_stars(SHAPE, stars["x"], stars["y"], flux, SIGMA)
    difference, _ = images(light, residual)
    found = count_sources(difference, None, FWHM)
    assert (found.n_positive, found.n_negative) == (np.count_nonzero(flux > 0), np.count_nonzero(flux < 0))
    assert found.items()["negative_per_megapixel"] == pytest.approx(1e6 * found.n_negative / difference.image.size)
    assert np.isnan(found.items()["positive_per_square_degree"])
    empty, _ = images(light, 0.0)
    assert count_sources(empty, None, FWHM).total == 0
