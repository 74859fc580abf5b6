"""The noise of a decorrelated difference is white, its variance true, and its sources keep their flux."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_pairs import known_kernel
from scipy import fft
from scipy.signal import fftconvolve

from psfmatch_cli.convolve import convolve
from psfmatch_cli.decorrelate import NoiseSources, decorrelate
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.kernel import MatchingKernel, SpatialModel
from psfmatch_cli.node_kernels import NodeGrid, convolve_between_nodes
from psfmatch_cli.subtract import subtract
from psfmatch_cli.kernel import BackgroundModel
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
