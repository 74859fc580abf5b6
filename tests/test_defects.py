import numpy as np
import pytest

from psfmatch_cli.defects import (
    blank_pixels,
    dead_lines,
    dead_pixels,
    find_saturation,
    hot_lines,
    saturated_pixels,
)
from psfmatch_cli.keywords import Cards
from psfmatch_cli.noise import measure_sky

SHAPE = (300, 320)


def field(rng, *, ceiling=None, whole=True, n_stars=120, level=1000.0):
    """Stars on a noisy sky, cut at a ceiling."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, level)
    for cy, cx, flux in zip(
        rng.uniform(5, SHAPE[0] - 5, n_stars),
        rng.uniform(5, SHAPE[1] - 5, n_stars),
        10 ** rng.uniform(3, 6.3, n_stars),
        strict=True,
    ):
        near = np.s_[max(int(cy) - 15, 0) : int(cy) + 16, max(int(cx) - 15, 0) : int(cx) + 16]
        r2 = (y[near] - cy) ** 2 + (x[near] - cx) ** 2
        image[near] += flux * np.exp(-0.5 * r2 / 1.6**2) / (2 * np.pi * 1.6**2)
    image = rng.poisson(image).astype(float) if whole else rng.normal(image, np.sqrt(image))
    return np.minimum(image, ceiling or np.inf).astype(np.float32)


def everything():
    return np.ones(SHAPE, bool)


def saturation(image, header=None):
    return find_saturation(image, everything(), Cards(header or {}), measure_sky(image, ~everything()))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ceiling", [65535.0, 20000.0])
def test_pile_up_at_a_ceiling_is_found(whole, ceiling):
    found = saturation(field(np.random.default_rng(1), ceiling=ceiling, whole=whole))
    assert (found.level, found.source) == (ceiling, "pile-up of pixels at one value")


def test_pile_up_below_a_few_brighter_pixels_is_found():
    rng = np.random.default_rng(2)
    image = field(rng, ceiling=20000.0)
    image[rng.integers(0, SHAPE[0], 5), rng.integers(0, SHAPE[1], 5)] = rng.uniform(25000, 30000, 5)
    assert saturation(image).level == 20000.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_images_that_do_not_saturate_have_no_ceiling(seed, whole):
    rng = np.random.default_rng(seed)
    assert saturation(field(rng, whole=whole)) is None
    # Few counts: many pixels share each value.
    assert saturation(field(rng, whole=whole, level=3.0)) is None


def test_equal_peaks_of_unrelated_stars_are_no_ceiling():
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, SHAPE).astype(np.float32)
    image[20:-20:40, 20:-20:40] = 5000.0
    assert saturation(image) is None


def test_a_noiseless_image_has_no_ceiling():
    image = np.zeros(SHAPE, np.float32)
    image[100:110, 100:110] = 500.0
    assert saturation(image) is None


@pytest.mark.parametrize("name", ["SATURATE", "SATURA", "SATLEVEL", "DATAMAX"])
def test_a_level_in_the_header_is_used(name):
    image = field(np.random.default_rng(4))
    found = saturation(image, {name: 15000.0})
    assert (found.level, found.source) == (15000.0, f"header {name}")


def test_a_largest_value_in_the_header_is_no_level():
    image = field(np.random.default_rng(5))
    assert saturation(image, {"DATAMAX": float(image.max())}) is None


def test_a_level_in_other_units_is_not_used():
    assert saturation(field(np.random.default_rng(6)), {"SATURATE": 1.0}) is None


def test_a_ceiling_below_the_level_in_the_header_is_used():
    image = field(np.random.default_rng(7), ceiling=20000.0)
    assert saturation(image, {"SATURATE": 65535}).level == 20000.0
    assert saturation(field(np.random.default_rng(7)), {"SATURATE": 1e7}).source == "header SATURATE"


def test_saturated_pixels_include_their_neighbours():
    image = np.zeros((7, 7), np.float32)
    image[3, 3] = 100.0
    image[0, 6] = np.nan
    assert saturated_pixels(image, 100.0).sum() == 9
    assert saturated_pixels(image, 100.0)[2:5, 2:5].all()


def test_blank_borders_are_found_below_a_sky():
    image = np.random.default_rng(8).normal(100, 5, SHAPE).astype(np.float32)
    image[:, :40] = 0.0
    np.testing.assert_array_equal(blank_pixels(image), image == 0)
    whole = np.rint(image)
    np.testing.assert_array_equal(blank_pixels(whole), whole == 0)


def test_blank_borders_are_found_without_a_sky():
    image = np.random.default_rng(9).normal(0, 5, SHAPE).astype(np.float32)
    image[:, :40] = 0.0
    np.testing.assert_array_equal(blank_pixels(image), image == 0)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_zeros_of_whole_numbers_are_counts(level):
    image = np.random.default_rng(10).poisson(level, SHAPE).astype(np.float32)
    assert not blank_pixels(image).any()
    assert not blank_pixels(np.rint(np.random.default_rng(10).normal(level, 2, SHAPE)).astype(np.float32)).any()


def test_an_image_that_is_mostly_zero_is_not_blank():
    image = np.zeros(SHAPE, np.float32)
    image[100:120, 100:120] = np.random.default_rng(11).uniform(1, 2, (20, 20))
    assert not blank_pixels(image).any()


def test_dead_pixels_are_far_below_the_sky():
    rng = np.random.default_rng(12)
    image = field(rng)
    clean = dead_pixels(image, measure_sky(image, ~everything()))
    assert not clean.any()
    image[50, 60], image[200, 210] = 500.0, 0.0
    found = dead_pixels(image, measure_sky(image, ~everything()))
    assert np.argwhere(found).tolist() == [[50, 60], [200, 210]]


def test_nothing_is_dead_beside_a_bright_galaxy():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = 1000 + 2e5 * np.exp(-np.hypot(y - 150, x - 160) / 12)
    image = np.random.default_rng(13).poisson(image).astype(np.float32)
    sky = measure_sky(image, ~everything())
    assert not dead_pixels(image, sky).any()
    assert not dead_lines(image, ~everything(), sky).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_low_piece_of_a_line_is_found(axis):
    rng = np.random.default_rng(14)
    image = field(rng, n_stars=60)
    if axis:
        image = np.ascontiguousarray(image.T)
    good = np.zeros(image.shape, bool)
    clean = dead_lines(image, good, measure_sky(image, good))
    assert not clean.any()
    image[64:200, 100] -= 4 * np.sqrt(1000)
    found = dead_lines(image, good, measure_sky(image, good))
    # Pieces are 32 pixels long: 64 to 191 are whole ones, the last 8 low pixels are a quarter of a piece.
    assert found[64:192, 100].all()
    assert np.delete(found, 100, axis=1).sum() == 0
    assert not found[:64].any()


def test_a_few_very_low_pixels_are_no_low_line():
    image = np.random.default_rng(15).normal(1000, 30, SHAPE).astype(np.float32)
    image[50:54, 60] = 0.0
    assert not dead_lines(image, ~everything(), measure_sky(image, ~everything())).any()


def test_images_too_small_for_lines_have_none():
    image = np.random.default_rng(16).normal(1000, 30, (20, 6)).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    assert not dead_lines(image, bad, measure_sky(image, bad)).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_high_piece_of_a_line_is_found_and_stars_are_not(axis):
    rng = np.random.default_rng(16)
    image = field(rng, n_stars=60)
    if axis:
        image = np.ascontiguousarray(image.T)
    good = np.zeros(image.shape, bool)
    assert not hot_lines(image, good, measure_sky(image, good)).any()
    image[64:192, 100:102] = rng.uniform(1000, 60000, (128, 2))
    found = hot_lines(image, good, measure_sky(image, good))
    assert found[64:192, 100:102].all()
    assert np.delete(found, [100, 101], axis=1).sum() == 0
    assert not found[:64].any()
