"""The loop over the candidates: what it recovers, whom it rejects and why, and who takes their places."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from made_pairs import MadePair, gaussian_stars, known_kernel, make_pair, plane, small_basis, star_grid
from made_pools import pool_of
from psfmatch_cli.errors import NoCandidatesError
from psfmatch_cli.match import MatchResult, match

SHAPE = (256, 256)
STARS = star_grid(SHAPE)
#: Row of a star far from the border, and its pixel.
ODD = 14


@pytest.fixture(scope="module")
def clean() -> MadePair:
    """Constant kernel, tilted background, noise 5 in the science image."""
    return make_pair(known_kernel(0, SHAPE), STARS, background=plane(SHAPE, [40.0, 3.0, -2.0]), noise=5.0)


def changed(pair: MadePair, dy: int, dx: int, values, star: int = ODD) -> MadePair:
    """The pair with something added to the science image, beside one of its stars."""
    image, values = pair.science.image.copy(), np.atleast_2d(values)
    y, x = (int(np.floor(pair.sources[k][star] + 0.5)) for k in "yx")
    image[y + dy : y + dy + values.shape[0], x + dx : x + dx + values.shape[1]] += values
    return replace(pair, science=pair.science.with_pixels(replace(pair.science.masked_image, image=image)))


def changed_star(pair: MadePair, factor: float = 1.0, shift: float = 0.0, star: int = ODD) -> MadePair:
    """The pair with one science star of another flux, or displaced."""
    x, y, flux = (float(pair.sources[k][star]) for k in ("x", "y", "flux"))
    # Of the science image's width, roughly: what is added to it is made from its own pixels.
    new = gaussian_stars(SHAPE, x + shift, y, 1.25 * flux * factor, 2.1)
    old = gaussian_stars(SHAPE, x, y, 1.25 * flux, 2.1)
    image = (pair.science.image + new - old).astype(np.float32)
    return replace(pair, science=pair.science.with_pixels(replace(pair.science.masked_image, image=image)))


def fates(result: MatchResult) -> dict[int, tuple[str, str]]:
    """Status and reason of those that were rejected."""
    table = result.candidates.table
    return {k: (str(table["status"][k]), str(table["reason"][k])) for k in np.flatnonzero(table["reason"] != "")}


#: Without noise a star made with the kernel of every pixel differs from one made with a single kernel.
NO_CLIPPING = {"single_kernel_clipping": False, "kernel_sum_clipping": False, "spatial_kernel_clipping": False}


@pytest.mark.parametrize(("order", "tolerance"), [(0, 1e-4), (1, 3e-3), (2, 1.2e-2)])
def test_a_kernel_put_in_comes_back(order, tolerance):
    truth = known_kernel(order, SHAPE)
    pair = make_pair(truth, STARS, background=plane(SHAPE, [40.0]))
    result = match(pool_of(pair, **NO_CLIPPING, n_star_per_cell=0), order, 0)
    places = [(30, 30), (128, 128), (200, 60), (225, 225)]
    for place in places:
        # Order 0: images are stored as float32, and the condition number is 2e6. Else: a stamp has one kernel, but the
        # science image has that of every pixel; over the width of a star it changes by a tenth of its range.
        np.testing.assert_allclose(result.kernel.image(*place), truth.image(*place), atol=tolerance)
    spread = max(abs(truth.image(*place) - truth.image(*places[1])).max() for place in places)
    assert spread > 8 * tolerance or order == 0, "what comes back is the variation, not only its mean"
    assert result.kernel.center_sum == pytest.approx(1.25, abs=tolerance)
    assert result.background.coefficients[0] == pytest.approx(40.0, abs=0.1)


def test_a_kernel_comes_back_from_noise(clean):
    result = match(pool_of(clean), 0, 1)
    error = result.candidates.table["kernel_sum_err"]
    assert result.converged
    assert fates(result) == {}
    assert result.n_used == np.count_nonzero(result.candidates.table["status"] == "used")
    # The sums of all candidates together are at least as good as the best alone.
    assert result.kernel.center_sum == pytest.approx(1.25, abs=4 * np.nanmin(error))
    # Noise of 5 on 27 stamps of 289 pixels, and the kernel sum's share of the template's level of zero.
    np.testing.assert_allclose(result.background.coefficients, [40.0, 3.0, -2.0], atol=0.5)
    # Half a per cent of its peak for the kernel's own pixels.
    expected = clean.kernel.image(0, 0)
    np.testing.assert_allclose(result.kernel.image(128, 128), expected, atol=0.005 * expected.max())


def test_a_noisy_template_does_not_smooth_the_kernel():
    truth, stars = known_kernel(0, SHAPE), star_grid(SHAPE, flux=(4e3, 8e3))
    found = {True: [], False: []}
    for seed in range(8):
        pair = make_pair(truth, stars, noise=10.0, template_noise=10.0, seed=seed)
        for correct, kernels in found.items():
            pool = pool_of(pair, correct_noise_bias=correct, n_star_per_cell=0, **NO_CLIPPING)
            kernels.append(match(pool, 0, 0).kernel.image(0, 0))
    corrected, plain = (np.mean(found[correct], axis=0) - truth.image(0, 0) for correct in (True, False))
    peak = np.unravel_index(np.argmax(truth.image(0, 0)), corrected.shape)
    # The errors of the means of eight: 0.004 of the sum, 0.003 at the peak; uncorrected, that is 10 % too low.
    assert abs(corrected.sum()) < 0.014
    assert abs(corrected[peak]) < 0.01
    assert plain.sum() < -0.02
    assert plain[peak] < -0.04


def test_residuals_are_those_of_noise(clean):
    table = match(pool_of(clean), 0, 1).candidates.table
    used = table["status"] == "used"
    # 289 pixels each: 4 % in the rms of one, 1 % in their mean; the own fits absorb 10 of 289.
    assert np.mean(table["own_rms"][used]) == pytest.approx(np.sqrt(279 / 289), abs=0.03)
    assert np.mean(table["spatial_rms"][used]) == pytest.approx(1.0, abs=0.03)
    assert np.mean(table["chi2"][used]) == pytest.approx(1.0, abs=0.06)
    assert np.isnan(table["own_rms"][table["status"] == "unused"]).all()


def test_the_sky_levels_come_back_as_background():
    pair = make_pair(known_kernel(0, SHAPE), STARS, background=plane(SHAPE, [3000.0]), noise=5.0)
    template = replace(pair.template.masked_image, image=pair.template.image + np.float32(2000.0))
    pair = replace(pair, template=pair.template.with_pixels(template))
    result = match(pool_of(pair, levels=(2000.0, 5490.0)), 0, 0)
    # science = K * (template - 2000) + 3000: the background is 3000 less the convolved level.
    error = np.nanmin(result.candidates.table["kernel_sum_err"])
    assert result.background.coefficients[0] == pytest.approx(3000 - 2000 * result.kernel.center_sum, abs=0.5)
    assert result.kernel.center_sum == pytest.approx(1.25, abs=4 * error)
    used = result.candidates.table["status"] == "used"
    own = result.candidates.table["background"] + 2000 * result.candidates.table["kernel_sum"]
    # 289 pixels of noise 5, mostly sky.
    np.testing.assert_allclose(own[used], 3000.0, atol=2.0)


def test_a_cosmic_ray_is_rejected_by_its_own_fit(clean):
    pair = changed(clean, 3, -2, [[300.0, 250.0], [280.0, 0.0]])
    result = match(pool_of(pair, n_star_per_cell=0), 0, 1)
    assert fates(result) == {ODD: ("rejected", "single-fit")}
    assert result.n_rejected == 1


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_a_variable_star_is_rejected_by_its_kernel_sum(clean, factor):
    image = clean.science.image.copy()
    y, x = (int(np.floor(STARS[k][ODD] + 0.5)) for k in "yx")
    stamp = np.s_[y - 15 : y + 16, x - 15 : x + 16]
    sky = clean.background.image(clean.science.box)[stamp]
    image[stamp] = sky + factor * (image[stamp] - sky)
    pair = replace(clean, science=clean.science.with_pixels(replace(clean.science.masked_image, image=image)))
    result = match(pool_of(pair, n_star_per_cell=0), 0, 1)
    assert fates(result) == {ODD: ("rejected", "kernel-sum")}
    assert result.candidates.table["kernel_sum"][ODD] == pytest.approx(1.25 * factor, rel=0.02)


def test_a_displaced_star_is_rejected_by_the_spatial_model(clean):
    # Its own kernel follows the displacement, with the same sum; the common kernel does not.
    result = match(pool_of(changed_star(clean, shift=0.4), n_star_per_cell=0), 0, 1)
    assert fates(result) == {ODD: ("rejected", "spatial-fit")}
    assert result.n_iterations == 2
    assert result.converged


def test_a_candidate_with_fewer_pixels_than_parameters_is_singular(clean):
    mask = clean.science.mask.copy()
    y, x = (int(np.floor(STARS[k][ODD] + 0.5)) for k in "yx")
    bad = np.int32(clean.science.masked_image.bits(["BAD"]))
    mask[y - 15 : y + 16, x - 15 : x + 16] |= bad
    mask[y - 8 : y + 9, x - 8 : x + 9] &= ~bad
    # Of the template, whose bad pixels take their kernel square with them: 3 x 3 pixels are left for 10 parameters.
    template = clean.template.with_pixels(replace(clean.template.masked_image, mask=mask))
    result = match(pool_of(replace(clean, template=template), core_radius=1, n_star_per_cell=0), 0, 1)
    assert fates(result) == {ODD: ("rejected", "singular")}


def test_limits_can_be_switched_off(clean):
    pair = changed(clean, 3, -2, [[300.0, 250.0], [280.0, 0.0]])
    result = match(pool_of(pair, n_star_per_cell=0, **NO_CLIPPING), 0, 1)
    assert fates(result) == {}
    assert result.n_used == len(STARS)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_best_of_each_cell_are_used(clean, limit):
    result = match(pool_of(clean, n_star_per_cell=limit), 0, 1)
    table = result.candidates.table
    expected = np.where((table["rank"] >= 0) & (table["rank"] < limit), "used", "unused")
    np.testing.assert_array_equal(table["status"], expected)


def test_the_next_of_the_cell_takes_the_place_of_a_rejected_one(clean):
    pool = pool_of(clean, n_star_per_cell=1)
    table = pool.candidates.table
    first = int(np.flatnonzero((table["rank"] == 0) & (table["cell_x"] == 1) & (table["cell_y"] == 0))[0])
    second = int(np.flatnonzero((table["rank"] == 1) & (table["cell_x"] == 1) & (table["cell_y"] == 0))[0])
    result = match(pool_of(changed(clean, 3, -2, [[500.0, 400.0]], star=first), n_star_per_cell=1), 0, 1)
    status = result.candidates.table["status"]
    assert (status[first], status[second]) == ("rejected", "used")
    assert result.n_used == 4


def test_a_faint_star_is_not_rejected_for_the_error_of_its_sum():
    stars = star_grid(SHAPE, flux=(4e5, 5e5))
    stars["flux"][ODD] = 4e3
    pair = make_pair(known_kernel(0, SHAPE), stars, noise=5.0, seed=8)
    spared = match(pool_of(pair, n_star_per_cell=0), 0, 1)
    assert fates(spared) == {}
    rejected = match(pool_of(pair, n_star_per_cell=0, kernel_sum_errors=False), 0, 1)
    # Bright stars scatter by 1e-3, the faint one by tens of times that.
    assert fates(rejected)[ODD] == ("rejected", "kernel-sum")


def test_two_sums_are_never_clipped():
    pair = make_pair(known_kernel(0, SHAPE), STARS, noise=5.0)
    result = match(pool_of(pair, rows=[10, 14], kernel_sum_errors=False), 0, 0)
    assert result.n_used == 2


def test_one_candidate_is_enough_for_a_constant_kernel(clean):
    result = match(pool_of(clean, rows=[ODD]), 0, 0)
    assert result.n_used == 1
    error = result.candidates.table["kernel_sum_err"][0]
    assert result.kernel.center_sum == pytest.approx(1.25, abs=4 * error)


def test_nobody_left_is_an_error_with_counts(clean):
    # Residuals of noise have an rms of 1.
    with pytest.raises(NoCandidatesError, match=r"all 25 kernel candidates were rejected \(25 single-fit\)") as caught:
        match(pool_of(clean, candidate_residual_std_max=0.5), 0, 1)
    assert caught.value.counts["single-fit"] == 25
    assert caught.value.exit_code == 3


def test_stars_that_agree_on_nothing_are_an_error(clean):
    rng, pair = np.random.default_rng(1), clean
    for star in range(len(STARS)):
        pair = changed_star(pair, factor=np.exp(rng.normal()), star=star)
    # Every star has a kernel sum of its own, from a quarter to four times the others'.
    with pytest.raises(NoCandidatesError, match=r"only \d of 25 kernel candidates agree on a kernel \(") as caught:
        match(pool_of(pair, n_star_per_cell=0), 0, None)
    assert caught.value.counts["kernel-sum"] > 0


def test_a_minority_that_agrees_is_a_warning(clean, caplog):
    rng, pair = np.random.default_rng(1), clean
    for star in range(14):
        # Displaced on either side, each by another amount: no second group agrees on another kernel.
        pair = changed_star(pair, shift=rng.choice([-1, 1]) * rng.uniform(0.4, 2.0), star=star)
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli.match"):
        result = match(pool_of(pair, n_star_per_cell=0), 0, None)
    assert result.n_used <= 11
    assert f"only {result.n_used} of 25 kernel candidates agree on the kernel" in caplog.text


def test_the_loop_ends_after_its_rounds(clean):
    pair = changed_star(clean, shift=0.4)
    result = match(pool_of(pair, n_star_per_cell=0, max_spatial_iterations=1), 0, 1)
    assert (result.n_iterations, result.converged) == (1, False)
    assert fates(result) == {ODD: ("rejected", "spatial-fit")}
    # The final fit is without the star rejected in the last round.
    assert result.n_used == len(STARS) - 1


def test_own_constants_keep_a_curved_background_out_of_the_kernel():
    # Curved by 15 counts, three times the noise: no plane through the candidates fits it.
    background = plane(SHAPE, [40.0, 6.0, -5.0, 6.0, 3.0, -4.0])
    pair = make_pair(known_kernel(0, SHAPE), STARS, background=background, noise=5.0)
    result = match(pool_of(pair, n_star_per_cell=0), 0, None)
    assert fates(result) == {}
    assert result.kernel.center_sum == pytest.approx(1.25, abs=0.005)
    # What is returned is the plane through the candidates; the sky of the difference has the rest.
    assert result.background.spatial.order == 1
    np.testing.assert_allclose(result.background.coefficients, [40.0, 6.0, -5.0], atol=4.0)
    assert match(pool_of(pair, n_star_per_cell=0), 0, 1).n_used < result.n_used


def test_own_constants_agree_with_a_model_that_holds(clean):
    own, model = match(pool_of(clean), 0, None), match(pool_of(clean), 0, 1)
    error = np.nanmin(own.candidates.table["kernel_sum_err"])
    assert own.kernel.center_sum == pytest.approx(model.kernel.center_sum, abs=2 * error)
    # The constants of 25 stamps of 289 pixels: half a count each, a tenth on average.
    np.testing.assert_allclose(own.background.coefficients, model.background.coefficients, atol=0.5)


def test_few_candidates_have_a_constant_background(clean):
    assert match(pool_of(clean, rows=slice(8), n_star_per_cell=0), 0, None).background.spatial.order == 0
    assert match(pool_of(clean, rows=slice(9), n_star_per_cell=0), 0, None).background.spatial.order == 1


def test_without_a_background_none_is_fitted():
    pair = make_pair(known_kernel(0, SHAPE), STARS, noise=5.0)
    result = match(pool_of(pair, fit_for_background=False), 0, None)
    assert result.background(100.0, 100.0) == 0.0
    assert "background" not in result.candidates.table.colnames
    assert len(result.solution.parameters) == len(small_basis())


def test_the_origin_of_the_images_does_not_matter():
    found = []
    for xy0 in [(0, 0), (0, 1500), (-3000, 40000)]:
        stars = STARS.copy()
        stars["x"], stars["y"] = STARS["x"] + xy0[0], STARS["y"] + xy0[1]
        pair = make_pair(known_kernel(1, SHAPE, xy0=xy0), stars, noise=5.0, xy0=xy0)
        found.append(match(pool_of(pair), 1, 1))
    for other in found[1:]:
        # Positions of 4e4 pixels hold 11 decimals, and the images are equal but for the rounding of float32.
        np.testing.assert_allclose(other.solution.parameters, found[0].solution.parameters, atol=1e-4)
        np.testing.assert_array_equal(other.candidates.table["status"], found[0].candidates.table["status"])


def test_chebyshev_and_plain_polynomials_agree():
    pair = make_pair(known_kernel(1, SHAPE), STARS, noise=5.0)
    first, second = (match(pool_of(pair, spatial_model_type=kind), 1, 0) for kind in ("chebyshev1", "polynomial"))
    # The first coefficient has no spatial terms; powers of 256 pixels cost half the digits.
    assert first.solution.parameters[0] == pytest.approx(second.solution.parameters[0], abs=1e-8)
    np.testing.assert_allclose(first.kernel.image(9.0, 200.0), second.kernel.image(9.0, 200.0), atol=1e-7)
    assert first.background.coefficients[0] == pytest.approx(second.background.coefficients[0], abs=1e-5)


def test_a_good_match_warns_of_nothing(clean, caplog):
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.match"):
        result = match(pool_of(clean), 0, 1)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"kernel: {result.n_used} candidates used, 0 rejected, kernel sum 1.2" in caplog.text


def test_the_images_are_unchanged(clean):
    before = [array.copy() for e in (clean.template, clean.science) for array in (e.image, e.mask, e.variance)]
    match(pool_of(clean), 1, 1)
    after = [array for e in (clean.template, clean.science) for array in (e.image, e.mask, e.variance)]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
