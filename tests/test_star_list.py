"""Bright stars are found where they are, and what is no star is not."""

from dataclasses import replace

import numpy as np
import pytest

from psfmatch_cli.exposure import DEFAULT_PLANES, MaskedImage
from psfmatch_cli.star_list import MAX_STARS, find_stars
from star_fields import add_galaxies, add_star, flux_of_snr, noisy_exposure, star_field


def nearest(stars, x, y):
    """Distance of each found star from the nearest true one, and which that is."""
    distance = np.hypot(stars.x[:, None] - x, stars.y[:, None] - y)
    return distance.min(axis=1), distance.argmin(axis=1)


@pytest.mark.parametrize("fwhm", [1.5, 2.5, 4.0, 9.0])
@pytest.mark.parametrize("known_variance", [True, False])
def test_stars_are_found_and_their_errors_are_honest(fwhm, known_variance):
    exposure, x, y, _ = star_field(100, fwhm, side=640, snr=(60, 2000), known_variance=known_variance, subpixels=3)
    stars = find_stars(exposure.masked_image)
    assert len(stars) > 80
    distance, which = nearest(stars, x, y)
    assert distance.max() < 0.5
    deviation = np.concatenate([stars.x - x[which], stars.y - y[which]]) / np.tile(stars.error, 2)
    if fwhm < 2:
        # Undersampled centroids have errors of their own.
        assert np.median(distance) < 0.05
    elif known_variance:
        # 160 values know their width to 6 %.
        assert 0.8 < np.std(deviation) < 1.3
    else:
        # The light of the star itself adds noise.
        assert 0.8 < np.median(np.abs(deviation)) / 0.6745 < 4.0
    assert (np.diff(stars.flux) <= 0).all()


def test_without_noise_positions_are_exact():
    model = np.zeros((300, 300))
    rng = np.random.default_rng(2)
    x, y = (g.ravel() + rng.uniform(-0.5, 0.5, 49) for g in np.meshgrid(*[np.arange(30.0, 280, 40)] * 2))
    for star in zip(x, y, strict=True):
        add_star(model, *star, 1e5, 3.0)
    stars = find_stars(MaskedImage.from_arrays(model, None, np.ones_like(model)))
    assert len(stars) == 49
    # The mesh of the background takes a little of the wings, unevenly.
    assert nearest(stars, x, y)[0].max() < 2e-3


def test_saturated_and_bad_pixels_and_single_ones_make_no_stars():
    exposure, x, y, _ = star_field(36, 3.0, side=400, snr=(200, 2000))
    image, mask = exposure.image.copy(), exposure.mask.copy()
    at = np.round(y).astype(int), np.round(x).astype(int)
    for i, name in ((0, "SAT"), (1, "BAD"), (2, "CR"), (3, "NO_DATA")):
        mask[at[0][i], at[1][i]] |= 1 << DEFAULT_PLANES[name]
    hot = np.random.default_rng(7).integers(10, 390, (2, 40))
    hot = hot[:, np.hypot(hot[0][:, None] - y, hot[1][:, None] - x).min(axis=1) > 12]
    image[tuple(hot)] += 3000.0
    stars = find_stars(replace(exposure.masked_image, image=image, mask=mask))
    distance, which = nearest(stars, x, y)
    assert distance.max() < 0.3
    assert not {0, 1, 2, 3} & set(which)
    assert len(stars) > 25


def test_blends_are_left_out():
    model = np.zeros((200, 200))
    alone = [(140.0, 140.0), (30.0, 150.0), (150.0, 30.0)]
    for star in ((60.0, 60.0), (65.0, 61.0), *alone):
        add_star(model, *star, flux_of_snr(500, 3.0), 3.0)
    stars = find_stars(noisy_exposure(model, np.random.default_rng(1)).masked_image)
    assert len(stars) == 3
    assert nearest(stars, *np.transpose(alone))[0].max() < 0.05


def test_the_brightest_of_a_crowded_field():
    rng = np.random.default_rng(3)
    model = np.zeros((700, 700))
    for star in zip(*rng.uniform(10, 690, (2, 2500)), flux_of_snr(10 ** rng.uniform(1, 3.3, 2500), 3.0), strict=True):
        add_star(model, *star, 3.0)
    stars = find_stars(noisy_exposure(model, rng).masked_image)
    assert 50 < len(stars) <= MAX_STARS


def test_galaxies_do_not_keep_stars_from_being_found():
    rng = np.random.default_rng(4)
    model = np.zeros((500, 500))
    x, y = rng.uniform(30, 470, (2, 12))
    add_galaxies(model, 30, 3.0, rng)
    for star in zip(x, y, strict=True):
        add_star(model, *star, flux_of_snr(800, 3.0), 3.0)
    stars = find_stars(noisy_exposure(model, rng).masked_image)
    found = np.hypot(stars.x[:, None] - x, stars.y[:, None] - y).min(axis=0) < 0.2
    assert found.sum() >= 8


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (20, 3), (65, 64)])
@pytest.mark.parametrize("value", [0.0, 100.0, np.nan])
def test_empty_images_have_no_stars(shape, value):
    pixels = MaskedImage.from_arrays(np.full(shape, value), None, np.ones(shape))
    assert len(find_stars(pixels)) == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e9])
def test_the_unit_does_not_matter(scale):
    exposure, x, y, _ = star_field(30, 3.0, side=300, snr=(100, 1000))
    stars = find_stars(MaskedImage.from_arrays(exposure.image.astype(float) * scale))
    assert len(stars) > 20
    assert nearest(stars, x, y)[0].max() < 0.2


def test_noise_has_no_stars():
    noise = np.random.default_rng(5).normal(100, 10, (600, 600))
    assert len(find_stars(MaskedImage.from_arrays(noise, None, np.full(noise.shape, 100.0)))) == 0


def test_the_image_is_not_changed():
    exposure, *_ = star_field(10, 3.0, side=200)
    before = exposure.masked_image.copy()
    find_stars(exposure.masked_image)
    np.testing.assert_array_equal(exposure.image, before.image)
    np.testing.assert_array_equal(exposure.mask, before.mask)
