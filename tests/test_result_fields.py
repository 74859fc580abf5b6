"""Every field of the results, for the template convolved and for the science image convolved."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from made_pairs import flux_at, gaussian_pair, plane, with_source
from psfmatch_cli.config import KernelConfig, SubtractionConfig
from psfmatch_cli.convolve import convolve
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.image_psf_match import ImagePsfMatchTask, SubtractExposuresResult
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.settings import Settings

#: Science counts per template count.
RATIO = 1.25
SIGMAS = {True: (2.0, 2.4), False: (2.4, 2.0)}
#: A place 25 pixels from every star, and the flux in template counts of what is new there.
NEW, FLUX = (12400.0, 68010.0), 4000.0


def sky_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [0.0, 10.0], [-1e-4, 1e-4]
    return wcs


def described(image: Exposure, role: str, sigma: float, zero_point: float) -> Exposure:
    """The exposure with all that an exposure can carry."""
    header = fits.Header([("OBJECT", role), ("MAGZERO", zero_point, f"of the {role}"), ("BUNIT", f"{role} counts")])
    psf = gaussian_psf(sigma * FWHM_PER_SIGMA, f"PSF of the {role}")
    fluxmag0 = 10 ** (0.4 * zero_point)
    return replace(image, wcs=sky_wcs(), psf=psf, header=header, fluxmag0=fluxmag0, filter=role[0], name=role)


def made(forward: bool, **changes):
    """Template, science image and stars; what is convolved has the narrower PSF. The zero points agree with RATIO."""
    sigmas = SIGMAS[forward]
    template, science, stars = gaussian_pair(sigmas, flux=(2e3, 2e4), ratio=RATIO, **changes)
    template = described(template, "template", sigmas[0], 25.0)
    return template, described(science, "science", sigmas[1], 25.0 + 2.5 * np.log10(RATIO)), stars


def subtracted(pair, forward: bool, normalize: str = "science", **kernel) -> SubtractExposuresResult:
    template, science, stars = pair
    settings = Settings(kernel=KernelConfig(**kernel), subtraction=SubtractionConfig(normalize=normalize))
    task = ImagePsfMatchTask(settings)
    return task.subtract_exposures(template, science, candidate_list=stars, convolve_template=forward)


@pytest.fixture(scope="module", params=[True, False], ids=["template convolved", "science convolved"])
def case(request):
    """Which way, the pair, and its subtraction."""
    pair = made(request.param)
    return request.param, pair, subtracted(pair, request.param)


def test_what_is_convolved_is_the_sharper_image(case):
    forward, (template, science, _), result = case
    assert result.convolved == ("template" if forward else "science")
    assert result.matched_to == ("science" if forward else "template")
    convolved = convolve((template if forward else science).masked_image, result.psf_matching_kernel)
    inner = np.isfinite(convolved.image)
    np.testing.assert_array_equal(np.isfinite(result.matched_image.image), inner)
    np.testing.assert_array_equal(result.matched_image.image[inner], convolved.image[inner])
    np.testing.assert_array_equal(result.matched_image.variance, convolved.variance)


def test_the_fwhms_are_those_of_target_and_reference(case):
    forward, (template, science, _), result = case
    target, reference = (template, science) if forward else (science, template)
    assert target.psf.fwhm < reference.psf.fwhm
    assert result.summary["template_fwhm"] == template.psf.fwhm
    assert result.summary["science_fwhm"] == science.psf.fwhm
    # Widening, not sharpening: the kernel's own second moment is the difference of the two.
    kernel = result.psf_matching_kernel.image(*science.box.center)
    half = result.psf_matching_kernel.half_size
    u = np.arange(-half, half + 1)
    moment = (kernel * (u**2)[None]).sum() / kernel.sum()
    assert moment == pytest.approx(2.4**2 - 2.0**2, rel=0.15)


def test_the_matched_exposure(case):
    forward, (template, science, _), result = case
    matched = result.matched_exposure
    assert matched.masked_image is result.matched_image is result.psf_matched_masked_image
    assert (matched.box, matched.wcs) == (science.box, science.wcs)
    assert matched.fluxmag0 == science.fluxmag0
    assert matched.filter == template.filter
    assert matched.psf is (science if forward else template).psf


def test_the_matched_image_has_no_background(case):
    forward, (template, science, stars), _ = case
    background = plane((256, 256), [30.0, 4.0, -3.0], xy0=science.xy0)
    raised = science.with_pixels(
        replace(science.masked_image, image=science.image + background.image(science.box)), name="science"
    )
    again = subtracted((template, raised, stars), forward)
    scale = 1.0 if forward else -again.psf_matching_kernel.center_sum
    # The science image's sky, or what it is after the convolution, is in the model (0.1 counts from 5e4 sky pixels).
    assert again.background_model(*science.box.center) == pytest.approx(30.0 * scale, abs=0.3)
    sky = np.nanmedian(again.matched_image.image)
    assert sky == pytest.approx(0.0 if forward else -30.0 * scale, abs=2.0)
    # And nothing of it is in the difference.
    assert np.nanmedian(again.subtracted_exposure.image) == pytest.approx(0.0, abs=0.05)


def test_the_warped_exposure_is_the_template_itself(case):
    _, (template, _, _), result = case
    assert result.warped_exposure is template


def test_kernel_background_and_cells_are_of_the_loop(case):
    _, (_, science, stars), result = case
    kernel, background, cells = result.psf_matching_kernel, result.background_model, result.kernel_cell_set
    assert kernel.spatial.region == background.spatial.region == science.box
    assert len(cells.table) == len(stars)
    assert np.count_nonzero(cells.table["status"] == "used") == result.summary["n_used"]
    assert kernel.center_sum == result.summary["kernel_sum"]


def test_the_kernel_sum_is_the_ratio_of_the_counts(case):
    forward, _, result = case
    # Twenty stars with signal to noise ratios of hundreds.
    expected = RATIO if forward else 1 / RATIO
    assert result.psf_matching_kernel.center_sum == pytest.approx(expected, rel=0.01)
    assert result.summary["expected_kernel_sum"] == pytest.approx(expected, rel=1e-9)
    assert result.summary["kernel_sum_ratio"] == pytest.approx(1.0, abs=0.01)


def equation(forward: bool, pair, result: SubtractExposuresResult) -> tuple[np.ndarray, np.ndarray]:
    """The difference and its variance in science counts, from their equations."""
    template, science, _ = pair
    matched, background = result.matched_image, result.background_model.image(science.box)
    if forward:
        return science.image - matched.image - background, science.variance + matched.variance
    total = result.psf_matching_kernel.center_sum
    difference = -(template.image - matched.image - background) / total
    return difference, (template.variance + matched.variance) / total**2


def test_the_difference_follows_its_equation(case):
    forward, pair, result = case
    image, variance = equation(forward, pair, result)
    found = result.subtracted_exposure
    inner = np.isfinite(image)
    # float32, of images of up to 500 counts.
    np.testing.assert_allclose(found.image[inner], image[inner], atol=2e-4)
    scale = result.summary["variance_scale"]
    np.testing.assert_allclose(found.variance[inner], scale * variance[inner], rtol=1e-5)
    assert result.subtracted_masked_image is found.masked_image


def test_the_difference_is_the_science_exposure_with_other_pixels(case):
    forward, (template, science, _), result = case
    difference = result.subtracted_exposure
    assert (difference.box, difference.wcs, difference.filter) == (science.box, science.wcs, science.filter)
    assert (difference.fluxmag0, difference.name) == (science.fluxmag0, science.name)
    assert difference.header == science.header
    assert difference.psf is (science if forward else template).psf
    difference.header["OBJECT"] = "changed"
    assert science.header["OBJECT"] == "science", "the header is a copy"
    difference.header["OBJECT"] = "science"


@pytest.mark.parametrize("normalize", ["science", "template"])
@pytest.mark.parametrize("forward", [True, False])
def test_what_is_new_is_positive_in_counts_of_the_scale(forward, normalize):
    template, science, stars = made(forward)
    sigma = SIGMAS[forward][1]
    science = with_source(science, *NEW, RATIO * FLUX, sigma)
    result = subtracted((template, science, stars), forward, normalize)
    difference = result.subtracted_exposure
    flux, error = flux_at(difference, *NEW, max(SIGMAS[forward]))
    expected = RATIO * FLUX if normalize == "science" else FLUX
    # The noise of the pixels is correlated by the convolution; 1 % for the kernel sum.
    assert flux == pytest.approx(expected, abs=4 * error + 0.01 * expected)
    assert result.normalize == result.summary["normalize"] == normalize


@pytest.mark.parametrize("forward", [True, False])
def test_the_scale_changes_image_variance_and_calibration_alone(forward):
    pair = made(forward)
    template, science, _ = pair
    own, other = (subtracted(pair, forward, normalize) for normalize in ("science", "template"))
    np.testing.assert_array_equal(own.psf_matching_kernel.coefficients, other.psf_matching_kernel.coefficients)
    np.testing.assert_array_equal(own.matched_image.image, other.matched_image.image)
    # Science counts per template count: the kernel sum, or one over it.
    ratio = own.psf_matching_kernel.center_sum ** (1 if forward else -1)
    one, two = own.subtracted_exposure, other.subtracted_exposure
    inner = np.isfinite(one.image)
    np.testing.assert_allclose(one.image[inner], ratio * two.image[inner], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.variance[inner], ratio**2 * two.variance[inner], rtol=1e-5)
    np.testing.assert_array_equal(one.mask, two.mask)
    assert own.summary["sky_width"] == pytest.approx(other.summary["sky_width"], rel=1e-5)
    assert (one.fluxmag0, two.fluxmag0) == (science.fluxmag0, template.fluxmag0)
    assert (two.header["MAGZERO"], two.header["BUNIT"]) == (25.0, "template counts")
    assert two.header["OBJECT"] == "science"
    assert (two.wcs, two.filter, two.psf) == (one.wcs, one.filter, one.psf)


# Masks: one pixel in each image, far from the stars, and what becomes of it. Both ways the convolved image's planes
# reach as far as its kernel, the other's stay; of DETECTED only the science image's count.


def marked(image: Exposure, name: str, place: tuple[int, int]) -> Exposure:
    pixels = image.masked_image.with_planes([name])
    mask = pixels.mask.copy()
    mask[place] |= np.int32(pixels.bits([name]))
    return image.with_pixels(replace(pixels, mask=mask))


def around(place: tuple[int, int], half: int) -> np.ndarray:
    out = np.zeros((256, 256), bool)
    out[place[0] - half : place[0] + half + 1, place[1] - half : place[1] + half + 1] = True
    return out


@pytest.mark.parametrize("forward", [True, False])
def test_planes_of_the_difference(forward):
    template, science, stars = made(forward)
    place = int(NEW[1] - science.xy0[1]), int(NEW[0] - science.xy0[0])
    beside = place[0], place[1] + 70
    for name in ("SAT", "SUSPECT", "DETECTED"):
        template, science = marked(template, name, place), marked(science, name, beside)
    result = subtracted((template, science, stars), forward)
    half = result.psf_matching_kernel.half_size
    border = ~np.pad(np.ones((256 - 2 * half, 256 - 2 * half), bool), half)
    difference, matched = result.subtracted_masked_image, result.matched_image
    np.testing.assert_array_equal(matched.flagged(["NO_DATA"]), border)
    np.testing.assert_array_equal(difference.flagged(["NO_DATA"]), border)
    np.testing.assert_array_equal(np.isnan(difference.image), border)
    assert (difference.variance[~border] > 0).all()
    assert np.isinf(difference.variance[border]).all()
    reach = (half, 0) if forward else (0, half)
    np.testing.assert_array_equal(difference.flagged(["SAT"]), around(place, reach[0]) | around(beside, reach[1]))
    np.testing.assert_array_equal(difference.flagged(["SUSPECT"]), around(place, 0) | around(beside, 0))
    np.testing.assert_array_equal(difference.flagged(["DETECTED"]), around(beside, 0))
    convolved = around(place, half) if forward else around(beside, half)
    np.testing.assert_array_equal(matched.flagged(["SAT"]), convolved)
    assert not matched.flagged(["DETECTED"]).any(), "of a convolved image they would cover the field"


# The two directions against each other


def test_either_direction_finds_the_same_difference():
    template, science, stars = made(True)
    science = with_source(science, *NEW, RATIO * FLUX, 2.4)
    forward = subtracted((template, science, stars), True).subtracted_exposure
    # Sharpening by a fifth is noisy, but not wrong.
    backward = subtracted((template, science, stars), False).subtracted_exposure
    inner = np.isfinite(forward.image) & np.isfinite(backward.image)
    assert forward.image[inner].mean() == pytest.approx(backward.image[inner].mean(), abs=0.05)
    one, other = (flux_at(image, *NEW, sigma) for image, sigma in ((forward, 2.4), (backward, 2.0)))
    assert one[0] == pytest.approx(other[0], abs=4 * np.hypot(one[1], other[1]) + 0.02 * RATIO * FLUX)


def test_exchanged_roles_change_the_sign():
    template, science, stars = gaussian_pair((2.0, 2.4), flux=(2e3, 2e4))
    task = ImagePsfMatchTask()
    fwhms = np.array((2.0, 2.4)) * FWHM_PER_SIGMA
    one = task.subtract_exposures(template, science, *fwhms, stars, convolve_template=True)
    other = task.subtract_exposures(science, template, *fwhms[::-1], stars, convolve_template=False)
    first, second = one.subtracted_exposure, other.subtracted_exposure
    inner = np.isfinite(first.image) & np.isfinite(second.image)
    twice = (first.image - second.image)[inner]
    # Twice the difference: the noise of both images, as the variance has it, times 2.
    assert abs(twice.mean()) < 5 * 2 / np.sqrt(inner.sum())
    assert twice.std() == pytest.approx(2 * np.sqrt(first.variance[inner].mean()), rel=0.1)


def test_the_automatic_direction_equals_the_explicit_one_where_the_science_image_is_sharper():
    pair = made(False)
    one, other = subtracted(pair, None), subtracted(pair, False)
    assert one.convolved == other.convolved == "science"
    np.testing.assert_array_equal(one.subtracted_exposure.image, other.subtracted_exposure.image)


# Masked images


@pytest.mark.parametrize("forward", [True, False])
def test_masked_images_give_the_same_pixels_in_both_directions(forward):
    template, science, stars = made(forward)
    images = template.masked_image, science.masked_image
    fwhms = template.psf.fwhm, science.psf.fwhm
    found = ImagePsfMatchTask().subtract_masked_images(*images, stars, *fwhms, convolve_template=forward)
    expected = subtracted((template, science, stars), forward)
    assert isinstance(found.subtracted_masked_image, MaskedImage)
    np.testing.assert_array_equal(found.subtracted_masked_image.image, expected.subtracted_exposure.image)
    np.testing.assert_array_equal(found.psf_matched_masked_image.image, expected.matched_image.image)
