"""Samples of the sky: width, mean and correlation that are put in come back."""

import numpy as np
import pytest
from scipy import ndimage

from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.quality_sky import N_CELLS, SQUARE, largest_correlation, sample_sky, sky_cells

SHAPE = (512, 640)


def masked_image(image, variance=1.0, mask=None):
    made = MaskedImage.from_arrays(image.astype(np.float32), variance=np.full(image.shape, variance, np.float32))
    if mask is not None:
        made.mask[mask[0]] |= made.bits([mask[1]])
    return made


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(3).normal(0.0, 1.0, SHAPE)


def test_the_width_is_that_of_the_noise_over_the_variance(noise):
    sample = sample_sky(masked_image(3.0 * noise, variance=4.0))
    # 147,456 pixels: the error of a robust width is 1.17 / sqrt(2 n) = 0.3 %.
    assert sample.width == pytest.approx(1.5, rel=0.01)
    assert sample.z.shape == ((2 * N_CELLS) ** 2, SQUARE, SQUARE)
    assert sample.mean_absolute == pytest.approx(3.0 * np.sqrt(2 / np.pi), rel=0.01)


def test_white_noise_is_not_correlated_and_smoothed_noise_as_its_kernel_says(noise):
    # The largest of 12 correlations of 140,000 pairs each has an error of 0.003.
    assert largest_correlation(sample_sky(masked_image(noise))) < 0.012
    smooth = ndimage.convolve1d(noise, [0.25, 0.5, 0.25], axis=1)
    expected = (0.25 * 0.5 * 2) / (0.25**2 * 2 + 0.5**2)
    # Cutting at 4 widths takes nothing from Gaussian noise.
    assert largest_correlation(sample_sky(masked_image(smooth))) == pytest.approx(expected, abs=0.012)


def test_bad_pixels_and_sources_do_not_count(noise):
    spoiled = noise.copy()
    spoiled[100:200] = 1e4
    for plane in ("BAD", "DETECTED"):
        sample = sample_sky(masked_image(spoiled, mask=(np.s_[100:200], plane)))
        assert sample.width == pytest.approx(1.0, rel=0.015), plane
        assert np.nanmax(np.abs(sample.z)) < 6.0


def test_where_everything_is_a_source_subtracted_sources_are_sky(noise):
    assert sample_sky(masked_image(noise, mask=(np.s_[:], "DETECTED"))).width == pytest.approx(1.0, rel=0.01)


def test_cells_tell_where_the_sky_is_off(noise):
    uneven = noise.copy()
    uneven[-128:, -160:] += 0.5
    uneven[:128, :160] *= 2.0
    cells = sky_cells(sample_sky(masked_image(uneven)))
    # 9216 pixels in a cell: a mean is good to 0.01, a width to 0.9 %.
    assert cells.mean[-1] == pytest.approx(0.5, abs=0.04)
    assert np.abs(cells.mean[1:-1]).max() < 0.05
    assert cells.width[0] == pytest.approx(2.0, rel=0.04)
    assert (cells.n_pixels == 4 * SQUARE**2).all()


def test_without_sky_nothing_is_known(noise):
    sample = sample_sky(masked_image(noise, mask=(np.s_[:], "NO_DATA")))
    assert np.isnan([sample.width, sample.mean_absolute, largest_correlation(sample)]).all()


def test_small_images_are_sampled_without_overlap():
    image = np.random.default_rng(1).normal(size=(40, 50))
    assert sample_sky(masked_image(image)).z.shape == (64, 5, 5)
