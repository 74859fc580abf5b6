"""The square of a kernel within a tile, and what correlated noise does to the variance."""

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import known_kernel
from psfmatch_cli.convolve import convolve
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.kernel import exponent_pairs
from psfmatch_cli.kernel_square import TOLERANCE, SquaredKernel, correlated_variance_factor

SHAPE = (400, 520)


def squared_at(square: SquaredKernel, xs: np.ndarray, ys: np.ndarray, x: float, y: float) -> np.ndarray:
    """The square at one position of a tile, from its terms there."""
    images, order = square.within(xs, ys)
    u, v = (2 * (at - all_[0]) / (all_[-1] - all_[0]) - 1 for at, all_ in ((x, xs), (y, ys)))
    return sum(u**a * v**b * image for (a, b), image in zip(exponent_pairs(order), images, strict=True))


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("tile", [(0, 520, 0, 400), (300, 420, 10, 130), (515, 520, 395, 400)])
def test_terms_of_the_square_give_the_square_anywhere_in_the_tile(order, tile):
    kernel = known_kernel(order, SHAPE)
    xs, ys = np.arange(*tile[:2]), np.arange(*tile[2:])
    for x in (xs[0], xs[len(xs) // 3], xs[-1]):
        for y in (ys[0], ys[len(ys) // 2], ys[-1]):
            squared, expected = squared_at(SquaredKernel.of(kernel), xs, ys, x, y), direct.kernel_at(kernel, x, y) ** 2
            # The stated tolerance: the sum of absolute errors, relative to the sum of the square.
            assert np.abs(squared - expected).sum() <= TOLERANCE * expected.sum()


def test_the_square_of_a_constant_kernel_is_one_image():
    images, order = SquaredKernel.of(known_kernel(0, SHAPE)).within(np.arange(100), np.arange(50))
    assert (order, len(images)) == (0, 1)


def test_smaller_tiles_need_lower_orders():
    square = SquaredKernel.of(known_kernel(2, SHAPE))
    orders = [square.within(np.arange(n), np.arange(n))[1] for n in (400, 120, 12, 1)]
    assert orders == sorted(orders, reverse=True)
    assert orders[0] > orders[-1] == 0


@pytest.mark.parametrize("order", [1, 2])
def test_noise_is_right_to_half_a_percent_also_beside_bright_stars(order):
    shape, rng = (700, 800), np.random.default_rng(5)
    half, kernel = 7, known_kernel(order, shape)
    # Photon noise of stars up to 200 times as bright as the sky, as the variance planes of surveys have it.
    variance, at = np.ones(shape), rng.integers((20, 20), (680, 780), size=(150, 2))
    for y, x in at:
        v, u = np.mgrid[-12:13, -12:13]
        variance[y - 12 : y + 13, x - 12 : x + 13] += 200 * rng.random() * np.exp(-0.5 * (u**2 + v**2) / 3)
    made = convolve(MaskedImage.from_arrays(np.zeros(shape), variance=variance), kernel)
    ratios = []
    # At stars, and out to where only the wings of the kernel reach.
    for y, x in np.concatenate([at + step for step in np.array([(0, 0), (0, 4), (-7, 3), (-9, -9)])]):
        here = direct.kernel_at(kernel, x, y)[::-1, ::-1] ** 2
        exact = (here * variance[y - half : y + half + 1, x - half : x + half + 1]).sum()
        ratios.append(np.sqrt(made.variance[y, x] / exact))
    assert np.abs(np.array(ratios) - 1).max() < 0.005


def test_white_noise_needs_no_correction():
    kernel = known_kernel(0, SHAPE).image(0, 0)
    assert correlated_variance_factor(kernel, np.ones((1, 1))) == pytest.approx(1.0, abs=1e-12)


def test_an_autocorrelation_wider_than_the_kernel_is_cut():
    rho = np.ones((41, 41))
    # Fully correlated noise: the whole kernel acts on one number.
    expected = np.ones((5, 5)).sum() ** 2 / 25
    assert correlated_variance_factor(np.ones((5, 5)), rho) == pytest.approx(expected, rel=1e-12)
