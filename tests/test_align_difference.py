"""The difference of misaligned images, after their stars have aligned them, is that of aligned ones."""

import pytest

from made_alignments import curved, misaligned_pair, residual_power, shifted, turned
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import settings_from

BASE = (17.3, -8.6)


def composed(move):
    """A move and then the shift that the WCS knows of."""
    return lambda x, y: shifted(*BASE)(*move(x, y))


def subtract(move, registration):
    """Power of the residuals at bright stars, the result and the task."""
    pair = misaligned_pair(move, known=BASE, psf=True)
    task = ImagePsfMatchTask(settings_from({"warp.registration": registration, "kernel.spatial_kernel_order": 1}))
    result = task.subtract_exposures(pair.template, pair.science)
    return residual_power(result.subtracted_exposure, pair), result, task


@pytest.fixture(scope="module")
def aligned():
    """What is left where the WCS is right."""
    power, result, task = subtract(shifted(*BASE), "wcs")
    assert power < 1.2
    # Always told, also where nobody asked.
    assert result.summary["n_registration_stars"] > 60
    assert task.metadata["registrationStarRms"] < 0.15
    assert task.metadata["registrationMethod"] == "wcs"
    return power


MOVES = {
    "0.3 px": shifted(0.3, 0.0),
    "5 px": shifted(4.0, -3.0),
    "0.02 deg and scale 1e-4": turned(0.02, 1.0001),
    "quadratic": curved,
}


@pytest.mark.parametrize("error", MOVES)
def test_no_dipoles_are_left(error, aligned):
    power, result, task = subtract(composed(MOVES[error]), "stars")
    # The stars fall on other fractions of pixels, and the stamps on other noise.
    assert power == pytest.approx(aligned, rel=0.03)
    assert task.metadata["registrationMethod"] == "wcs+stars"
    offset = result.summary["registration_star_offset"]
    assert max(map(abs, offset)) < 0.01
    assert task.metadata["nRegistrationStarsBefore"] > 60


def test_a_wcs_that_is_5_px_wrong_leaves_dipoles_unless_stars_correct_it(aligned):
    wrong, result, _ = subtract(composed(shifted(5.0, 0.0)), "wcs")
    assert wrong > 3 * aligned
    assert result.summary["registration_method"] == "wcs"
    power, result, _ = subtract(composed(shifted(5.0, 0.0)), "auto")
    assert power == pytest.approx(aligned, rel=0.03)
    assert result.summary["registration_note"].startswith("shift from ")
