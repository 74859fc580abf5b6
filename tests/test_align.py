"""What aligns two images, what the stars say of it, and when they have a say."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from made_alignments import curved, misaligned_pair, same, shifted, turned
from psfmatch_cli.align import align
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import BoxMismatchError, DifferentGridsError, RegistrationError, UsageError
from psfmatch_cli.pixel_map import AffineMap
from star_fields import noisy_exposure

BASE = (17.3, -8.6)


def composed(move):
    """A move and then the shift that the WCS knows of."""
    return lambda x, y: shifted(*BASE)(*move(x, y))


def run(pair, registration="auto", do_warping=True):
    return align(pair.template, pair.science, WarpConfig(registration=registration), do_warping)


def map_error(made, pair, inner=20):
    """Root mean square distance of the map from the truth over the image, pixels."""
    y, x = (v.ravel() for v in np.mgrid[inner : pair.science.shape[0] - inner : 20, inner:480:20])
    found = (made.pixel_map or AffineMap.identity())(x, y)
    return float(np.sqrt(np.mean(np.sum((np.array(found) - pair.move(x, y)) ** 2, axis=0))))


ERRORS = {
    "0.3 px": shifted(0.3, 0.0),
    "5 px": shifted(4.0, -3.0),
    "40 px": shifted(-31.0, 25.0),
    "0.02 deg": turned(0.02),
    "0.3 deg": turned(0.3),
    "scale 1e-4": turned(0.0, 1.0001),
    "quadratic": curved,
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("with_wcs", [True, False])
def test_stars_correct_what_the_wcs_has_wrong(error, with_wcs):
    """Without a WCS, the same from equal pixels."""
    move = composed(ERRORS[error]) if with_wcs else ERRORS[error]
    pair = misaligned_pair(move, known=BASE if with_wcs else None)
    made = run(pair, "stars")
    assert made.method == ("wcs+stars" if with_wcs else "pixels+stars")
    # A hundred stars of centroid errors of 0.003 to 0.06 px.
    assert map_error(made, pair) < 0.02
    assert made.offsets.distance < 0.02
    assert made.offsets.rms < 1.3 * made.offsets.noise + 0.01
    assert made.offsets.n > 60


def test_bright_stars_are_left_with_less_than_a_fiftieth_of_a_pixel():
    pair = misaligned_pair(composed(turned(0.02, 1.0001, (3.0, 4.0))), known=BASE, snr=(700, 5000), n_stars=80)
    made = run(pair, "stars")
    assert made.offsets.rms < 0.02
    assert made.first_offsets.distance > 4.0


@pytest.mark.parametrize(
    ("error", "refined"),
    [("5 px", True), ("40 px", True), ("0.3 deg", True), ("0.02 deg", False), ("scale 1e-4", False)],
)
def test_auto_listens_to_stars_that_clearly_contradict(error, refined):
    pair = misaligned_pair(composed(ERRORS[error]), known=BASE)
    made = run(pair)
    assert (made.method == "wcs+stars") == refined
    assert made.note.startswith("kept: ") != refined
    assert map_error(made, pair) < (0.02 if refined else 0.1)


def test_a_right_wcs_is_kept_and_what_stars_say_is_told(caplog):
    pair = misaligned_pair(shifted(*BASE), known=BASE)
    with caplog.at_level(logging.INFO, logger="psfmatch_cli"):
        made = run(pair)
    assert made.method == "wcs"
    assert made.offsets == made.first_offsets
    assert made.offsets.distance < 0.01
    assert "registration: stars of the template at (" in caplog.text
    assert "less than 0.300 px" in made.note
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    items = made.metadata()
    assert items["nRegistrationStars"] == made.offsets.n
    assert items["registrationStarOffsetX"] == made.offsets.dx
    assert items["registrationStarRms"] == made.offsets.rms
    assert made.summary()["registration_star_offset"] == [made.offsets.dx, made.offsets.dy]


def test_sign_of_the_offset_and_the_warning(caplog):
    """The template's stars lie 1.5 px to the right of where its WCS has them."""
    pair = misaligned_pair(composed(shifted(1.5, 0.0)), known=BASE)
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli"):
        made = run(pair, "wcs")
    assert made.method == "wcs"
    assert made.offsets.dx == pytest.approx(1.5, abs=0.01)
    assert "registration is wcs" in made.note
    assert "px from the science image's" in caplog.text
    assert "try --register stars" in caplog.text


def test_equal_pixels_stay_as_they_are():
    made = run(misaligned_pair(shifted(0.2, 0.1), known=None))
    assert made.pixel_map is None
    assert made.method == "pixels"
    assert made.offsets.dx == pytest.approx(0.2, abs=0.02)
    assert np.isnan(made.grids.max_offset)


def test_equal_pixels_that_are_not_aligned_are_aligned():
    pair = misaligned_pair(shifted(3.0, -2.0), known=None)
    made = run(pair)
    assert made.method == "pixels+stars"
    assert map_error(made, pair) < 0.02


def test_none_ignores_the_wcs(caplog):
    pair = misaligned_pair(same, known=(30.0, 0.0))
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli"):
        made = run(pair, "none")
    assert made.pixel_map is None
    assert made.offsets.distance < 0.02
    assert not caplog.records


def test_none_wants_equal_pixels():
    with pytest.raises(BoxMismatchError, match=r"not those of science \(\(500, 500\) from \(0, 0\)\)"):
        run(misaligned_pair(template_shape=(500, 520)), "none")


# -- when not to listen ------------------------------------------------------------------------------------------------


def test_a_nearly_empty_field_keeps_the_wcs():
    pair = misaligned_pair(composed(shifted(2.0, 0.0)), known=BASE, n_stars=4, snr=(500, 2000))
    made = run(pair)
    assert made.method == "wcs"
    assert made.note.startswith("kept: ")


def test_no_stars_keep_the_wcs_and_say_so():
    pair = misaligned_pair(shifted(*BASE), known=BASE, n_stars=0)
    made = run(pair)
    assert made.method == "wcs"
    assert made.offsets is None
    assert made.note == "kept: 0 stars of the template and 0 of the science image do not match, or too few do"
    assert made.metadata()["nRegistrationStars"] == 0
    assert np.isnan(made.metadata()["registrationStarRms"])
    assert made.summary()["registration_star_offset"] is None


def test_stars_of_another_field_do_not_change_the_wcs(caplog):
    pair = misaligned_pair(shifted(*BASE), known=BASE)
    other = misaligned_pair(shifted(*BASE), known=BASE, seed=99)
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli"):
        made = run(replace(pair, template=other.template))
    assert made.method == "wcs"
    assert made.offsets is None
    assert "do not coincide" in caplog.text
    assert "--register asterisms" in caplog.text


def test_a_crowded_field_is_not_misled():
    pair = misaligned_pair(composed(shifted(4.0, 1.0)), known=BASE, n_stars=2500, snr=(10, 1000))
    made = run(pair)
    assert made.method == "wcs+stars"
    assert map_error(made, pair) < 0.05
    unrelated = misaligned_pair(shifted(*BASE), known=BASE, n_stars=2500, snr=(10, 1000), seed=5)
    assert run(replace(pair, template=unrelated.template)).method == "wcs"


def test_hot_pixels_that_all_images_of_a_camera_share_do_not_align_them():
    """They lie at offset 0, the stars do not."""
    pair = misaligned_pair(shifted(6.0, 4.0), known=None)
    rows, columns = np.random.default_rng(3).integers(10, 490, (2, 300))
    made = []
    for exposure in (pair.template, pair.science):
        image = exposure.image.copy()
        image[rows, columns] += 2000.0
        made.append(exposure.with_pixels(replace(exposure.masked_image, image=image)))
    aligned = run(replace(pair, template=made[0], science=made[1]))
    assert aligned.method == "pixels+stars"
    assert map_error(aligned, pair) < 0.05


def test_stars_that_are_wanted_and_missing_are_an_error():
    pair = misaligned_pair(shifted(*BASE), known=BASE, n_stars=0)
    with pytest.raises(
        RegistrationError, match=r"registration by stars: 0 stars of the template and 0 .* --register wcs"
    ):
        run(pair, "stars")


def test_a_larger_template_is_searched_where_it_is_needed():
    pair = misaligned_pair(composed(shifted(2.0, -3.0)), known=BASE, template_shape=(900, 1100))
    # The template's pixels begin at the same corner; its WCS knows only the shift.
    made = run(pair)
    assert made.method == "wcs+stars"
    assert map_error(made, pair) < 0.02


# -- without resampling ------------------------------------------------------------------------------------------------


def test_without_warping_stars_only_tell():
    made = run(misaligned_pair(shifted(4.0, 0.0), known=None), do_warping=False)
    assert made.pixel_map is None
    assert made.offsets.dx == pytest.approx(4.0, abs=0.02)
    assert "warping is off" in made.note


@pytest.mark.parametrize("registration", ["stars", "asterisms"])
def test_without_warping_stars_cannot_be_asked_for(registration):
    with pytest.raises(UsageError, match=f"registration by {registration} resamples the template, and warping is off"):
        run(misaligned_pair(known=None), registration, do_warping=False)


def test_without_warping_other_grids_are_an_error():
    with pytest.raises(DifferentGridsError, match="warping is off"):
        run(misaligned_pair(shifted(*BASE), known=BASE), do_warping=False)


def test_inputs_are_not_changed():
    pair = misaligned_pair(shifted(3.0, 1.0), known=None)
    before = pair.template.image.copy(), pair.science.image.copy()
    run(pair)
    np.testing.assert_array_equal(pair.template.image, before[0])
    np.testing.assert_array_equal(pair.science.image, before[1])


def test_noise_alone():
    empty = noisy_exposure(np.zeros((300, 300)), np.random.default_rng(1))
    assert align(empty, empty, WarpConfig()).offsets is None
