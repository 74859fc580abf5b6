"""The noise of a decorrelated difference is white, its variance true, and its sources keep their flux."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft
from scipy.signal import fftconvolve

from psfmatch_cli.convolve import convolve
from psfmatch_cli.decorrelate import NoiseSources, decorrelate
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel
from psfmatch_cli.node_kernels import NodeGrid, convolve_between_nodes
from psfmatch_cli.subtract import subtract
from psfmatch_cli.whitening import NoiseTerms, whitening

SHAPE = (700, 640)


def noise_image(shape, sigma, seed):
    rng = np.random.default_rng(seed)
    sigma = np.broadcast_to(np.asarray(sigma, float), shape)
    return MaskedImage.from_arrays(rng.normal(size=shape) * sigma, variance=sigma**2)


def gaussian_kernel(sigma, size, total=1.0, region=None):
    u = np.arange(size) - size // 2
    image = np.exp(-0.5 * (u**2 + u[:, None] ** 2) / sigma**2)
    return MatchingKernel((total * image / image.sum())[None], np.ones((1, 1)), SpatialModel("chebyshev1", 0, region))


def difference_of(target, convolved, kernel):
    return subtract(target, convolve(convolved, kernel), BackgroundModel.zero(target.box))


def correlations(z, reach=4):
    """Correlation coefficients with neighbours up to `reach`, the centre left out."""
    z = z - z.mean()
    out = {}
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            if (dy, dx) > (0, 0):
                a = z[: z.shape[0] - dy, max(0, -dx) : z.shape[1] - max(0, dx)]
                b = z[dy:, max(0, dx) : z.shape[1] + min(0, dx)]
                out[dy, dx] = float((a * b).mean() / z.var())
    return out


@pytest.mark.parametrize(("sigma_t", "sigma_s"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (10.0, 1.0)])
def test_white_noise(sigma_t, sigma_s):
    target, template = noise_image(SHAPE, sigma_s, 1), noise_image(SHAPE, sigma_t, 2)
    kernel = gaussian_kernel(2.0, 21, 1.3, target.box)
    made = decorrelate(difference_of(target, template, kernel), NoiseSources(target, template, kernel))
    z = (made.image.image / np.sqrt(made.image.variance))[40:-40, 40:-40]
    n = z.size
    assert np.std(z) == pytest.approx(1.0, abs=4 / np.sqrt(2 * n) + 1e-3)
    # Noise of a correlation coefficient is 1 / sqrt(n), 0.0016; 1 % is what is asked for.
    assert max(map(abs, correlations(z).values())) < 0.01
    assert made.image.variance[300, 300] == pytest.approx(sigma_s**2 + 1.69 * sigma_t**2, rel=5e-3)


def test_varying_kernel_and_noise():
    # The kernel's width and the noise of both images change over the field.
    region = noise_image(SHAPE, 1.0, 0).box
    across, down = np.linspace(0.5, 2.0, SHAPE[1]), np.linspace(1.0, 2.0, SHAPE[0])[:, None]
    target, template = noise_image(SHAPE, down * np.ones(SHAPE), 3), noise_image(SHAPE, across * np.ones(SHAPE), 4)
    narrow, wide = (gaussian_kernel(s, 21, 1.2, region).basis[0] for s in (1.2, 2.4))
    coefficients = np.array([[0.5, 0.5, 0.0], [0.5, -0.5, 0.0]])
    kernel = MatchingKernel(np.stack([narrow, wide]), coefficients, SpatialModel("chebyshev1", 1, region))
    made = decorrelate(difference_of(target, template, kernel), NoiseSources(target, template, kernel))
    z = (made.image.image / np.sqrt(made.image.variance))[40:-40, 40:-40]
    for part in np.array_split(z, 3, axis=0):
        for cell in np.array_split(part, 3, axis=1):
            # Noise of a width from 38,000 pixels is 0.4 %, of a correlation coefficient 0.5 %.
            assert np.std(cell) == pytest.approx(1.0, abs=0.016)
            assert max(map(abs, correlations(cell, 2).values())) < 0.025
    assert max(map(abs, correlations(z).values())) < 0.01


def test_correlated_template_noise():
    rng = np.random.default_rng(5)
    smoothing = np.array([[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]])
    raw = fftconvolve(rng.normal(size=SHAPE), smoothing, mode="same")
    autocorrelation = fftconvolve(smoothing, smoothing)
    variance = autocorrelation[2, 2]
    template = MaskedImage.from_arrays(raw, variance=np.full(SHAPE, variance))
    target = noise_image(SHAPE, 0.7, 6)
    kernel = gaussian_kernel(1.5, 17, 1.0, target.box)
    sources = NoiseSources(target, template, kernel, convolved_correlation=autocorrelation / variance)
    made = decorrelate(difference_of(target, template, kernel), sources)
    z = (made.image.image / np.sqrt(made.image.variance))[40:-40, 40:-40]
    assert np.std(z) == pytest.approx(1.0, abs=5e-3)
    assert max(map(abs, correlations(z).values())) < 0.01


def test_sources_keep_their_flux_and_noise_of_light():
    target, template = noise_image(SHAPE, 1e-3, 7), noise_image(SHAPE, 1e-3, 8)
    u = np.arange(-30, 31)
    star = np.exp(-0.5 * (u**2 + u[:, None] ** 2) / 2.5**2)
    target.image[300:361, 250:311] += star
    kernel = gaussian_kernel(2.0, 21, 1.0, target.box)
    raw = difference_of(target, template, kernel)
    made = decorrelate(raw, NoiseSources(target, template, kernel))
    box = np.s_[270:391, 220:341]
    # The noise of a sum over 121^2 pixels is 0.17.
    assert made.image.image[box].sum() == pytest.approx(raw.image[box].sum(), abs=0.02)
    # The filter sharpens the star.
    assert made.image.image[box].max() > 1.1 * raw.image[box].max()


@pytest.mark.parametrize("shape", [(700, 640), (130, 300), (61, 61)])
def test_interpolated_convolution_agrees_with_a_direct_one(shape):
    rng = np.random.default_rng(9)
    image = rng.normal(size=shape).astype(np.float32)
    grid = NodeGrid(shape, 9)
    kernels = rng.normal(size=(grid.tiles[0] + 1, grid.tiles[1] + 1, 9, 9))
    made = convolve_between_nodes(image, grid, kernels, threads=2)
    padded = np.pad(image.astype(float), 4)
    for y, x in rng.integers(0, shape, (40, 2)):
        j, i = y // grid.step, x // grid.step
        v, u = y / grid.step - j, x / grid.step - i
        kernel = (1 - v) * ((1 - u) * kernels[j, i] + u * kernels[j, i + 1])
        kernel += v * ((1 - u) * kernels[j + 1, i] + u * kernels[j + 1, i + 1])
        expected = (padded[y : y + 9, x : x + 9] * kernel[::-1, ::-1]).sum()
        # float32 transforms of values of order 9.
        assert made[y, x] == pytest.approx(expected, abs=3e-5)


def test_white_inputs_of_equal_kernel_need_no_filter():
    # A kernel of one pixel leaves white noise white.
    delta = np.zeros((1, 5, 5))
    delta[0, 2, 2] = 1.0
    made = whitening(NoiseTerms(np.ones(1), np.full(1, 2.0), delta))
    middle = made.filters.shape[-1] // 2
    assert made.filters[0, middle, middle] == pytest.approx(1.0, abs=1e-12)
    assert np.abs(made.filters).sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("sv", "tv"), [(0.04, 0.04), (0.08, 0.04), (0.04, 0.08)])
def test_variance_and_largest_amplification(sv, tv):
    # The maximum of the filter's transform is sqrt(1 + tv / sv) for a kernel sum of 1; the variance sv + tv.
    kernel = gaussian_kernel(np.sqrt(3.3**2 - 2.2**2), 33).basis
    made = whitening(NoiseTerms(np.array([sv]), np.array([tv]), kernel))
    transfer = np.abs(fft.fft2(made.filters[0], (128, 128)))
    assert transfer.max() == pytest.approx(np.sqrt(1 + tv / sv), rel=2e-3)
    variance = sv * made.target_squares.sum() + tv * made.convolved_squares.sum()
    assert variance == pytest.approx(sv + tv, rel=1e-3)


def test_bad_pixels():
    target, template = noise_image(SHAPE, 1.0, 10), noise_image(SHAPE, 1.0, 11)
    target.image[100, 100] = np.nan
    target = MaskedImage.from_arrays(target.image, variance=target.variance)
    target.mask[200, 200] |= target.bits(["BAD"])
    target.image[200, 200] = 1e6
    kernel = gaussian_kernel(2.0, 21, 1.0, target.box)
    raw = difference_of(target, template, kernel)
    made = decorrelate(raw, NoiseSources(target, template, kernel)).image
    assert np.isnan(made.image[100, 100])
    assert made.flagged(["BAD"])[200, 200]
    good = ~made.unusable(["NO_DATA", "BAD"])
    z = made.image[good] / np.sqrt(made.variance[good])
    # Five sigma of 450,000 Gaussian values is rare; nothing of the 1e6 counts has leaked.
    assert np.abs(z).max() < 5.7
    assert good.mean() > 0.9
