"""The unit of all commands: from inputs, options and settings to results, also in another process."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from psfmatch_cli.cli import detect, subtract
from psfmatch_cli.cli.work import Work
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.io import read_exposure
from psfmatch_cli.settings import settings_from

SETTINGS = {"kernel.spatial_kernel_order": 0, "kernel.spatial_bg_order": 0, "kernel.kernel_size": "15"}


def options_of(command, *files, **given):
    """Values of all options of a command, as those of a line with none of them but these."""
    return command.make_context("test", [*files, "-o", "out.fits"]).params | given


@pytest.fixture
def work(pair_folder):
    inputs = {role: pair_folder / f"{role}.fits" for role in ("template", "science")}
    given = options_of(subtract.command, "a.fits", "b.fits", template_fwhm=3.4, science_fwhm=4.6)
    return Work(inputs, given, settings_from(SETTINGS))


def subtracted(work):
    """The difference, and the record that the work filled; as a pool returns them."""
    return work.subtract().result, work.record


def test_the_result_is_that_of_the_task_in_this_and_in_another_process(work, pair_folder):
    exposures = (read_exposure(pair_folder / f"{role}.fits") for role in ("template", "science"))
    expected = ImagePsfMatchTask(settings_from(SETTINGS)).subtract_exposures(*exposures, 3.4, 4.6)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result, record = pool.submit(subtracted, work).result()
    np.testing.assert_array_equal(result.subtracted_exposure.image, expected.subtracted_exposure.image)
    np.testing.assert_array_equal(result.psf_matching_kernel.coefficients, expected.psf_matching_kernel.coefficients)
    assert result.summary == expected.summary
    assert set(record.reading) == set(record.noise) == {"template", "science"}
    assert record.tasks["psfMatch.nGood"] == expected.summary["n_used"]
    assert not work.record.reading, "the other process had a copy"


def test_what_was_learned_before_a_failure_is_in_the_record(work, tmp_path):
    broken = Work({**work.inputs, "science": tmp_path / "none.fits"}, work.given, work.settings)
    with pytest.raises(InputError, match="no such file"):
        broken.match()
    assert set(broken.record.reading) == {"template"}
    assert set(broken.record.tasks.metadata) >= {"psfMatch"}


def test_one_exposure_is_enough_to_detect(pair_folder):
    given = options_of(detect.command, "a.fits", psf_fwhm=4.6)
    work = pickle.loads(pickle.dumps(Work({"exposure": pair_folder / "science.fits"}, given, settings_from({}))))
    assert len(work.detect().sources) > 20
    assert set(work.record.reading) == {"exposure"}
    twice = Work(work.inputs, {**given, "psf_sigma": 2.0}, work.settings)
    with pytest.raises(UsageError, match="are the same thing"):
        twice.detect()
