"""Copies of one image are told from two exposures by their noise."""

from dataclasses import replace

import numpy as np
import pytest

from made_pairs import exposure, gaussian_pair
from psfmatch_cli import copies, errors
from psfmatch_cli.copies import check_copies, likeness
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import Settings

SHAPE = (220, 200)


@pytest.fixture(scope="module")
def pair():
    """Pair of equal seeing, noise of 1 count, with bright stars."""
    return gaussian_pair((1.5, 1.5), shape=SHAPE, n_stars=8, flux=(2e3, 2e4))[:2]


def changed(image, function, variance=1.0):
    """The exposure with other counts."""
    masked = image.masked_image
    counts = function(masked.image.astype(float)).astype(np.float32)
    return image.with_pixels(replace(masked, image=counts, variance=masked.variance * np.float32(variance)))


def masked(image, where, plane="BAD"):
    """The exposure with a mask plane set, and nonsense below it."""
    pixels = image.masked_image.copy()
    pixels.mask[where] |= pixels.bits([plane])
    pixels.image[where] = 1e30
    return image.with_pixels(pixels)


def test_two_exposures_of_equal_seeing_share_no_noise(pair):
    found = likeness(*pair)
    # The error of a correlation from some 15000 pixels is 0.01.
    assert abs(found.correlation) < 0.04
    assert not found.copies


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1, 1000), (2.5, 0), (-1, 0), (1e-6, 0), (1e6, -3), (0.7, 5000)])
def test_a_copy_is_known_at_any_scale_and_offset(pair, scale, offset):
    other = changed(pair[0], lambda counts: scale * counts + offset, scale**2)
    found = likeness(pair[0], other)
    assert found.copies
    # Single precision of 5000 counts rounds to 0.0005 of the noise.
    assert found.scale == pytest.approx(scale, rel=1e-3)


def test_a_copy_is_known_although_it_was_rounded_to_whole_numbers(pair):
    # Noise of 3 counts; rounding adds 0.3.
    found = likeness(*(changed(pair[0], lambda a, f=f: np.round(f * a + 7.3), 9) for f in (3.0, 2.7)))
    assert found.copies


def test_a_copy_is_known_although_the_masks_differ(pair):
    one = masked(pair[0], np.s_[:100, :])
    other = masked(pair[0], np.s_[:, :90], "NO_DATA")
    assert likeness(one, other).copies


@pytest.mark.parametrize("n", [2, 10])
def test_a_mean_that_includes_the_science_exposure_is_no_copy(pair, n, caplog):
    rng = np.random.default_rng(n)
    science = pair[1]
    others = rng.normal(size=(n - 1, *SHAPE)).sum(axis=0)
    # The other exposures: the same stars (those of the template, with a small share of its noise) and new noise.
    coadd = changed(science, lambda counts: (counts + (n - 1) * pair[0].image * 0.98 + others) / n, 1 / n)
    check_copies(coadd, science, allow=False)
    warned = [record for record in caplog.records if "made with the science exposure" in record.getMessage()]
    found = likeness(coadd, science)
    truth = 1 / np.sqrt(1 + (n - 1) * 1 + (n - 1) ** 2 * 0.98**2)
    assert found.correlation == pytest.approx(truth, abs=0.04)  # four times its error
    assert len(warned) == (truth > copies.SUSPECT_CORRELATION)


def test_images_without_noise_are_copies_if_all_their_pixels_agree():
    rng = np.random.default_rng(3)
    stars = np.zeros(SHAPE)
    stars[50:150, 50:150] = rng.exponential(100, (100, 100))
    first = exposure(stars, 1.0)
    assert likeness(first, exposure(3 * stars + 2, 1.0)).copies
    assert likeness(first, exposure(np.roll(stars, 1, 0), 1.0)) is None
    assert likeness(exposure(np.full(SHAPE, 5.0), 1.0), exposure(np.full(SHAPE, 5.0), 1.0)) is None


def test_too_few_common_pixels_tell_nothing(pair):
    half = masked(pair[0], np.s_[:100, :])
    assert likeness(half, masked(pair[0], np.s_[95:, :])) is None


def test_a_large_image_is_looked_at_in_pieces(monkeypatch, pair):
    monkeypatch.setattr(copies, "_TILE", 40)
    monkeypatch.setattr(copies, "_TILES", 3)
    assert likeness(pair[0], pair[0]).copies
    assert abs(likeness(*pair).correlation) < 0.1  # of some 6000 pixels, error 0.02


def test_bright_structure_of_deep_images_is_not_taken_for_noise():
    rng = np.random.default_rng(4)
    galaxy = rng.normal(0, 30, SHAPE)  # surface brightness fluctuations, 30 times the noise
    first, second = (exposure(galaxy + rng.normal(size=SHAPE), 1.0) for _ in range(2))
    found = likeness(first, second)
    assert found.correlation > copies.SAME_NOISE
    assert not found.copies


@pytest.mark.parametrize("method", ["subtract_exposures", "match_exposures"])
def test_copies_are_refused(pair, method):
    template = changed(pair[1], lambda counts: 2 * counts + 30, 4)
    with pytest.raises(errors.IdenticalImagesError, match=r"are copies of one image: .* correlation .* 1.0000"):
        getattr(ImagePsfMatchTask(), method)(template, pair[1], 3.5, 3.5)


def test_allowed_copies_leave_nothing_and_are_said_to_mean_nothing(pair, caplog):
    template = changed(pair[1], lambda counts: 2 * counts + 30, 4)
    task = ImagePsfMatchTask(Settings(allow_identical=True))
    result = task.subtract_exposures(template, pair[1], 3.5, 3.5)
    assert "means nothing" in caplog.text
    difference = result.subtracted_exposure
    use = difference.mask == 0
    # A delta function is not in the basis of Gaussians; two exposures would leave 1.4.
    assert np.std(difference.image[use]) < 0.1
    assert result.summary["kernel_sum"] == pytest.approx(0.5, rel=0.005)
    assert task.metadata["noiseCorrelation"] == pytest.approx(1, abs=1e-6)
