"""A trial from the pair to its numbers, on simulated images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from psfmatch_cli.config import DetectionConfig, FakesConfig, SubtractionConfig
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES
from psfmatch_cli.fakes.inject import point_sources
from psfmatch_cli.fakes.place import AWAY_FWHM, draw_places, is_lit
from psfmatch_cli.fakes.plot import trial_svg
from psfmatch_cli.fakes.trial import counts_scale, run_trial
from psfmatch_cli.forced import forced_fluxes
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import Settings
from psfmatch_cli.simulate import preset, simulate_pair

FAKES = FakesConfig(density=250, separation=4, min_snr=4, seed=3)


@pytest.fixture(scope="module")
def made_pair():
    few = {"n_stars": 70, "faintest_snr": 20, "n_galaxies": 25, "n_transients": 0, "psf_variation": 0}
    return simulate_pair(preset("demo", width=400, height=400, seed=2, xy0=(700, 30), **few))


def trial_of(pair):
    kernel = {"spatial_kernel_order": 0, "spatial_bg_order": 1}
    settings = Settings(subtraction=SubtractionConfig(decorrelate=True), fakes=FAKES, kernel=kernel)
    seen = []

    def subtraction(template, science, **given):
        seen.append((science, given, ImagePsfMatchTask(settings).subtract_exposures(template, science, **given)))
        return seen[-1][2]

    return run_trial(pair.template, pair.science, subtraction, settings), seen


@pytest.fixture(scope="module")
def trial(made_pair):
    return trial_of(made_pair)


def test_the_sources_that_were_put_in_come_back(trial):
    fakes = trial[0].fakes
    assert len(fakes) == 40
    bright = np.asarray(fakes["snr"]) > 8
    assert np.asarray(fakes["found"])[bright].mean() > 0.95
    pulls = np.asarray((fakes["forced_flux"] - fakes["flux"]) / fakes["forced_flux_err"])
    # Width of 40 values to 11 %, and the PSF is known to a few per cent from 90 stars.
    assert 0.75 < pulls.std() < 1.5
    assert abs(trial[0].summary["all"]["flux_bias"]) < 0.03


def test_the_true_ratio_is_the_flux_over_the_error_at_the_place(trial):
    made, (_, (_, _, second)) = trial
    fakes = made.fakes
    difference = second.subtracted_exposure
    forced = forced_fluxes(difference, difference.psf, np.asarray(fakes["x"]), np.asarray(fakes["y"]))
    np.testing.assert_allclose(fakes["snr"], fakes["flux"] / forced.flux_err)
    # The range that was asked for, up to what the fluxes were drawn without: the noise in the variance plane.
    assert 3.6 < fakes["snr"].min() < 5
    assert 80 < fakes["snr"].max() < 110


def test_the_second_subtraction_keeps_what_the_first_found(trial):
    (_, given, first), (science, held, second) = trial[1]
    assert given == {}
    assert held["science_fwhm_pix"] == first.summary["science_fwhm"] == second.summary["science_fwhm"]
    assert len(second.kernel_cell_set.table) <= len(first.kernel_cell_set.table)
    marked, before = (image.masked_image for image in (science, first.subtracted_exposure))
    for name in DETECTED_PLANES:
        assert not (before.flagged([name]) & ~marked.flagged([name])).any()
    left = held["candidate_list"]
    x, y = (np.asarray(trial[0].fakes[axis]) for axis in "xy")
    for row in left:
        assert not ((x > row["box_x0"]) & (x < row["box_x1"]) & (y > row["box_y0"]) & (y < row["box_y1"])).any()
    assert 10 < len(left) < len(first.kernel_cell_set.table)


def test_nothing_but_the_light_was_added(trial, made_pair):
    (before, _, _), (science, _, _) = trial[1]
    assert before is made_pair.science
    fakes = trial[0].fakes
    from psfmatch_cli.whitened import psf_model_of

    light = point_sources(before, psf_model_of(before), *(np.asarray(fakes[n]) for n in ("x", "y", "flux_science")))
    known = ~before.masked_image.flagged(["NO_DATA", "SAT"]) & ~science.masked_image.flagged(["SAT"])
    noise = (science.image - before.image - light)[known] / np.sqrt(np.maximum(light[known], 1) / 2.0)
    lit = light[known] > 20
    # Photons of gain 2: a unit Gaussian, some hundreds of pixels.
    assert noise[lit].std() == pytest.approx(1.0, abs=0.1)
    assert trial[0].summary["gain"] == 2.0


@pytest.mark.parametrize(
    ("normalize", "convolved", "scale"),
    [("science", "template", 1.0), ("template", "template", 0.8), ("template", "science", 1.25)],
)
def test_counts_of_the_difference_are_those_of_its_scale(trial, normalize, convolved, scale):
    result = trial[1][0][2]
    kernel = SimpleNamespace(center_sum=1.25)
    made = replace(result, psf_matching_kernel=kernel, convolved=convolved, summary={"normalize": normalize})
    assert counts_scale(made) == pytest.approx(scale)


def test_the_plot_is_a_picture_of_the_trial(trial):
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(trial_svg(trial[0]))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Efficiency", "Purity", "Fluxes of detections", "Pulls of fluxes"} <= texts
    n_dots = sum(1 for _ in root.iter("{http://www.w3.org/2000/svg}circle"))
    assert n_dots > np.asarray(trial[0].fakes["found"]).sum()


def places_of(difference, science, occupied=(), stamps=(), **changes):
    config = FAKES.model_copy(update=changes)
    rng = np.random.default_rng(1)
    known = np.array(occupied).reshape(-1, 2)
    return draw_places(difference, science, known, np.array(stamps).reshape(-1, 4), config, DetectionConfig(), rng)


def test_places_keep_their_distances(trial, made_pair):
    difference, science = trial[1][0][2].subtracted_exposure, made_pair.science
    star = np.array([[900.0, 230.0]])
    places = places_of(difference, science, star)
    x, y = places.x, places.y
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    assert apart.min() >= FAKES.separation * difference.psf.fwhm
    assert np.hypot(x - 900, y - 230).min() >= AWAY_FWHM * difference.psf.fwhm
    column, row = (np.floor(v + 0.5).astype(int) for v in (x - 700, y - 30))
    masked = difference.masked_image
    assert not masked.flagged(["SAT", "BAD", "CR", "NO_DATA"])[row, column].any()
    assert not masked.flagged(["DETECTED"])[row, column][~places.on_galaxy].any()
    galaxies = made_pair.galaxies
    near = [np.hypot(galaxies["x"] - px, galaxies["y"] - py).min() for px, py in zip(x, y, strict=True)]
    assert np.median(np.array(near)[places.on_galaxy]) < 8 < np.median(np.array(near)[~places.on_galaxy])


def test_stamps_are_left_free_while_there_is_room(trial, made_pair):
    difference, science = trial[1][0][2].subtracted_exposure, made_pair.science
    boxes = np.array([[700, 30, 899, 429]])
    half = places_of(difference, science, stamps=boxes, density=40, separation=10, on_galaxies=0)
    assert (half.x > 899).all()
    assert not is_lit(boxes, np.column_stack([half.x, half.y])).any()
    whole = places_of(difference, science, stamps=boxes, density=400, separation=10, on_galaxies=0)
    assert is_lit(boxes, np.column_stack([whole.x, whole.y])).all()
    assert (whole.x > 899).sum() >= len(half.x)


def test_parts_on_galaxies_are_obeyed(trial, made_pair):
    difference, science = trial[1][0][2].subtracted_exposure, made_pair.science
    assert not places_of(difference, science, on_galaxies=0).on_galaxy.any()
    assert places_of(difference, science, on_galaxies=0.2).on_galaxy.sum() == 8
    assert places_of(difference, science, density=100).on_galaxy.sum() == 5


def test_no_clear_place_is_an_error(trial, made_pair):
    difference = trial[1][0][2].subtracted_exposure
    masked = difference.masked_image
    full = replace(masked, mask=masked.mask | np.int32(masked.bits(["BAD"])))
    with pytest.raises(InputError, match="no clear place"):
        places_of(difference.with_pixels(full), made_pair.science)
