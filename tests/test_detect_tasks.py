"""The tasks of the search: what each does, on its own settings."""

import numpy as np
import pytest

from psfmatch_cli.background import fit_background
from psfmatch_cli.config import BackgroundConfig, DetectionConfig
from psfmatch_cli.detect import detect
from psfmatch_cli.detect_tasks import BackgroundTask, DetectionTask, MeasurementTask
from psfmatch_cli.errors import FitError, UsageError
from star_fields import star_field

SIGMA = 1.27


@pytest.fixture(scope="module")
def field():
    return star_field(16, 3.0, side=256)[0]


def test_the_steps_of_the_tasks_are_those_of_the_function(field):
    background = BackgroundTask().run(field.masked_image)
    np.testing.assert_array_equal(background.image, fit_background(field.masked_image).image)
    found = DetectionTask().run(field, background, psf_sigma=SIGMA)
    sources = MeasurementTask().run(field, found)
    expected = detect(field, psf_sigma=SIGMA)
    assert len(sources) == 16
    assert sources.meta == expected.sources.meta == expected.metadata
    for name in expected.sources.colnames:
        np.testing.assert_array_equal(sources[name], expected.sources[name])


def test_the_background_has_the_settings_of_its_task(field):
    assert BackgroundTask(BackgroundConfig(bin_size=64)).run(field.masked_image).n_bins == 16


def test_the_local_background_is_that_of_the_subtask(field):
    config = DetectionConfig(do_temp_local_background=True)
    task = DetectionTask(config)
    assert task.temp_local_background.get_full_name() == "selectDetection.tempLocalBackground"
    assert task.temp_local_background.config is config.temp_local_background
    calls = []

    def watched(masked_image):
        calls.append(masked_image)
        return fit_background(masked_image, config.temp_local_background)

    task.temp_local_background.run = watched
    background = fit_background(field.masked_image)
    task.run(field, background, psf_sigma=SIGMA)
    (above,) = calls
    # The unsmoothed image above the main background.
    np.testing.assert_allclose(above.image, field.image - background.image, atol=1e-3)


def test_what_a_background_cannot_be_made_of_is_an_error_of_its_task(field):
    strict = BackgroundConfig(undersample_style="THROW_EXCEPTION", use_approx=False, bin_size=128)
    task = DetectionTask(DetectionConfig(do_temp_local_background=True, temp_local_background=strict))
    with pytest.raises(FitError, match="has 2 x 2 bins in 256 x 256 pixels"):
        task.run(field, fit_background(field.masked_image), psf_sigma=SIGMA)


@pytest.mark.parametrize("threshold", [0.0, -3.0, np.nan, np.inf])
def test_a_threshold_must_be_positive(field, threshold):
    with pytest.raises(UsageError, match="a detection threshold must be a positive number"):
        DetectionTask().run(field, fit_background(field.masked_image), threshold=threshold, psf_sigma=SIGMA)


def test_kernel_width_and_growth_of_the_reference(field):
    # The worked example of the reference numbers: sigma 1.7.
    task = DetectionTask()
    task.run(field, fit_background(field.masked_image), psf_sigma=1.7)
    items = ("doSmooth", "sigma", "smoothingKernelWidth", "nGrow")
    assert [task.metadata[name] for name in items] == [True, 1.7, 13, 4]


def test_a_given_threshold_is_for_one_search(field):
    task, background = DetectionTask(), fit_background(field.masked_image)
    high = task.run(field, background, threshold=200, psf_sigma=SIGMA)
    usual = task.run(field, background, psf_sigma=SIGMA)
    assert len(high.found[0].peaks) < len(usual.found[0].peaks) == 16
    assert (high.metadata["threshold"], usual.metadata["threshold"]) == (200, 10)
