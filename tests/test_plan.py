"""The direction of the convolution, and what a plan settles before the final fit."""

import logging

import numpy as np
import pytest

from made_pairs import MadePair, gaussian_pair, known_kernel, make_pair, plane, star_grid
from psfmatch_cli.basis import NEARLY_EQUAL, BasisSpec
from psfmatch_cli.candidates import CandidateSet, select_candidates
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.plan import Direction, Plan, better, directions, make_plan, sky_level, worth_more
from psfmatch_cli.settings import Settings

SHAPE = (256, 256)
SPEC = BasisSpec(15, (1.0, 2.0), (2, 1))


@pytest.fixture(scope="module")
def pair() -> MadePair:
    background = plane(SHAPE, [40.0])
    return make_pair(known_kernel(0, SHAPE), star_grid(SHAPE), background=background, noise=5.0)


def chosen(pair: MadePair, settings: Settings, n: int | None = None) -> CandidateSet:
    return select_candidates(
        pair.sources[:n],
        pair.template,
        pair.science,
        settings.candidates,
        settings.kernel,
        kernel_size=SPEC.size,
        n_parameters=SPEC.n_functions + 1,
    )


def planned(pair: MadePair, forward: bool = True, n: int | None = None, spec: BasisSpec = SPEC, **kernel) -> Plan:
    settings = Settings(kernel=KernelConfig(**kernel))
    candidates = chosen(pair, settings, n)
    return make_plan(Direction(forward, "a test"), spec, candidates, pair.template, pair.science, settings)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_caller_may_decide_the_direction(wanted):
    (only,) = directions(2.0, 3.0, wanted)
    assert (only.convolve_template, only.reason) == (wanted, "as asked for")


@pytest.mark.parametrize(
    ("template", "science", "forward"), [(2.0, 3.0, True), (3.0, 2.0, False), (3.0, 3.0 * (1.01 + NEARLY_EQUAL), True)]
)
def test_the_sharper_image_is_convolved(template, science, forward):
    (only,) = directions(template, science, None)
    assert only.convolve_template == forward
    assert only.convolved == ("template" if forward else "science")
    assert only.reason == f"template FWHM {template:.2f} px, science {science:.2f} px"


@pytest.mark.parametrize("science", [3.0, 3.0 * (1 + 0.9 * NEARLY_EQUAL), 3.0 * (1 - 0.9 * NEARLY_EQUAL)])
def test_of_nearly_equal_widths_both_directions_are_tried(science):
    made = directions(3.0, science, None)
    assert [d.convolve_template for d in made] == [True, False]
    assert all("nearly equal" in d.reason for d in made)


@pytest.mark.parametrize(("template", "science"), [(None, 3.0), (3.0, None), (None, None)])
def test_of_unknown_widths_both_directions_are_tried(template, science):
    made = directions(template, science, None)
    assert [d.convolve_template for d in made] == [True, False]
    assert all(d.reason == "the FWHMs are not known" for d in made)


def test_given_orders_are_kept(pair):
    plan = planned(pair, spatial_kernel_order=2, spatial_bg_order=0)
    assert (plan.kernel_order, plan.background_order) == (2, 0)
    assert list(plan.order_choice.scores) == [2], "its scores are there to compare bases and directions"


def test_an_open_order_is_chosen_and_told(pair, caplog):
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.plan"):
        plan = planned(pair)
    assert plan.kernel_order == plan.order_choice.order
    assert "template convolved" in caplog.text
    assert f"order {plan.kernel_order} from {plan.order_choice.n_candidates} candidates" in caplog.text


#: The sky levels differ, so that no candidate is fitted well without a background.
NO_BACKGROUND = {"fit_for_background": False, "single_kernel_clipping": False, "kernel_sum_clipping": False}


def test_the_background_is_left_to_the_candidates_unless_an_order_is_given(pair):
    assert planned(pair, spatial_kernel_order=0).background_order is None
    assert planned(pair, spatial_kernel_order=0, spatial_bg_order=2).background_order == 2
    off = planned(pair, **NO_BACKGROUND, spatial_kernel_order=0, spatial_bg_order=2)
    assert off.background_order is None


def test_sky_levels_are_taken_off_only_with_a_background(pair):
    template, science = planned(pair).pool.levels
    # The median of every 49th pixel, of noise 2.5 and 5, and some star light.
    assert template == pytest.approx(0.0, abs=2.0)
    assert science == pytest.approx(40.0, abs=3.0)
    assert planned(pair, **NO_BACKGROUND, spatial_kernel_order=0).pool.levels == (0.0, 0.0)
    assert planned(pair, forward=False).pool.levels == (science, template)


def test_a_plan_leaves_the_candidates_to_their_owner(pair):
    settings = Settings()
    candidates = chosen(pair, settings)
    before = candidates.table.copy()
    make_plan(Direction(True, "a test"), SPEC, candidates, pair.template, pair.science, settings)
    assert candidates.table.colnames == before.colnames
    assert (candidates.table["status"] == before["status"]).all()


def test_the_better_of_two_directions_leaves_smaller_residuals():
    template, science, stars = gaussian_pair((2.0, 3.2), (0.5, 0.5), flux=(2e4, 9e4), n_stars=20, xy0=(0, 0))
    pair = MadePair(template, science, stars, known_kernel(0, SHAPE), plane(SHAPE, [0.0]), 0.5)
    forward, backward = planned(pair), planned(pair, forward=False)
    # Widening a PSF works, sharpening it by half does not.
    assert better(forward, backward) is forward
    assert better(backward, forward) is forward


def test_plans_with_given_orders_are_compared_like_others():
    template, science, stars = gaussian_pair((2.0, 3.2), (0.5, 0.5), flux=(2e4, 9e4), n_stars=20, xy0=(0, 0))
    pair = MadePair(template, science, stars, known_kernel(0, SHAPE), plane(SHAPE, [0.0]), 0.5)
    forward, backward = (planned(pair, forward=way, spatial_kernel_order=0) for way in (True, False))
    assert better(backward, forward) is forward


def test_a_richer_basis_is_worth_trying_where_bright_stars_show_more_than_noise(pair):
    # One round Gaussian cannot make a lopsided kernel; the limits of residuals grow with what is usual.
    plain = planned(pair, spec=BasisSpec(15, (1.0,), (0,)), single_kernel_clipping=False, kernel_sum_clipping=False)
    exact = planned(pair)
    assert worth_more(plain)
    assert not worth_more(exact)
    assert better(plain, exact) is exact


def test_sky_level_ignores_what_is_no_number():
    image = np.full((70, 70), 12.0, np.float32)
    image[::2] = np.nan
    assert sky_level(Exposure(MaskedImage.from_arrays(image, variance=np.ones((70, 70))))) == 12.0
