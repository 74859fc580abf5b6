"""What is done where candidates are few: lower thresholds, then lower orders, never silently."""

import numpy as np
import pytest
from astropy.table import Table

from made_pairs import gaussian_pair, with_source
from psfmatch_cli import adapt
from psfmatch_cli.config import CandidateConfig, DetectionConfig, KernelConfig
from psfmatch_cli.errors import (
    AllRefusedError,
    AllRejectedError,
    DisagreementError,
    NoCandidatesError,
    NoSourcesError,
    TooFewCandidatesError,
    UnderconstrainedError,
)
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.settings import Settings

SIGMAS = (2.0, 2.4)
FWHMS = [sigma * FWHM_PER_SIGMA for sigma in SIGMAS]
#: Counts of a star that is detected at one sigma in noise of 1: 2 sqrt(pi) times the PSF's sigma.
ONE_SIGMA = 2 * np.sqrt(np.pi) * SIGMAS[1]


def field(n_bright: int, n_faint: int, significance: float = 7.5):
    """Template, science image and all their stars; the first are bright, the others detected at `significance`."""
    template, science, stars = gaussian_pair(SIGMAS, (0.3, 1.0), n_stars=n_bright + n_faint, flux=(0.0, 0.0))
    stars["flux"] = np.r_[np.full(n_bright, 3000.0), np.full(n_faint, significance * ONE_SIGMA)]
    for x, y, flux in stars:
        template, science = (
            with_source(image, x, y, flux, sigma) for image, sigma in zip((template, science), SIGMAS, strict=True)
        )
    return template, science, stars


def subtracted(pair, sources: Table | None = None, task: ImagePsfMatchTask | None = None, **settings):
    task = task or ImagePsfMatchTask(Settings(**settings))
    return task.subtract_exposures(*pair[:2], *FWHMS, sources, convolve_template=True)


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# Settings that are tried


def thresholds(settings: Settings) -> list[tuple[float, float]]:
    return [(made.detection.threshold_value, made.candidates.min_snr) for made in adapt.lower_thresholds(settings)]


def test_thresholds_fall_from_10_to_7_to_5():
    made = adapt.lower_thresholds(Settings())
    assert thresholds(Settings()) == [(7.0, 7.0), (5.0, 5.0)]
    assert [settings.candidates.det_threshold for settings in made] == [7.0, 5.0]
    assert all(settings.kernel == Settings().kernel for settings in made)


@pytest.mark.parametrize(
    ("given", "min_snr", "expected"),
    [
        (20.0, 10.0, [(14.0, 7.0), (10.0, 5.0)]),
        (8.0, 0.0, [(5.6, 0.0), (5.0, 0.0)]),
        (6.0, 12.0, [(5.0, 10.0)]),
        (5.0, 10.0, []),
        (3.0, 10.0, []),
    ],
)
def test_thresholds_follow_the_one_that_is_set(given, min_snr, expected):
    settings = Settings(detection=DetectionConfig(threshold_value=given), candidates=CandidateConfig(min_snr=min_snr))
    np.testing.assert_allclose(np.reshape(thresholds(settings), (-1, 2)), np.reshape(expected, (-1, 2)))


@pytest.mark.parametrize(("kind", "n"), [("auto", 2), ("pixel_stdev", 2), ("stdev", 2), ("value", 0), ("variance", 0)])
def test_thresholds_that_are_not_in_sigmas_stay(kind, n):
    assert len(thresholds(Settings(detection=DetectionConfig(threshold_type=kind)))) == n


@pytest.mark.parametrize(
    ("kernel", "background", "n_good", "expected"),
    [
        (2, None, 5, (1, None)),
        (2, None, 6, None),
        (1, 2, 5, (1, 1)),
        (2, 2, 2, (1, 1)),
        (0, 0, 0, None),
        (0, 1, 2, (0, 0)),
        (3, 0, 9, (2, 0)),
    ],
)
def test_orders_fall_by_one_where_the_terms_are_more_than_the_candidates(kernel, background, n_good, expected):
    made = adapt.lower_orders(Settings(kernel=KernelConfig(spatial_bg_order=background)), kernel, background, n_good)
    if expected is None:
        assert made is None
    else:
        assert (made.settings.kernel.spatial_kernel_order, made.settings.kernel.spatial_bg_order) == expected
        assert f"{n_good} good candidate" in made.described


def test_a_lowered_order_says_so():
    made = adapt.lower_orders(Settings(), 2, 1, 1)
    assert made.described == (
        "spatial order of the kernel lowered from 2 to 1 and spatial order of the background lowered from 1 to 0: "
        "1 good candidate"
    )


# The search for enough


def tried(numbers: list[int | Exception], told: list[str]):
    """The search over three thresholds, whose attempts find these numbers of candidates or end with these errors."""
    ladder = [Settings(), *adapt.lower_thresholds(Settings())]

    def attempt(settings):
        found = numbers[ladder.index(settings)]
        if isinstance(found, Exception):
            raise found
        return found

    return adapt.first_with_enough(ladder, attempt, int, told.append)


@pytest.mark.parametrize(
    ("numbers", "expected", "n_told"),
    [([3, 9, 9], 3, 0), ([2, 3, 9], 3, 1), ([2, 1, 4], 4, 2), ([0, 2, 2], 2, 3), ([2, 2, 2], 2, 3), ([1, 0, 2], 2, 2)],
)
def test_the_first_with_enough_is_taken_else_the_best(numbers, expected, n_told):
    told = []
    assert tried(numbers, told) == expected
    assert len(told) == n_told
    assert all("threshold" in line for line in told)


def test_every_step_says_from_where_to_where_and_why():
    told = []
    with pytest.raises(NoSourcesError, match="nothing at 5"):
        tried([NoSourcesError("nothing at 10"), NoSourcesError("nothing at 7"), NoSourcesError("nothing at 5")], told)
    assert told == [
        "detection threshold lowered from 10 to 7: nothing at 10",
        "detection threshold lowered from 7 to 5: nothing at 7",
    ]
    told.clear()
    assert tried([2, NoSourcesError("b"), 1], told) == 2
    assert told[0] == "detection threshold lowered from 10 to 7: 2 usable candidates"
    assert told[-1] == "the threshold stays at 10: a lower one gives no more candidates"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoSourcesError("none"), True),
        (AllRefusedError("none", {"sources": 900, "candidates": 0}), True),
        (AllRejectedError("none", {"candidates": 9}), True),
        (AllRejectedError("none", {"candidates": 10}), False),
        (DisagreementError("none", {"candidates": 4}), False),
    ],
)
def test_images_that_differ_do_not_lack_candidates(error, expected):
    assert adapt.lacks_candidates(error) == expected
    told = []
    with pytest.raises(type(error)):
        tried([error] * 3, told)
    assert len(told) == (2 if expected else 0)


# The task


@pytest.fixture(scope="module")
def faint():
    """One star that is detected at 10 sigmas, and eight that are not."""
    return field(1, 8)


def test_faint_stars_are_found_at_a_lower_threshold(faint, caplog):
    task = ImagePsfMatchTask()
    result = subtracted(faint, task=task)
    assert result.summary["n_used"] >= 3
    (step,) = result.summary["adaptations"]
    assert step == "detection threshold lowered from 10 to 7: 1 usable candidate"
    assert step in warnings_of(caplog)
    assert task.metadata.get_array("adaptations") == [step]
    # What is told belongs to the attempt that was kept, and the task's own settings are as before.
    assert task.metadata["nSources"] == result.summary["n_sources"] == len(result.kernel_cell_set.table) > 3
    assert task.config == Settings()
    assert len(task.metadata.get_array("_solveStartUtc")) == 2
    # The mask of the difference has the detections of the lower threshold.
    detected, stars = result.subtracted_masked_image.flagged(["DETECTED"]), result.kernel_cell_set.table
    rows, columns = (
        np.floor(np.asarray(stars[k]) - origin + 0.5).astype(int) for k, origin in (("y", 67890), ("x", 12345))
    )
    assert detected[rows, columns].all()


def test_enough_stars_are_not_adapted_to(caplog):
    task = ImagePsfMatchTask()
    result = subtracted(field(8, 4), task=task)
    assert result.summary["adaptations"] == task.metadata.get_array("adaptations") == []
    assert not any("lowered" in line for line in warnings_of(caplog))


def test_what_a_lower_threshold_does_not_help_is_told(caplog):
    result = subtracted(field(2, 0))
    assert result.summary["n_used"] == 2
    assert [line.partition(":")[0] for line in result.summary["adaptations"]] == [
        "detection threshold lowered from 10 to 7",
        "detection threshold lowered from 7 to 5",
        "the threshold stays at 10",
    ]
    assert "the kernel is poorly constrained: 2 good candidates for 1 spatial term" in warnings_of(caplog)


def test_off_it_is_an_error_that_says_what_could_be_tried(faint):
    text = (
        r"only 1 of 1 sources can be used for the kernel; it takes 3 .*; a lower detection threshold may help \(--sigma"
    )
    task = ImagePsfMatchTask(Settings(adapt=False))
    with pytest.raises(TooFewCandidatesError, match=text) as caught:
        subtracted(faint, task=task)
    assert caught.value.counts == {"sources": 1, "candidates": 1}
    assert caught.value.exit_code == 3
    assert task.metadata.get_array("adaptations") == []
    with pytest.raises(NoSourcesError, match=r"at a threshold of 10 \(auto\); a lower detection threshold may help"):
        subtracted(field(0, 5), adapt=False)


def test_one_source_alone_is_an_error_where_no_doubt_is_allowed():
    pair = field(1, 0)
    with pytest.raises(TooFewCandidatesError, match=r"only 1 of 1 sources .*more sources may help \(--sources\)"):
        subtracted(pair, pair[2], strict=True)
    with pytest.raises(TooFewCandidatesError):
        subtracted(pair, pair[2], adapt=False)
    assert subtracted(pair, pair[2]).summary["n_used"] == 1


def test_nothing_at_all_is_an_error_after_all_thresholds(caplog):
    with pytest.raises(NoCandidatesError, match="detection thresholds down to 5 were tried") as caught:
        subtracted(field(0, 3, significance=2.0))
    assert caught.value.counts["candidates"] == 0
    assert len([line for line in warnings_of(caplog) if "lowered" in line]) == 2


def test_a_list_that_was_given_is_not_replaced(faint, caplog):
    result = subtracted(faint, faint[2][:2], candidates=CandidateConfig(min_snr=0.0))
    assert result.summary["n_sources"] == 2
    assert result.summary["adaptations"] == []
    with pytest.raises(AllRefusedError, match=r"none of 2 sources .*; more sources may help \(--sources\)") as caught:
        subtracted(faint, Table({"x": [0.0, 1.0], "y": [0.0, 1.0]}))
    assert caught.value.counts == {"sources": 2, "candidates": 0, "outside": 2}
    assert not any("threshold" in line for line in warnings_of(caplog))


def test_the_candidates_of_a_search_are_adapted_too(faint, caplog):
    task = ImagePsfMatchTask()
    found = task.find_candidates(*faint[:2], *FWHMS, convolve_template=True)
    assert len(found) >= 3
    assert task.metadata.get_array("adaptations") == ["detection threshold lowered from 10 to 7: 1 usable candidate"]
    assert len(ImagePsfMatchTask(Settings(adapt=False)).find_candidates(*faint[:2], *FWHMS)) == 1


@pytest.mark.parametrize(
    ("n_stars", "steps"),
    [(5, ["from 2 to 1: 5 good"]), (2, ["from 2 to 1: 2 good", "from 1 to 0: 2 good"]), (6, [])],
)
def test_a_given_order_is_lowered_to_what_the_stars_hold(n_stars, steps, caplog):
    pair = field(n_stars, 0)
    kernel = KernelConfig(spatial_kernel_order=2, n_star_per_cell=0)
    task = ImagePsfMatchTask(Settings(kernel=kernel))
    result = subtracted(pair, pair[2], task=task)
    expected = [f"spatial order of the kernel lowered {step} candidates" for step in steps]
    assert result.summary["adaptations"] == task.metadata.get_array("adaptations") == expected
    assert [line for line in warnings_of(caplog) if "lowered" in line] == expected
    assert result.psf_matching_kernel.spatial.order == task.metadata["spatialKernelOrderUsed"] == 2 - len(steps)
    assert result.summary["n_used"] == n_stars
    # A star of 3000 counts has a signal to noise ratio of 300.
    assert result.psf_matching_kernel.center_sum == pytest.approx(1.0, abs=0.03)
    assert np.abs(np.nanmean(result.subtracted_exposure.image)) < 0.05


def test_the_order_of_the_background_is_lowered_too():
    pair = field(4, 0)
    kernel = KernelConfig(spatial_kernel_order=0, spatial_bg_order=2, n_star_per_cell=0)
    result = subtracted(pair, pair[2], kernel=kernel)
    assert result.summary["adaptations"] == ["spatial order of the background lowered from 2 to 1: 4 good candidates"]


def test_off_the_order_stays_with_a_warning_or_an_error(caplog):
    pair = field(4, 0)
    kernel = KernelConfig(spatial_kernel_order=2, n_star_per_cell=0)
    result = subtracted(pair, pair[2], kernel=kernel, adapt=False)
    assert result.psf_matching_kernel.spatial.order == 2
    assert result.summary["kernel_constraint"] == "underconstrained"
    text = "the kernel is underconstrained: 4 good candidates for 6 spatial terms; lower its spatial order"
    assert any(text in line for line in warnings_of(caplog))
    with pytest.raises(UnderconstrainedError, match=text):
        subtracted(pair, pair[2], kernel=kernel, adapt=False, strict=True)
