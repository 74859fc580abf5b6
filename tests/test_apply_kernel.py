"""A known kernel applied to pairs: the same difference again, and its quality where it does not fit."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from psfmatch_cli.errors import BoxMismatchError, IdenticalImagesError, InputError, UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.known_kernel import KnownKernel
from psfmatch_cli.settings import settings_from

FWHMS = {"template_fwhm_pix": 3.4, "science_fwhm_pix": 4.6}
#: On the pixels as they are, and with the background of the fit alone.
SETTINGS = {"warp.registration": "none", "kernel.refine_background": False}


def known_of(result, **changes):
    info = {**result.summary, **changes}
    parts = result.psf_matching_kernel, result.background_model, result.kernel_cell_set.table
    return KnownKernel.of(*parts, info, "K.fits")


@pytest.fixture(scope="module")
def fitted(pair):
    return ImagePsfMatchTask(settings_from(SETTINGS)).subtract_exposures(pair.template, pair.science, **FWHMS)


@pytest.fixture(scope="module")
def known(fitted):
    return known_of(fitted)


def applied(known, template, science, settings=SETTINGS, **options):
    task = ImagePsfMatchTask(settings_from(settings))
    return task, task.subtract_with_kernel(template, science, known, **{**FWHMS, **options})


@pytest.mark.parametrize("normalize", ["science", "template"])
@pytest.mark.parametrize("convolve_template", [True, False])
def test_the_same_pair_gives_the_same_difference(pair, convolve_template, normalize):
    settings = {**SETTINGS, "subtraction.normalize": normalize, "subtraction.scale_variance": False}
    task = ImagePsfMatchTask(settings_from(settings))
    first = task.subtract_exposures(pair.template, pair.science, **FWHMS, convolve_template=convolve_template)
    _, again = applied(known_of(first), pair.template, pair.science, settings)
    for plane in ("image", "variance"):
        np.testing.assert_array_equal(
            getattr(again.subtracted_exposure, plane), getattr(first.subtracted_exposure, plane)
        )
    np.testing.assert_array_equal(again.matched_exposure.image, first.matched_exposure.image)
    assert again.convolved == first.convolved
    assert again.normalize == normalize


def test_a_source_that_was_added_comes_back_whole(pair, fitted, known):
    light = np.zeros(pair.science.shape, np.float32)
    light[150:156, 160:166] = 500.0
    science = pair.science.with_pixels(replace(pair.science.masked_image, image=pair.science.image + light))
    _, result = applied(known, pair.template, science)
    change = result.subtracted_exposure.image - fitted.subtracted_exposure.image
    good = np.isfinite(change)
    # Pixels of 1000 counts in single precision.
    np.testing.assert_allclose(change[good], light[good], atol=1e-3)


def test_the_record_says_that_nothing_was_fitted(pair, known):
    task, result = applied(known, pair.template, pair.science)
    assert task.metadata["kernelFile"] == result.summary["kernel_file"] == "K.fits"
    assert task.metadata["convolvedReason"] == "as the kernel was fitted"
    assert "nGood" not in task.metadata
    assert "n_used" not in result.summary
    assert task.metadata["quality.nStars"] > 20


def test_a_kernel_that_fits_is_good_and_one_for_another_alignment_is_bad(pair, known):
    _, good = applied(known, pair.template, pair.science)
    assert (good.summary["quality"], good.summary["quality_reasons"]) == ("good", [])
    pixels = pair.science.masked_image
    moved = replace(pixels, image=np.roll(pixels.image, 1, axis=1), mask=np.roll(pixels.mask, 1, axis=1))
    _, bad = applied(known, pair.template, pair.science.with_pixels(moved))
    assert bad.summary["quality"] == "bad"
    # A shift of one pixel under a FWHM of 4.6 pixels leaves a third of the light.
    assert bad.summary["star_residual"] == pytest.approx(0.35, abs=0.1)


def test_a_background_of_other_exposures_is_noticed(pair, known):
    brighter = replace(pair.science.masked_image, image=pair.science.image + np.float32(30.0))
    _, result = applied(known, pair.template, pair.science.with_pixels(brighter))
    assert result.summary["quality"] == "bad"
    assert any("sky is off zero" in reason for reason in result.summary["quality_reasons"])


def test_other_widths_are_warned_of(pair, known, caplog):
    with caplog.at_level(logging.WARNING):
        applied(known, pair.template, pair.science, science_fwhm_pix=5.2)
    assert "the FWHM of the science image is 5.20 px, and was 4.60 px where the kernel was fitted" in caplog.text


def test_another_direction_is_refused(pair, known):
    with pytest.raises(UsageError, match=r"the kernel K.fits convolves the template image, not the science image"):
        applied(known, pair.template, pair.science, convolve_template=False)


def test_pixels_beyond_the_fit_are_refused(pair, known):
    moved = replace(pair.science.masked_image, xy0=(10, 0))
    with pytest.raises(BoxMismatchError, match="it must not reach beyond"):
        applied(known, pair.template, pair.science.with_pixels(moved))


def test_a_part_of_the_field_is_subtracted_as_in_the_whole(pair, fitted, known):
    box = Box(60, 80, 259, 249)
    parts = (image.with_pixels(image.masked_image.cutout(box), wcs=None) for image in (pair.template, pair.science))
    _, result = applied(known, *parts)
    inner = np.s_[40:-40, 40:-40]
    whole = fitted.subtracted_exposure.masked_image.cutout(box).image[inner]
    both = np.isfinite(whole) & np.isfinite(result.subtracted_exposure.image[inner])
    # Fourier transforms of another size round otherwise: stars of 20,000 counts in single precision.
    np.testing.assert_allclose(result.subtracted_exposure.image[inner][both], whole[both], atol=6e-3)


def test_copies_are_refused(pair, known):
    with pytest.raises(IdenticalImagesError):
        applied(known, pair.science, pair.science)


def test_a_file_must_say_its_direction(fitted):
    with pytest.raises(InputError, match="must say which image is convolved, got 'both'"):
        known_of(fitted, convolved="both")


def test_without_candidates_there_are_no_stars_to_judge_by(pair, fitted):
    parts = fitted.psf_matching_kernel, fitted.background_model, None, fitted.summary
    _, result = applied(KnownKernel.of(*parts), pair.template, pair.science)
    assert result.summary["quality"] == "doubtful"
    assert result.summary["quality_reasons"] == ["0 stars to judge by, doubtful below 5"]
