"""Tiles cover the image once, and their convolution is the plain one."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from psfmatch_cli.kernel import exponent_pairs, n_terms
from psfmatch_cli.tiles import convolve_tile, spectra, tiles


@pytest.mark.parametrize(("shape", "size"), [((41, 52), 15), ((15, 15), 15), ((15, 900), 15), ((700, 301), 31)])
def test_tiles_cover_every_pixel_on_which_the_kernel_fits_once(shape, size):
    count, half = np.zeros(shape, int), size // 2
    for tile in tiles(shape, size):
        count[tile.rows, tile.columns] += 1
        assert all(0 <= part.start < part.stop <= n for part, n in zip(tile.source, shape, strict=True))
        assert all(s.stop - s.start <= n for s, n in zip(tile.source, tile.transform, strict=True))
    expected = np.zeros(shape, int)
    expected[half : shape[0] - half, half : shape[1] - half] = 1
    np.testing.assert_array_equal(count, expected)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_tile_is_the_sum_of_its_weighted_convolutions(order):
    rng = np.random.default_rng(order)
    pixels = rng.normal(size=(60, 75)).astype(np.float32)
    kernels = rng.normal(size=(n_terms(order), 7, 7))
    (tile,) = tiles(pixels.shape, 7)
    x, y = np.linspace(-1, 1, 69), np.linspace(-1, 1, 54)
    exponents = np.arange(order + 1)[:, None]
    made = convolve_tile(pixels, spectra(kernels, tile.transform, np.float32), x**exponents, y[None] ** exponents, tile)
    expected = sum(
        np.outer(y**b, x**a) * fftconvolve(pixels.astype(float), kernel, mode="valid")
        for (a, b), kernel in zip(exponent_pairs(order), kernels, strict=True)
    )
    # Single precision: 1e-7 of sums of up to 10 * 49 products of unit size.
    np.testing.assert_allclose(made, expected, atol=1e-4)
