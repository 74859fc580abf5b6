"""From the kernel to the pixels: flux scale, masks, noise and background of the difference, in both directions."""

import logging
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from made_pairs import flux_at, gaussian_pair, plane, with_source
from psfmatch_cli.config import KernelConfig, SubtractionConfig
from psfmatch_cli.difference import (
    robust_width,
    sky_mask,
    variance_scale,
    with_detections,
)
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.image_psf_match import ImagePsfMatchTask, SubtractExposuresResult
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.settings import Settings

#: Sigmas of template and science PSF when the template is the sharper one, and science counts per template count.
SIGMAS, RATIO, SHAPE = (2.0, 2.6), 1.6, (256, 256)
#: Half side of the kernels of these tests.
HALF = 13


def pair(forward: bool = True, **changes) -> tuple:
    """Template, science image and stars; the sharper image is the template or the science image."""
    options = {"noise": (1.0, 2.0), "flux": (5e3, 2e4), "ratio": RATIO, "shape": SHAPE, "xy0": (100, -50)}
    return gaussian_pair(SIGMAS if forward else SIGMAS[::-1], **{**options, **changes})


def subtracted(
    template, science, stars, forward: bool = True, *, kernel=MappingProxyType({}), **settings
) -> SubtractExposuresResult:
    """Difference with the caller's stars and FWHMs; `kernel` has settings of the kernel."""
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(kernel_size=2 * HALF + 1, **kernel), **settings))
    sigmas = SIGMAS if forward else SIGMAS[::-1]
    fwhms = [sigma * FWHM_PER_SIGMA for sigma in sigmas]
    return task.subtract_exposures(template, science, *fwhms, candidate_list=stars, convolve_template=forward)


def marked(image: Exposure, name: str, places: list[tuple[int, int]]) -> Exposure:
    """The exposure with a plane set at some array indices (y, x)."""
    mask = image.mask.copy()
    for place in places:
        mask[place] |= np.int32(image.masked_image.bits([name]))
    return image.with_pixels(replace(image.masked_image, mask=mask))


def grown(places: list[tuple[int, int]], half: int) -> np.ndarray:
    """Squares around some places."""
    out = np.zeros(SHAPE, bool)
    for y, x in places:
        out[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1] = True
    return out


def border() -> np.ndarray:
    out = np.ones(SHAPE, bool)
    out[HALF:-HALF, HALF:-HALF] = False
    return out


#: Far from all stars of the seed, and 30 pixels from the border.
EMPTY = [(y, x) for y in range(40, 216, 8) for x in range(40, 216, 8)]


def empty_places(stars, n: int) -> list[tuple[int, int]]:
    """Places as far as a stamp from all stars."""
    x, y = stars["x"] - 100, stars["y"] + 50
    far = [place for place in EMPTY if np.hypot(y - place[0], x - place[1]).min() > 19]
    return far[:: max(1, len(far) // n)][:n]


@pytest.mark.parametrize("forward", [True, False])
def test_stars_vanish_and_the_sky_has_the_noise_of_the_variance(forward):
    template, science, stars = pair(forward, shape=(512, 512), n_stars=60, noise=(1.0, 2.0))
    result = subtracted(template, science, stars, forward)
    difference = result.subtracted_exposure
    assert result.convolved == ("template" if forward else "science")
    # 2e5 pixels with a correlation length of some pixels.
    assert result.summary["sky_width"] == pytest.approx(1.0, abs=0.02)
    scale = RATIO if forward else 1 / RATIO
    kernel = result.psf_matching_kernel
    table = result.kernel_cell_set.table[result.kernel_cell_set.table["status"] == "used"]
    error = np.median(table["kernel_sum_err"]) / np.sqrt(len(table))
    assert error < 4e-3 * scale
    assert kernel.center_sum == pytest.approx(scale, abs=4 * error)
    squares = (kernel.image(*kernel.spatial.region.center) ** 2).sum()
    expected = 4.0 + squares if forward else 4.0 * squares * RATIO**2 + RATIO**2
    inner = np.isfinite(difference.image)
    # The kernel's square to 0.2 %, and the scaling to a sky that is within 2 %.
    assert np.median(difference.variance[inner]) == pytest.approx(expected, rel=0.04)
    fluxes = [flux_at(difference, x, y, max(SIGMAS)) for x, y in zip(stars["x"], stars["y"], strict=True)]
    z = np.array([flux / error for flux, error in fluxes])
    # Residual fluxes are noise. Its correlation widens them to this at most; 60 values tell a width to 9 %.
    widest = np.sqrt(RATIO**2 + 4.0) / np.sqrt(np.median(difference.variance[inner]))
    assert z.std() < 1.3 * widest


@pytest.mark.parametrize("forward", [True, False])
def test_new_sources_are_positive_and_keep_their_science_flux(forward):
    template, science, stars = pair(forward)
    (y1, x1), (y2, x2) = empty_places(stars, 2)
    sigmas = SIGMAS if forward else SIGMAS[::-1]
    science = with_source(science, x1 + 100.3, y1 - 50.2, 3000.0, sigmas[1])
    template = with_source(template, x2 + 100.0, y2 - 50.0, 1000.0, sigmas[0])
    difference = subtracted(template, science, stars, forward).subtracted_exposure
    appeared, error = flux_at(difference, x1 + 100.3, y1 - 50.2, max(SIGMAS))
    # In science counts whichever image was convolved. The error is that of uncorrelated pixels: correlation adds half.
    assert appeared == pytest.approx(3000.0, abs=4.5 * error)
    vanished, error = flux_at(difference, x2 + 100.0, y2 - 50.0, max(SIGMAS))
    assert vanished == pytest.approx(-1000.0 * RATIO, abs=4.5 * error)


@pytest.mark.parametrize("forward", [True, False])
def test_saturation_of_the_convolved_image_grows_and_that_of_the_other_does_not(forward):
    template, science, stars = pair(forward)
    one, other = empty_places(stars, 2)
    for name in ("SAT", "SUSPECT"):
        template, science = marked(template, name, [one]), marked(science, name, [other])
    mask = subtracted(template, science, stars, forward).subtracted_exposure.masked_image
    saturated = grown([one], HALF if forward else 0) | grown([other], 0 if forward else HALF)
    np.testing.assert_array_equal(mask.flagged(["SAT"]), saturated)
    np.testing.assert_array_equal(mask.flagged(["SUSPECT"]), grown([one, other], 0))


@pytest.mark.parametrize("forward", [True, False])
def test_cosmic_rays_of_the_convolved_image_grow_no_farther_than_the_kernel(forward):
    template, science, stars = pair(forward)
    one, other = empty_places(stars, 2)
    template, science = marked(template, "CR", [one]), marked(science, "CR", [other])
    mask = subtracted(template, science, stars, forward).subtracted_exposure.masked_image
    flagged = mask.flagged(["CR"])
    assert flagged[one]
    assert flagged[other]
    farthest = grown([one], HALF if forward else 0) | grown([other], 0 if forward else HALF)
    assert not (flagged & ~farthest).any()
    # Of the convolved image's pixel, the core of the kernel at least.
    y, x = one if forward else other
    assert flagged[y - 1 : y + 2, x - 1 : x + 2].all()


@pytest.mark.parametrize("forward", [True, False])
def test_bits_of_the_two_masks_may_differ(forward):
    template, science, stars = pair(forward)
    one, other = empty_places(stars, 2)
    planes = {name: 20 - bit for name, bit in DEFAULT_PLANES.items()} | {"GHOST": 3}
    mask = np.zeros(SHAPE, np.int32)
    mask[one] = (1 << planes["SAT"]) | (1 << planes["GHOST"])
    pixels = template.masked_image
    template = template.with_pixels(MaskedImage(pixels.image, mask, pixels.variance, planes, pixels.xy0))
    science = marked(science, "SUSPECT", [other])
    made = subtracted(template, science, stars, forward).subtracted_exposure.masked_image
    np.testing.assert_array_equal(made.flagged(["SAT"]), grown([one], HALF if forward else 0))
    np.testing.assert_array_equal(made.flagged(["GHOST"]), grown([one], 0))
    np.testing.assert_array_equal(made.flagged(["SUSPECT"]), grown([other], 0))
    np.testing.assert_array_equal(made.flagged(["NO_DATA"]), border())


@pytest.mark.parametrize("forward", [True, False])
def test_detections_of_the_template_do_not_reach_the_difference(forward):
    template, science, stars = pair(forward)
    one, other = empty_places(stars, 2)
    for name in ("DETECTED", "DETECTED_NEGATIVE"):
        template, science = marked(template, name, [one]), marked(science, name, [other])
    mask = subtracted(template, science, stars, forward).subtracted_exposure.masked_image
    for name in ("DETECTED", "DETECTED_NEGATIVE"):
        np.testing.assert_array_equal(mask.flagged([name]), grown([other], 0))


@pytest.mark.parametrize("forward", [True, False])
def test_no_more_is_masked_than_the_kernel_reaches(forward):
    template, science, stars = pair(forward)
    one, other = empty_places(stars, 2)
    for image, (y, x) in ((template, one), (science, other)):
        image.image[y - 2 : y + 3, x - 2 : x + 3] = np.nan
    template, science = (
        image.with_pixels(MaskedImage.from_arrays(image.image, image.mask, image.variance, image.planes, image.xy0))
        for image in (template, science)
    )
    result = subtracted(template, science, stars, forward)
    made = result.subtracted_exposure
    reach = (HALF + 2, 2) if forward else (2, HALF + 2)
    least = border() | grown([one, other], 2)
    most = border() | grown([one], reach[0]) | grown([other], reach[1])
    lost = made.masked_image.flagged(["NO_DATA"])
    assert (lost | ~least).all()
    assert not (lost & ~most).any()
    np.testing.assert_array_equal(np.isnan(made.image), lost)
    assert result.summary["masked_fraction"] == pytest.approx(lost.mean(), abs=1e-12)


@pytest.mark.parametrize("forward", [True, False])
def test_a_background_is_refined_on_the_sky(forward):
    truth = plane(SHAPE, [60.0, -8.0, 5.0, 4.0, 2.0, -4.0], xy0=(100, -50))
    template, science, stars = pair(forward, background=truth)
    result = subtracted(template, science, stars, forward)
    inner = np.isfinite(result.subtracted_exposure.image)
    found = result.background_model.image(science.box)
    # In the scale of the image that was matched to: the science image's level, or less that level convolved.
    expected = truth.image(science.box) * (1.0 if forward else -result.psf_matching_kernel.center_sum)
    # Noise of 2.5 on 5e4 pixels for six parameters: 0.03; the bins' surface is worse at its corners.
    assert (found - expected)[inner].std() < 0.15
    assert abs((found - expected)[inner].mean()) < 0.1
    # Counts of 4 that no plane holds leave the kernel and its candidates alone.
    assert result.summary["n_rejected"] <= 1
    assert result.psf_matching_kernel.center_sum == pytest.approx(RATIO if forward else 1 / RATIO, rel=0.01)
    assert result.summary["sky_width"] == pytest.approx(1.0, abs=0.03)


def test_the_refinement_can_be_switched_off_and_limited():
    truth = plane(SHAPE, [60.0, -8.0, 5.0, 4.0, 2.0, -4.0], xy0=(100, -50))
    inputs = pair(background=truth)
    off = subtracted(*inputs, kernel={"refine_background": False})
    limited = subtracted(*inputs, kernel={"spatial_bg_order": 1})
    full = subtracted(*inputs)
    assert off.background_model.spatial.order == 1
    assert limited.background_model.spatial.order == 1
    assert full.background_model.spatial.order == 2
    widths = [result.summary["sky_width"] for result in (full, limited, off)]
    assert widths[0] < widths[1]
    assert widths[0] < widths[2]


def test_without_a_background_none_is_subtracted():
    template, science, stars = pair()
    result = subtracted(template, science, stars, kernel={"fit_for_background": False})
    assert not result.background_model.image(science.box).any()
    difference = science.masked_image.image - result.matched_image.image
    inner = np.isfinite(difference)
    np.testing.assert_array_equal(result.subtracted_exposure.image[inner], difference[inner])


@pytest.mark.parametrize("factor", [1 / 1.345, 1.2])
def test_the_variance_is_made_true_of_the_sky(factor):
    template, science, stars = pair()
    wrong = [
        image.with_pixels(replace(image.masked_image, variance=image.variance * np.float32(factor)))
        for image in (template, science)
    ]
    right = subtracted(template, science, stars)
    mended = subtracted(*wrong, stars)
    # 5e4 pixels of somewhat correlated noise.
    assert mended.summary["variance_scale"] == pytest.approx(1 / factor, rel=0.04)
    assert mended.summary["sky_width"] == pytest.approx(factor**-0.5, rel=0.02)
    inner = np.isfinite(right.subtracted_exposure.image)
    ratio = mended.subtracted_exposure.variance[inner] / right.subtracted_exposure.variance[inner]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)


def test_the_variance_can_be_left_as_it_follows():
    template, science, stars = pair()
    science = science.with_pixels(replace(science.masked_image, variance=science.variance * np.float32(0.8)))
    result = subtracted(template, science, stars, subtraction=SubtractionConfig(scale_variance=False))
    assert result.summary["variance_scale"] == 1.0
    assert result.summary["sky_width"] > 1.03


@pytest.mark.parametrize(("width", "factor"), [(1.0, 1.0), (1.005, 1.0), (1.2, 1.44), (0.8, 0.64), (float("nan"), 1.0)])
def test_variance_scale(width, factor):
    assert variance_scale(width) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_a_noise_that_is_far_off_is_not_mended_but_told(width, caplog):
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli.difference"):
        assert variance_scale(width) == 1.0
    assert f"the sky of the difference is {width:.2f} times as noisy" in caplog.text


def test_a_width_needs_enough_sky():
    rng = np.random.default_rng(1)
    sky = MaskedImage.from_arrays(3 * rng.normal(size=(200, 200)), variance=np.full((200, 200), 4.0))
    few = np.ones((200, 200), bool)
    few[:50] = False
    assert robust_width(sky, np.zeros((200, 200), bool)) == pytest.approx(1.5, rel=0.03)
    assert robust_width(sky, few) == pytest.approx(1.5, rel=0.05)
    few[:49] = False
    few[49:] = True
    assert np.isnan(robust_width(sky, few))


def test_sources_are_no_sky_unless_they_are_everywhere():
    ones = np.ones((100, 100))
    science = MaskedImage.from_arrays(ones, variance=ones)
    difference = MaskedImage.from_arrays(ones, variance=ones)
    difference.mask[:10] = difference.bits(["SAT"])
    science.mask[50:55] = science.bits(["DETECTED"])
    science.mask[55:60] = science.bits(["DETECTED_NEGATIVE"])
    expected = np.zeros((100, 100), bool)
    expected[:10] = expected[50:60] = True
    np.testing.assert_array_equal(sky_mask(difference, science), expected)
    science.mask[20:] = science.bits(["DETECTED"])
    expected[10:] = False
    np.testing.assert_array_equal(sky_mask(difference, science), expected)


def test_the_width_of_a_large_sky_is_that_of_a_sample():
    rng = np.random.default_rng(2)
    sky = MaskedImage.from_arrays(1.2 * rng.normal(size=(2000, 2200)), variance=np.ones((2000, 2200)))
    nothing = np.zeros(sky.shape, bool)
    # A million values tell a robust width to 0.12 %.
    assert robust_width(sky, nothing) == pytest.approx(1.2, rel=0.005)
    # The sample would miss what little sky there is.
    little = np.ones(sky.shape, bool)
    little[1::2, 1::20] = False
    assert robust_width(sky, little) == pytest.approx(1.2, rel=0.02)


def test_detections_are_copied_without_the_unsearched_border():
    ones = np.ones((4, 5))
    science = MaskedImage.from_arrays(ones, variance=ones, planes={"NO_DATA": 0, "BAD": 1, "DETECTED": 2})
    science.mask[0, 0] = science.bits(["DETECTED", "BAD"])
    before = science.mask.copy()
    searched = MaskedImage.from_arrays(ones, variance=ones)
    searched.mask[2, 2] = searched.bits(["DETECTED"])
    searched.mask[1, 3] = searched.bits(["DETECTED_NEGATIVE"])
    searched.mask[3] |= searched.bits(["EDGE"])
    made = with_detections(science, searched)
    assert np.argwhere(made.flagged(["DETECTED"])).tolist() == [[2, 2]]
    assert np.argwhere(made.flagged(["DETECTED_NEGATIVE"])).tolist() == [[1, 3]]
    assert np.argwhere(made.flagged(["BAD"])).tolist() == [[0, 0]]
    assert not made.flagged(["EDGE"]).any()
    assert with_detections(science, science) is science
    np.testing.assert_array_equal(science.mask, before)


@pytest.mark.parametrize("forward", [True, False])
def test_detections_are_those_of_the_search_without_its_border(forward):
    template, science, _ = pair(forward)
    science = marked(science, "DETECTED", [(9, 9)])
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(kernel_size=2 * HALF + 1)))
    made = task.subtract_exposures(template, science, convolve_template=forward).subtracted_exposure.masked_image
    found = made.flagged(["DETECTED"])
    # The search's own footprints, nothing of the old plane, which lay in its unsearched border.
    assert found.any()
    assert not found[9, 9]
    assert not made.flagged(["EDGE"]).any()


@pytest.mark.parametrize("forward", [True, False])
def test_the_inputs_are_unchanged(forward):
    template, science, stars = pair(forward)
    template, science = marked(template, "DETECTED", [(9, 9)]), marked(science, "SAT", [(200, 9)])
    before = [array.copy() for e in (template, science) for array in (e.image, e.mask, e.variance)]
    subtracted(template, science, stars, forward)
    after = [array for e in (template, science) for array in (e.image, e.mask, e.variance)]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
