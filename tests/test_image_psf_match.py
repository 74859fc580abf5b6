"""The task as a whole: its methods, results and metadata, and matches of synthetic fields."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from made_pairs import exposure, gaussian_pair, plane
from psfmatch_cli.config import CandidateConfig, DetectionConfig, KernelConfig
from psfmatch_cli.detect import Detection
from psfmatch_cli.errors import (
    EmptySourceListError,
    InputError,
    NoCandidatesError,
    RegistrationError,
    SourceTypeError,
    UsageError,
)
from psfmatch_cli.exposure import Box
from psfmatch_cli.image_psf_match import ImagePsfMatchTask, MatchExposuresResult, SubtractExposuresResult
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.settings import Settings
from psfmatch_cli.source_entries import Footprint

METHODS = [
    "empty_metadata",
    "find_candidates",
    "get_full_metadata",
    "get_full_name",
    "get_name",
    "get_select_sources",
    "get_task_dict",
    "make_candidate_list",
    "make_field",
    "make_kernel_basis_list",
    "make_subtask",
    "match_exposures",
    "match_masked_images",
    "subtract_exposures",
    "subtract_masked_images",
    "timer",
]


def fwhms(*sigmas: float) -> list[float]:
    return [sigma * FWHM_PER_SIGMA for sigma in sigmas]


def subtracted(pair, sigmas, forward=True, task=None, **options) -> SubtractExposuresResult:
    template, science, stars = pair
    task = task or ImagePsfMatchTask()
    options = {"candidate_list": stars, "convolve_template": forward} | options
    return task.subtract_exposures(template, science, *fwhms(*sigmas), **options)


@pytest.fixture(scope="module")
def sharp() -> tuple:
    """Template of sigma 2.0, science image of 2.4, noise 1 each, bright stars."""
    return gaussian_pair((2.0, 2.4), flux=(2e3, 2e4))


@pytest.fixture(scope="module")
def run(sharp) -> tuple[ImagePsfMatchTask, SubtractExposuresResult]:
    """A subtraction with detected sources, and the task that did it."""
    task = ImagePsfMatchTask()
    return task, subtracted(sharp, (2.0, 2.4), None, task, candidate_list=None)


def test_every_method_is_there():
    task = ImagePsfMatchTask()
    assert [name for name in METHODS if not callable(getattr(task, name, None))] == []


def test_names_of_the_tree():
    task = ImagePsfMatchTask()
    assert (task.get_name(), task.get_full_name()) == ("psfMatch", "psfMatch")
    assert list(task.get_task_dict()) == [
        "psfMatch",
        "psfMatch.background",
        "psfMatch.selectDetection",
        "psfMatch.selectDetection.tempLocalBackground",
        "psfMatch.selectMeasurement",
    ]
    full = task.get_full_metadata()
    assert "psfMatch:selectDetection:tempLocalBackground" in full.metadata


# Sources and candidates


def test_sources_are_those_of_the_field(sharp):
    _, science, stars = sharp
    task = ImagePsfMatchTask()
    found = task.get_select_sources(science, psf_sigma=2.4)
    assert isinstance(found, Detection)
    distance = np.hypot(*(np.asarray(stars[k])[:, None] - np.asarray(found.sources[k])[None] for k in ("x", "y"))).min(
        axis=1
    )
    # The faintest star has 2000 counts, a signal to noise ratio of 230: positions to some hundredths of a pixel.
    assert distance.max() < 0.1
    assert len(found.sources) == len(stars)
    assert task.metadata["nSources"] == len(stars)


def test_the_threshold_is_an_argument(sharp):
    _, science, stars = sharp
    task = ImagePsfMatchTask()
    # The peak of the smoothed image is half the star's signal to noise ratio, roughly.
    high = task.get_select_sources(science, sigma=300.0, psf_sigma=2.4)
    assert 0 < len(high.sources) < len(stars)
    assert task.config.detection.threshold_value == DetectionConfig().threshold_value


def test_detection_leaves_metadata_of_the_right_types(sharp):
    _, science, _ = sharp
    task = ImagePsfMatchTask()
    task.get_select_sources(science, psf_sigma=2.4)
    items = task.select_detection.metadata
    assert items["doSmooth"] is True
    assert items["sigma"] == 2.4
    # Full width of 7 sigmas, odd; growth by 2.4 sigmas.
    assert items["smoothingKernelWidth"] == 17
    assert items["nGrow"] == 6
    assert type(items["nGrow"]) is int
    for method in ("run", "detectFootprints"):
        assert len(items.get_array(f"{method}StartUtc")) == len(items.get_array(f"{method}EndUtc")) == 1
    task.get_select_sources(science, do_smooth=False, psf_sigma=2.4)
    assert items["doSmooth"] is False
    assert "smoothingKernelWidth" not in items


def test_candidates_of_a_list_and_of_a_search_agree(sharp):
    template, science, stars = sharp
    task = ImagePsfMatchTask()
    science = replace(science, psf=gaussian_psf(2.4 * FWHM_PER_SIGMA))
    given = task.make_candidate_list(template, science, 25, stars)
    assert task.metadata["nCandidates"] == len(given)
    found = task.make_candidate_list(template, science, 25)
    assert len(found) == pytest.approx(len(given), abs=1)


def test_any_form_of_a_list_gives_the_same_match(sharp):
    template, science, stars = sharp
    places = list(zip(stars["x"].tolist(), stars["y"].tolist(), strict=True))
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(spatial_kernel_order=0)))
    expected = task.match_exposures(template, science, *fwhms(2.0, 2.4), candidate_list=stars)
    assert task.metadata["sourcePositions"] == "x, y (pixels from 0)"
    pixels = [Box(*[int(np.floor(v + 0.5)) for v in place] * 2) for place in places]
    forms = [
        places,
        np.array(places),
        [{"source": place, "footprint": Footprint(box)} for place, box in zip(places, pixels, strict=True)],
        task.make_candidate_list(template, science, 25, stars),
    ]
    for form in forms:
        found = task.match_exposures(template, science, *fwhms(2.0, 2.4), candidate_list=form)
        np.testing.assert_array_equal(found.psf_matching_kernel.coefficients, expected.psf_matching_kernel.coefficients)


def test_grown_footprints_make_a_match(sharp):
    stars = sharp[2]
    boxes = [Box(int(x) - 3, int(y) - 2, int(x) + 3, int(y) + 2) for x, y in stars["x", "y"]]
    footprints = [Footprint(box, (x, y)) for box, (x, y) in zip(boxes, stars["x", "y"], strict=True)]
    result = subtracted(sharp, (2.0, 2.4), candidate_list=footprints)
    table = result.kernel_cell_set.table
    used = table[table["status"] == "used"]
    grown = result.kernel_cell_set.kernel_size
    assert (used["box_x1"] - used["box_x0"] > 2 * grown + 1).sum() > len(used) / 2, "the rest is cut at the border"
    # As with stamps around the stars: the kernel sum is good to the noise of the stars.
    assert result.summary["kernel_sum"] == pytest.approx(subtracted(sharp, (2.0, 2.4)).summary["kernel_sum"], rel=2e-3)


def test_a_wrong_list_is_found_out_before_any_work(sharp):
    template, science, _ = sharp
    task = ImagePsfMatchTask()
    for wrong, kind in (
        ([], EmptySourceListError),
        ([(1, 2), "star"], SourceTypeError),
        ("stars.fits", SourceTypeError),
    ):
        with pytest.raises(kind):
            task.match_exposures(template, science, candidate_list=wrong)
    assert "warped" not in task.metadata


def test_stamps_must_fix_the_parameters_of_the_configured_basis():
    # A half side of r leaves (2 r + 2 - 25)^2 fitted pixels; the basis has 27 functions, the wing and a background.
    template, science, _ = gaussian_pair((2.0, 2.4), flux=(1e4, 1e4), n_stars=1, xy0=(0, 0))
    image = template.image.copy()
    star = Table({"x": [15.0], "y": [128.0]})
    y, x = np.mgrid[:256, :256]
    image += 1e4 / 25 * np.exp(-0.5 * ((x - 15.0) ** 2 + (y - 128.0) ** 2) / 4).astype(np.float32)
    template, science = (e.with_pixels(replace(e.masked_image, image=image)) for e in (template, science))
    # 7 columns of 27 rows are enough for 29 parameters, not for 100.
    assert len(ImagePsfMatchTask().make_candidate_list(template, science, 25, star)) == 1
    with pytest.raises(NoCandidatesError, match="1 too-small"):
        ImagePsfMatchTask().make_candidate_list(template, science, 25, star, n_parameters=100)


# The basis


def test_the_basis_follows_the_fwhms():
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(wing_gaussian=False)))
    metadata = TaskMetadata()
    basis = task.make_kernel_basis_list(2.5, 5.0, metadata=metadata)
    assert len(basis) == 27
    assert metadata["ALBasisNGauss"] == 3
    assert metadata.get_array("ALBasisDegGauss") == [4, 2, 2]
    # Five decimals in the table of reference.
    np.testing.assert_allclose(metadata.get_array("ALBasisSigGauss"), [0.91942, 1.83884, 3.67767], atol=6e-6)
    assert metadata["ALKernelSize"] == basis.size
    assert metadata["ALBasisMode"] == "convolution"


def test_degrees_may_be_given():
    basis = ImagePsfMatchTask().make_kernel_basis_list(2.5, 5.0, basis_deg_gauss=[3, 1])
    assert basis.spec.degrees == (3, 1, 0), "and the wing"
    assert len(basis.spec.sigmas) == 3


def test_sigmas_may_be_given():
    basis = ImagePsfMatchTask().make_kernel_basis_list(2.5, 5.0, basis_deg_gauss=[3, 1], basis_sigma_gauss=[1.0, 2.5])
    assert (basis.spec.sigmas, basis.spec.degrees) == ((1.0, 2.5), (3, 1))
    sigmas_only = ImagePsfMatchTask().make_kernel_basis_list(basis_sigma_gauss=[0.8, 1.6, 3.0])
    assert (sigmas_only.spec.sigmas, sigmas_only.spec.degrees) == ((0.8, 1.6, 3.0), (4, 2, 2))


def test_sigmas_that_are_given_are_recorded_as_explicit():
    metadata = TaskMetadata()
    ImagePsfMatchTask().make_kernel_basis_list(2.5, 5.0, [3, 1], [1.0, 2.5], metadata)
    assert metadata["ALBasisMode"] == "explicit"
    assert metadata["ALBasisNGauss"] == 2
    assert metadata.get_array("ALBasisDegGauss") == [3, 1]
    assert metadata.get_array("ALBasisSigGauss") == [1.0, 2.5]


def test_a_delta_function_basis_has_no_widths():
    metadata = TaskMetadata()
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(kernel_basis_set="delta-function")))
    basis = task.make_kernel_basis_list(2.5, 5.0, [3, 1], [1.0], metadata)
    assert basis.is_delta
    assert len(basis) == 441
    assert "ALBasisMode" not in metadata


def test_degrees_and_sigmas_must_agree():
    with pytest.raises(UsageError, match="one degree per sigma, got 3 for 2"):
        ImagePsfMatchTask().make_kernel_basis_list(basis_sigma_gauss=[0.8, 1.6])
    with pytest.raises(UsageError, match="at least one Gaussian"):
        ImagePsfMatchTask().make_kernel_basis_list(2.5, 5.0, basis_deg_gauss=[])


# Results


def test_a_match_returns_what_was_made(sharp):
    template, science, stars = sharp
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [0.0, 10.0], [-1e-4, 1e-4]
    template = replace(template, wcs=wcs, filter="r", psf=gaussian_psf(fwhms(2.0)[0]))
    science = replace(science, wcs=wcs, filter="i", psf=gaussian_psf(fwhms(2.4)[0]))
    result = ImagePsfMatchTask().match_exposures(template, science, candidate_list=stars)
    assert type(result) is MatchExposuresResult
    assert result.convolved == "template"
    assert result.warped_exposure is template
    matched = result.matched_exposure
    assert (matched.box, matched.wcs, matched.filter, matched.psf) == (science.box, science.wcs, "r", science.psf)
    assert result.matched_image is matched.masked_image
    inner = np.isfinite(matched.image)
    # Without the background: what is left of the science image is noise and the background of about 0.
    assert np.std((science.image - matched.image)[inner]) < 1.5
    assert result.summary["template_fwhm"] == template.psf.fwhm


@pytest.mark.parametrize("forward", [True, False])
def test_a_difference_is_the_science_image_but_for_its_pixels(sharp, forward):
    template, science, stars = sharp
    template = replace(template, psf=gaussian_psf(4.0), header={"OBJECT": "template"})
    science = replace(science, psf=gaussian_psf(5.0), header={"OBJECT": "science"}, filter="i", fluxmag0=7.0)
    result = subtracted((template, science, stars), (2.0, 2.4), forward)
    difference = result.subtracted_exposure
    assert difference.header == {"OBJECT": "science"}
    assert (difference.filter, difference.fluxmag0, difference.box) == ("i", 7.0, science.box)
    assert difference.psf is (science.psf if forward else template.psf), "that of the image that was matched to"
    assert set(MatchExposuresResult.__dataclass_fields__) < set(type(result).__dataclass_fields__)


def test_the_sharper_image_is_convolved_unless_told_otherwise(sharp):
    template, science, stars = sharp
    assert subtracted(sharp, (2.0, 2.4), None).convolved == "template"
    assert subtracted((science, template, stars), (2.4, 2.0), None).convolved == "science"
    assert subtracted(sharp, (2.0, 2.4), False).convolved == "science"


def test_deciding_oneself_gives_the_same_as_being_decided_for(sharp):
    one, other = subtracted(sharp, (2.0, 2.4), None), subtracted(sharp, (2.0, 2.4), True)
    np.testing.assert_array_equal(one.subtracted_exposure.image, other.subtracted_exposure.image)


def test_nearly_equal_widths_are_tried_both_ways():
    pair = gaussian_pair((2.2, 2.2), flux=(2e3, 2e4))
    result = subtracted(pair, (2.2, 2.2), None)
    assert result.convolved in ("template", "science")
    assert "nearly equal" in result.summary["direction_reason"]


def test_detections_mark_the_difference(run, sharp):
    _, result = run
    mask = result.subtracted_exposure.masked_image
    _, science, stars = sharp
    detected = mask.flagged(["DETECTED"])
    at = [(int(y) - science.xy0[1], int(x) - science.xy0[0]) for x, y in zip(stars["x"], stars["y"], strict=True)]
    assert all(detected[place] for place in at)
    assert not mask.flagged(["EDGE"]).any(), "the border that was not searched is sound"


def test_the_inputs_are_bit_identical_afterwards(sharp):
    template, science, stars = sharp
    before = [array.copy() for e in (template, science) for array in (e.image, e.mask, e.variance)]
    columns = stars.colnames[:]
    for forward in (True, False):
        subtracted(sharp, (2.0, 2.4), forward)
        ImagePsfMatchTask().match_exposures(template, science, *fwhms(2.0, 2.4), convolve_template=forward)
    after = [array for e in (template, science) for array in (e.image, e.mask, e.variance)]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert stars.colnames == columns


# Masked images


def test_masked_images_give_what_exposures_give(sharp):
    template, science, stars = sharp
    task = ImagePsfMatchTask()
    widths = fwhms(2.0, 2.4)
    expected = subtracted(sharp, (2.0, 2.4))
    images = template.masked_image, science.masked_image
    matched = task.match_masked_images(*images, stars, *widths)
    difference = task.subtract_masked_images(*images, stars, *widths)
    np.testing.assert_array_equal(matched.matched_image.image, expected.matched_image.image)
    np.testing.assert_array_equal(difference.subtracted_exposure.image, expected.subtracted_exposure.image)
    assert matched.convolved == "template"


@pytest.mark.parametrize("method", ["match_masked_images", "subtract_masked_images"])
@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (None, "matching masked images needs a list of sources, got none"),
        (Table({"x": [], "y": []}), "the source list is empty"),
        ([], "the source list is empty"),
    ],
    ids=["none", "empty-table", "empty-list"],
)
def test_masked_images_need_sources(sharp, method, sources, message):
    template, science, _ = sharp
    with pytest.raises(EmptySourceListError, match=message):
        getattr(ImagePsfMatchTask(), method)(template.masked_image, science.masked_image, sources)


@pytest.mark.parametrize("method", ["match_masked_images", "subtract_masked_images"])
def test_masked_images_must_cover_the_same_pixels(sharp, method):
    template, science, stars = sharp
    moved = replace(template.masked_image, xy0=(0, 0))
    with pytest.raises(InputError, match=r"the template covers Box\(.*they must be equal"):
        getattr(ImagePsfMatchTask(), method)(moved, science.masked_image, stars)


# What can go wrong


def test_different_grids_without_warping_are_an_error(sharp):
    template, science, stars = sharp
    cut = template.with_pixels(template.masked_image.cutout(replace(template.box, x_max=template.box.x_max - 1)))
    with pytest.raises(RegistrationError, match="the pixel grids differ"):
        subtracted((cut, science, stars), (2.0, 2.4), do_warping=False)


def test_images_of_one_size_without_a_wcs_are_taken_as_aligned(sharp, caplog):
    template, science, stars = sharp
    moved = template.with_pixels(replace(template.masked_image, xy0=(0, 0)))
    made = subtracted((moved, science, stars), (2.0, 2.4))
    assert "taken as aligned pixel by pixel" in caplog.text
    expected = subtracted((template, science, stars), (2.0, 2.4)).subtracted_masked_image
    assert made.subtracted_masked_image.xy0 == science.masked_image.xy0
    np.testing.assert_array_equal(made.subtracted_masked_image.image, expected.image)


def test_an_empty_field_is_an_error_that_says_so():
    rng = np.random.default_rng(1)
    empty = [exposure(rng.normal(size=(200, 200)), 1.0) for _ in range(2)]
    with pytest.raises(NoCandidatesError, match="no source was detected on image"):
        ImagePsfMatchTask().subtract_exposures(*empty, 4.0, 5.0)


def test_sources_that_are_all_refused_are_counted(sharp):
    template, science, stars = sharp
    mask = np.full(science.shape, science.masked_image.bits(["SAT"]), np.int32)
    saturated = science.with_pixels(replace(science.masked_image, mask=mask))
    with pytest.raises(NoCandidatesError, match="none of 20 sources") as caught:
        subtracted((template, saturated, stars), (2.0, 2.4))
    assert caught.value.counts["science-mask"] + caught.value.counts.get("too-small", 0) == 20


def test_one_direction_may_fail_if_both_are_tried():
    template, science, stars = gaussian_pair((2.2, 2.2), flux=(2e3, 2e4))
    config = Settings(candidates=CandidateConfig(min_snr=0))
    result = ImagePsfMatchTask(config).subtract_exposures(template, science, *fwhms(2.2, 2.2), candidate_list=stars)
    assert result.convolved in ("template", "science")


# Metadata


def test_metadata_of_a_match(run):
    task, result = run
    items = task.metadata
    assert items["spatialKernelSum"] == result.psf_matching_kernel.center_sum
    assert items["convolvedExposure"] == "Template"
    assert items["nGood"] == result.summary["n_used"]
    assert items["nGood"] + items["nBad"] + items["nUnused"] == items["nCandidates"]
    assert items.get_array("spatialBgParameters") == result.background_model.coefficients.tolist()


def test_metadata_of_the_basis_are_appended(sharp):
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(wing_gaussian=False)))
    for _ in range(2):
        result = subtracted(sharp, (2.0, 2.4), True, task)
    items, size = task.metadata, result.psf_matching_kernel.size
    assert items.get_array("ALBasisNGauss") == [3, 3]
    assert items.get_array("ALBasisDegGauss") == [4, 2, 2, 4, 2, 2]
    assert len(items.get_array("ALBasisSigGauss")) == 6
    assert items.get_array("ALKernelSize") == [size, size]
    assert items.get_array("ALBasisMode") == ["convolution", "convolution"]


def test_timed_methods(run, sharp):
    task, _ = run
    full = task.get_full_metadata()
    for method in ("subtractExposures", "matchExposures", "_solve"):
        for end in ("Start", "End"):
            assert len(full["psfMatch"].get_array(f"{method}{end}Utc")) == 1
    assert len(full["psfMatch:selectDetection"].get_array("runStartUtc")) == 1
    template, science, stars = sharp
    other = ImagePsfMatchTask()
    other.match_masked_images(template.masked_image, science.masked_image, stars, *fwhms(2.0, 2.4))
    assert len(other.metadata.get_array("matchMaskedImagesEndUtc")) == 1


def test_metadata_can_be_emptied(sharp):
    task = ImagePsfMatchTask()
    task.get_select_sources(sharp[1], psf_sigma=2.4)
    task.empty_metadata()
    assert "nSources" not in task.metadata
    assert "nGrow" not in task.select_detection.metadata


# Whole matches of synthetic fields. Science and template sigma, their noise; tolerances as in the table of the
# upstream task's tests, which decorrelates its differences: here the noise is that of the variance plane.

SYNTHETIC = [
    ((2.4, 2.4), (1.0, 1.0), True),
    ((2.0, 2.4), (1.0, 1.0), True),
    ((2.0, 2.4), (0.1, 1.0), True),
    ((2.0, 2.4), (0.1, 0.1), True),
    ((2.4, 2.0), (1.0, 1.0), False),
    ((2.4, 2.0), (0.1, 1.0), False),
    ((2.4, 2.0), (0.1, 0.1), False),
    ((2.4, 2.8), (0.25, 1.0), True),
]


@pytest.mark.parametrize(("sigmas", "noise", "forward"), SYNTHETIC)
def test_stars_vanish_and_noise_remains(sigmas, noise, forward):
    result = subtracted(gaussian_pair(sigmas, noise), sigmas, forward, candidate_list=None)
    difference = result.subtracted_exposure
    inner = np.isfinite(difference.image)
    pixels, variance = difference.image[inner].astype(float), difference.variance[inner].astype(float)
    assert abs(pixels.mean()) < 5 * sum(noise) / np.sqrt(inner.sum())
    assert pixels.std() == pytest.approx(np.sqrt(variance.mean()), rel=0.10)
    # Kernels that widen a PSF lower the noise of single pixels, never raise it above that of both images.
    assert variance.mean() < 1.1 * (noise[0] ** 2 + noise[1] ** 2)
    assert result.psf_matching_kernel.center_sum == pytest.approx(1.0, abs=0.05)


def block_means(image: np.ndarray, side: int = 32) -> np.ndarray:
    height, width = (length // side * side for length in image.shape)
    return image[:height, :width].reshape(height // side, side, width // side, side).mean(axis=(1, 3))


def test_the_power_of_the_noise_is_that_of_both_images():
    pair = gaussian_pair((2.0, 2.4), (1.0, 1.0), shape=(512, 512), n_stars=60, flux=(2e3, 2e4))
    difference = subtracted(pair, (2.0, 2.4)).subtracted_exposure
    inner = difference.image[20:-20, 20:-20].astype(float)
    means = block_means(inner, 16)
    # Noise that a convolution only moves around: sums over large blocks keep the variance of both images. The refined
    # background takes a little; 841 blocks tell a width to 2.5 %, and the blocks' borders lose 5 %.
    assert 16 * means.std() == pytest.approx(np.sqrt(2), rel=0.12)


def test_the_roles_are_symmetric(sharp):
    template, science, stars = sharp
    one = subtracted((template, science, stars), (2.0, 2.4), True)
    other = subtracted((science, template, stars), (2.4, 2.0), False)
    first, second = one.subtracted_exposure, other.subtracted_exposure
    inner = np.isfinite(first.image) & np.isfinite(second.image)
    ratio = one.psf_matching_kernel.center_sum
    difference = (first.image + ratio * second.image)[inner]
    # The same kernel from the same stars: ranks of the candidates and the stars' S/N are from the other image. Both
    # differences are within the noise of a kernel of the same pixels.
    assert abs(difference.mean()) < 5 * 2 / np.sqrt(inner.sum())
    assert difference.std() < 0.1 * 2 * np.sqrt(2)


def test_equal_images_leave_their_plain_difference():
    template, science, stars = gaussian_pair((2.4, 2.4), (0.1, 0.1))
    difference = subtracted((template, science, stars), (2.4, 2.4)).subtracted_exposure
    inner = np.isfinite(difference.image)
    plain = (science.image - template.image)[inner]
    assert np.abs(difference.image[inner] - plain).max() < 5 * np.hypot(0.1, 0.1)


@pytest.mark.parametrize("forward", [True, False])
def test_a_background_is_recovered(forward):
    truth = np.array([2.2, 2.1, 2.0, 1.2, 1.1, 1.0])
    shape, xy0 = (512, 512), (123, 456)
    sigmas = (2.0, 2.4) if forward else (2.4, 2.0)
    pair = gaussian_pair(
        sigmas, shape=shape, xy0=xy0, n_stars=60, background=plane(shape, truth, xy0=xy0), flux=(500.0, 1000.0)
    )
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(spatial_bg_order=2)))
    result = subtracted(pair, sigmas, forward, task)
    scale = 1.0 if forward else -1.0
    np.testing.assert_allclose(scale * result.background_model.coefficients, truth, rtol=0.30)
    difference = result.subtracted_exposure
    inner = np.isfinite(difference.image)
    assert difference.image[inner].std() == pytest.approx(np.sqrt(difference.variance[inner].mean()), rel=0.10)


def footprint_ratio(result: SubtractExposuresResult, science, stars, half: int = 4) -> float:
    """Mean over the stars of (mean |D| - its median) / mean |S| in a box around them."""
    difference = np.abs(result.subtracted_exposure.image)
    median, ratios = np.nanmedian(difference), []
    for x, y in zip(stars["x"], stars["y"], strict=True):
        row, column = int(y - science.xy0[1] + 0.5), int(x - science.xy0[0] + 0.5)
        at = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        ratios.append(abs(np.nanmean(difference[at]) - median) / np.abs(science.image[at]).mean())
    return float(np.mean(ratios))


def test_a_good_match_leaves_little_of_the_stars():
    template, science, stars = gaussian_pair((2.4, 2.8), (0.25, 1.0))
    result = subtracted((template, science, stars), (2.4, 2.8))
    assert footprint_ratio(result, science, stars) < 0.02


def test_a_template_far_too_wide_is_warned_of(caplog):
    # Sharpening a PSF by a factor of three leaves kernel sums that mean nothing: few agree by chance.
    subtracted(gaussian_pair((9.5, 2.8), (0.25, 1.0), n_stars=9), (9.5, 2.8))
    assert "kernel candidates agree on the kernel" in caplog.text


def test_a_template_far_too_wide_leaves_much_of_the_stars():
    template, science, stars = gaussian_pair((9.5, 2.8), (0.25, 1.0), n_stars=9)
    off = {"single_kernel_clipping": False, "kernel_sum_clipping": False, "spatial_kernel_clipping": False}
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(**off)))
    result = subtracted((template, science, stars), (9.5, 2.8), True, task)
    assert footprint_ratio(result, science, stars) > 0.12


def test_one_star_is_enough():
    template, science, stars = gaussian_pair((2.0, 2.4), n_stars=1, flux=(2e4, 2e4))
    result = subtracted((template, science, stars), (2.0, 2.4))
    assert (result.summary["n_used"], result.summary["spatial_order"]) == (1, 0)
    error = result.kernel_cell_set.table["kernel_sum_err"][0]
    assert result.psf_matching_kernel.center_sum == pytest.approx(1.0, abs=4 * error)


def test_a_template_with_a_gap_is_used_around_it(sharp):
    template, science, stars = sharp
    image = template.image.copy()
    image[:, 200:] = np.nan
    pixels = template.masked_image
    gap = template.with_pixels(type(pixels).from_arrays(image, pixels.mask, pixels.variance, pixels.planes, pixels.xy0))
    result = subtracted((gap, science, stars), (2.0, 2.4))
    difference = result.subtracted_exposure
    half = result.psf_matching_kernel.half_size
    lost = np.isnan(difference.image)
    assert lost[:, 200:].all()
    assert not lost[half:-half, half : 200 - half].any()
    assert result.summary["reasons"]["template-mask"] > 0
    # 3e4 pixels of sky.
    assert result.summary["sky_width"] == pytest.approx(1.0, abs=0.04)


def test_each_image_can_lose_its_own_background_first():
    template, science, stars = gaussian_pair((2.0, 2.4), flux=(1e4, 2e4), xy0=(0, 0))
    tilt = plane(science.shape, [300.0, 40.0, -20.0]).image(science.box)
    science = science.with_pixels(replace(science.masked_image, image=science.image + tilt))
    config = {"fit_for_background": False, "spatial_kernel_order": 0}
    settings = Settings(kernel=KernelConfig(use_afw_background=True, **config))
    result = ImagePsfMatchTask(settings).subtract_exposures(template, science, 4.7, 5.65, stars)
    # A tilted plane of 300 counts is gone without any background in the fit; stars bias the bins by a few tenths.
    assert abs(np.nanmedian(result.subtracted_exposure.image)) < 0.5
    assert result.background_model(100, 100) == 0.0
    with pytest.raises(NoCandidatesError):
        ImagePsfMatchTask(Settings(kernel=KernelConfig(**config))).subtract_exposures(
            template, science, 4.7, 5.65, stars
        )
