"""The task's names, methods, timing and metadata, item by item."""

import math

import numpy as np
import pytest

from made_pairs import gaussian_pair
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.psf_match import PsfMatchTask
from psfmatch_cli.settings import Settings
from psfmatch_cli.task import Task

FWHMS = 2.0 * FWHM_PER_SIGMA, 2.4 * FWHM_PER_SIGMA
#: Suffix of every timing item, and its type.
TIMING = {
    "Utc": str,
    "CpuTime": float,
    "UserTime": float,
    "SystemTime": float,
    "MaxResidentSetSize": int,
    "MinorPageFaults": int,
    "MajorPageFaults": int,
    "BlockInputs": int,
    "BlockOutputs": int,
    "VoluntaryContextSwitches": int,
    "InvoluntaryContextSwitches": int,
}
#: Items that are set by a match, and their types; those of upstream first.
SCALARS = {
    "__version__": int,
    "nodeName": str,
    "spatialConditionNum": float,
    "spatialKernelSum": float,
    "convolvedExposure": str,
    "registrationOffsetPix": float,
    "nSkyPixels": int,
    "noiseCorrelation": float,
    "warped": bool,
    "templateFwhmPix": float,
    "scienceFwhmPix": float,
    "kernelBasisSet": str,
    "nBasis": int,
    "spatialModelType": str,
    "spatialKernelOrderUsed": int,
    "spatialBgOrderUsed": int,
    "nSources": int,
    "nCandidates": int,
    "nGood": int,
    "nBad": int,
    "nUnused": int,
    "nIterations": int,
    "converged": bool,
    "solver": str,
    "kernelConstraint": str,
    "backgroundConstraint": str,
    "expectedKernelSum": float,
    "kernelSumRatio": float,
    "normalize": str,
}
ARRAYS = {
    "ALBasisNGauss": int,
    "ALBasisDegGauss": int,
    "ALBasisSigGauss": float,
    "ALKernelSize": int,
    "ALBasisMode": str,
    "spatialBgParameters": float,
    "rejectReasons": str,
    "adaptations": str,
}
DETECTION = {"doSmooth": bool, "sigma": float, "smoothingKernelWidth": int, "nGrow": int}
#: Timed methods that each public method calls, in order of their start.
TIMED = {
    "subtract_exposures": ["subtractExposures", "matchExposures", "matchMaskedImages", "_solve"],
    "match_exposures": ["matchExposures", "matchMaskedImages", "_solve"],
    "subtract_masked_images": ["subtractMaskedImages", "matchMaskedImages", "_solve"],
    "match_masked_images": ["matchMaskedImages", "_solve"],
}


@pytest.fixture(scope="module")
def pair():
    return gaussian_pair((2.0, 2.4), flux=(2e3, 2e4))


@pytest.fixture(scope="module")
def finished(pair):
    """A task after a subtraction with detected sources."""
    task = ImagePsfMatchTask()
    task.subtract_exposures(*pair[:2], *FWHMS)
    return task


def test_the_class_is_a_task_that_matches():
    assert issubclass(ImagePsfMatchTask, PsfMatchTask)
    assert issubclass(PsfMatchTask, Task)
    assert ImagePsfMatchTask.default_name == "psfMatch"
    assert ImagePsfMatchTask.ConfigClass is Settings


@pytest.mark.parametrize("name", sorted(SCALARS))
def test_scalars_of_a_match(finished, name):
    assert type(finished.metadata.scalars[name]) is SCALARS[name]


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_arrays_of_a_match(finished, name):
    values = finished.metadata.arrays[name]
    assert {type(value) for value in values} <= {ARRAYS[name]}
    assert values or name in ("rejectReasons", "adaptations")


@pytest.mark.parametrize("name", sorted(DETECTION))
def test_items_of_the_detection(finished, name):
    assert type(finished.get_full_metadata()["psfMatch:selectDetection"].scalars[name]) is DETECTION[name]


@pytest.mark.parametrize("method", TIMED["subtract_exposures"])
@pytest.mark.parametrize("suffix", sorted(TIMING))
def test_timing_items(finished, method, suffix):
    for end in ("Start", "End"):
        (value,) = finished.metadata.arrays[f"{method}{end}{suffix}"]
        assert type(value) is TIMING[suffix]
    assert "runEndUtc" in finished.get_full_metadata()["psfMatch:selectDetection"]


@pytest.mark.parametrize("method", sorted(TIMED))
def test_timed_methods_are_nested(pair, method):
    template, science, stars = pair
    images = (template, science) if method.endswith("exposures") else (template.masked_image, science.masked_image)
    order = {"template_fwhm_pix": FWHMS[0], "science_fwhm_pix": FWHMS[1], "candidate_list": stars}
    task = ImagePsfMatchTask()
    getattr(task, method)(*images, **order)
    names = TIMED[method]
    starts, ends = ([task.metadata.get_array(f"{name}{end}Utc") for name in names] for end in ("Start", "End"))
    assert [len(times) for times in starts + ends] == [1] * 2 * len(names)
    # ISO times of one form sort as texts.
    assert sorted(starts) == starts
    assert sorted(ends, reverse=True) == ends
    timed = {name.removesuffix("StartUtc") for name in task.metadata.arrays if name.endswith("StartUtc")}
    assert timed == set(names)


def test_a_failed_match_is_timed_to_its_end(pair):
    task = ImagePsfMatchTask(Settings(kernel=KernelConfig(candidate_residual_std_max=0.01)))
    with pytest.raises(Exception, match="rejected"):
        task.subtract_exposures(*pair[:2], *FWHMS, pair[2])
    for name in ("subtractExposures", "matchExposures", "matchMaskedImages"):
        assert len(task.metadata.get_array(f"{name}EndCpuTime")) == 1


def test_the_numbers_are_those_of_the_result(pair):
    task = ImagePsfMatchTask()
    result = task.match_exposures(*pair[:2], *FWHMS, pair[2])
    items, kernel = task.metadata, result.psf_matching_kernel
    assert items["spatialKernelSum"] == kernel.center_sum
    assert items["spatialConditionNum"] == result.summary["condition_number"]
    assert items["ALKernelSize"] == kernel.size
    assert len(items.get_array("ALBasisSigGauss")) == len(items.get_array("ALBasisDegGauss")) == items["ALBasisNGauss"]
    assert items["nBasis"] == len(kernel.basis)
    assert items["nSources"] == len(result.kernel_cell_set.table)
    assert items["nCandidates"] == len(result.kernel_cell_set)
    assert items["kernelBasisSet"] == "alard-lupton"
    assert (items["templateFwhmPix"], items["scienceFwhmPix"]) == FWHMS
    assert math.isnan(items["expectedKernelSum"]), "the images are not calibrated"


def test_the_full_metadata_are_a_copy_under_the_tasks_names(finished):
    full = finished.get_full_metadata()
    assert list(full) == [name.replace(".", ":") for name in finished.get_task_dict()]
    assert full["psfMatch"] == finished.metadata
    full["psfMatch"]["nGood"] = -1
    assert finished.metadata["nGood"] > 0
    assert TaskMetadata.from_json(full.to_json()).to_dict().keys() == full.to_dict().keys()


def test_the_task_dictionary_has_parents_first(finished):
    names = list(finished.get_task_dict())
    assert names[0] == finished.get_full_name() == "psfMatch"
    assert all(name.rpartition(".")[0] in names[: names.index(name)] for name in names[1:])
    assert all(task.get_full_name() == name for name, task in finished.get_task_dict().items())
    finished.get_task_dict().clear()
    assert list(finished.get_task_dict()) == names, "it is a copy"


def test_emptying_reaches_every_task(pair):
    task = ImagePsfMatchTask()
    task.get_select_sources(pair[1], psf_sigma=2.4)
    before = [each.metadata for each in task.get_task_dict().values()]
    task.empty_metadata()
    after = [each.metadata for each in task.get_task_dict().values()]
    assert all(len(metadata) == 0 for metadata in after)
    assert not any(one is other for one, other in zip(before, after, strict=True))


def test_a_match_that_is_repeated_appends_what_is_added_and_replaces_what_is_set(pair):
    task = ImagePsfMatchTask()
    for n_stars in (20, 8):
        result = task.match_exposures(*pair[:2], *FWHMS, pair[2][:n_stars])
    assert task.metadata["nSources"] == 8
    assert len(task.metadata.get_array("ALKernelSize")) == len(task.metadata.get_array("_solveEndUtc")) == 2
    assert task.metadata["spatialKernelSum"] == result.psf_matching_kernel.center_sum


def test_the_host_can_be_left_out(pair):
    task = ImagePsfMatchTask(record_host=False)
    task.match_exposures(*pair[:2], *FWHMS, pair[2])
    assert all("nodeName" not in each.metadata for each in task.get_task_dict().values())


def test_a_block_can_be_timed(pair):
    task = ImagePsfMatchTask()
    with task.timer("somethingElse"):
        np.linalg.svd(np.eye(3))
    assert {name.removeprefix("somethingElseEnd") for name in task.metadata if "End" in name} == set(TIMING)


def test_delta_functions_have_no_items_of_gaussians(pair):
    kernel = KernelConfig(kernel_basis_set="delta-function", kernel_size=11)
    task = ImagePsfMatchTask(Settings(kernel=kernel))
    task.match_exposures(*pair[:2], *FWHMS, pair[2])
    assert not [name for name in task.metadata if name.startswith(("ALBasis", "ALKernel"))]
    assert task.metadata["kernelBasisSet"] == "delta-function"
    assert {"spatialConditionNum", "spatialKernelSum", "kernelConstraint"} <= set(task.metadata)
