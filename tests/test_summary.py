"""The flat table of what a run found and chose."""

import json

import pytest

from made_pairs import gaussian_pair
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.psf import FWHM_PER_SIGMA


@pytest.fixture(scope="module")
def result():
    template, science, stars = gaussian_pair((2.0, 2.4), flux=(5e3, 2e4))
    # A source that is outside.
    stars.add_row((0.0, 0.0, 1.0))
    task = ImagePsfMatchTask()
    return task.subtract_exposures(template, science, 2.0 * FWHM_PER_SIGMA, 2.4 * FWHM_PER_SIGMA, stars)


def test_counts_add_up(result):
    summary, table = result.summary, result.kernel_cell_set.table
    assert summary["n_sources"] == len(table) == 21
    assert summary["n_candidates"] == sum(status != "refused" for status in table["status"])
    assert summary["n_used"] == sum(status == "used" for status in table["status"])
    assert summary["n_rejected"] == sum(status == "rejected" for status in table["status"])
    assert sum(summary["reasons"].values()) == sum(reason != "" for reason in table["reason"])
    assert summary["reasons"]["outside"] == 1


def test_the_kernel_is_described(result):
    summary, kernel = result.summary, result.psf_matching_kernel
    assert summary["kernel_sum"] == kernel.center_sum
    assert summary["kernel_size"] == kernel.size
    assert summary["spatial_order"] == kernel.spatial.order
    assert summary["background_order"] == result.background_model.spatial.order
    assert summary["basis"].startswith(f"{kernel.size} px, sigmas")
    assert summary["converged"] is True
    assert summary["condition_number"] > 1


def test_the_inputs_are_described(result):
    summary = result.summary
    assert summary["convolved"] == "template"
    assert summary["direction_reason"] == "template FWHM 4.71 px, science 5.65 px"
    assert summary["warped"] is False
    assert summary["overlap_fraction"] == 1.0
    assert (summary["template_fwhm"], summary["science_fwhm"]) == (2.0 * FWHM_PER_SIGMA, 2.4 * FWHM_PER_SIGMA)


def test_the_quality_is_told(result):
    summary = result.summary
    # 5e4 pixels of somewhat correlated noise.
    assert summary["sky_width"] == pytest.approx(1.0, abs=0.03)
    assert 0.1 < summary["masked_fraction"] < 0.3
    assert 0.0 <= summary["model_error"] < 0.01
    assert summary["variance_scale"] == pytest.approx(1.0, abs=0.06)


def test_values_are_plain(result):
    # What is written into headers and JSON must not be an array or a type of numpy's that JSON does not know.
    assert set(json.loads(json.dumps(result.summary))) == set(result.summary)
