"""The arithmetic of the difference: pixels, variances, and masks with different bits."""

import numpy as np
import pytest

from made_pairs import box_of, plane
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.kernel import BackgroundModel
from psfmatch_cli.subtract import join_planes, less_background, rescaled, subtract

SHAPE = (12, 17)


def masked_image(seed: int, planes=None, *, xy0=(3, -4)) -> MaskedImage:
    rng = np.random.default_rng(seed)
    return MaskedImage.from_arrays(
        rng.normal(100, 10, SHAPE), variance=rng.uniform(1, 2, SHAPE), planes=planes, xy0=xy0
    )


def zero() -> BackgroundModel:
    return BackgroundModel.zero(box_of(SHAPE, (3, -4)))


def test_the_difference_is_target_less_convolved_less_background():
    target, convolved = masked_image(1), masked_image(2)
    background = plane(SHAPE, [5.0, 1.0, -2.0], xy0=(3, -4))
    made = subtract(target, convolved, background)
    x, y = np.meshgrid(3 + np.arange(17), -4 + np.arange(12))
    expected = target.image.astype(float) - convolved.image - background(x, y)
    # Three numbers of 100 in single precision.
    np.testing.assert_allclose(made.image, expected, atol=3e-5)
    np.testing.assert_allclose(made.variance, target.variance + convolved.variance, rtol=1e-6)
    assert made.xy0 == (3, -4)
    assert made.image.dtype == np.float32


def test_masks_are_joined_by_name():
    target = masked_image(1, {"SAT": 0, "NO_DATA": 1, "MINE": 2, "BAD": 3})
    convolved = masked_image(2, {"NO_DATA": 5, "SAT": 3, "CR": 0, "BAD": 1})
    target.mask[1, 1] = target.bits(["SAT", "MINE"])
    convolved.mask[1, 1] = convolved.bits(["CR"])
    convolved.mask[2, 2] = convolved.bits(["SAT", "BAD"])
    made = subtract(target, convolved, zero())
    for name, places in {"SAT": [[1, 1], [2, 2]], "MINE": [[1, 1]], "CR": [[1, 1]], "BAD": [[2, 2]]}.items():
        assert np.argwhere(made.flagged([name])).tolist() == places
    assert not made.flagged(["NO_DATA"]).any()
    assert {name: made.planes[name] for name in target.planes} == dict(target.planes)


def test_what_either_image_lacks_is_missing_in_the_difference():
    target, convolved = masked_image(1), masked_image(2)
    target.image[3, 4], convolved.image[5, 6], convolved.variance[5, 6] = np.nan, np.nan, np.inf
    made = subtract(target, convolved, zero())
    assert np.argwhere(np.isnan(made.image)).tolist() == [[3, 4], [5, 6]]
    assert np.argwhere(made.flagged(["NO_DATA"])).tolist() == [[3, 4], [5, 6]]
    assert made.variance[5, 6] == np.inf


def test_infinities_do_not_warn():
    target, convolved = masked_image(1), masked_image(2)
    target.image[0, 0] = convolved.image[0, 0] = np.inf
    made = subtract(target, convolved, zero())
    assert np.isnan(made.image[0, 0])
    assert made.flagged(["NO_DATA"])[0, 0]


def test_different_boxes_are_refused():
    with pytest.raises(InputError, match="cannot subtract: the target covers"):
        subtract(masked_image(1), masked_image(2, xy0=(3, -3)), zero())


def test_the_inputs_are_unchanged():
    target, convolved = masked_image(1), masked_image(2, {"NO_DATA": 5, "SAT": 3, "HALO": 6})
    target.image[2, 2] = np.nan
    before = target.copy(), convolved.copy()
    subtract(target, convolved, zero())
    for one, old in zip((target, convolved), before, strict=True):
        for name in ("image", "mask", "variance"):
            np.testing.assert_array_equal(getattr(one, name), getattr(old, name))
        assert dict(one.planes) == dict(old.planes)


def test_rescaling_squares_the_factor_for_the_variance():
    one = masked_image(1)
    made = rescaled(one.copy(), -0.8, 1.5)
    np.testing.assert_allclose(made.image, -0.8 * one.image, rtol=1e-6)
    np.testing.assert_allclose(made.variance, 0.64 * 1.5 * one.variance, rtol=1e-6)
    np.testing.assert_array_equal(made.mask, one.mask)


def test_planes_are_joined_by_name_and_no_others():
    one = MaskedImage.from_arrays(np.ones(SHAPE), variance=np.ones(SHAPE), planes={"NO_DATA": 0, "BAD": 1})
    other = masked_image(1)
    other.mask[1, 2] = other.bits(["DETECTED", "EDGE"])
    other.mask[3, 4] = other.bits(["BAD"])
    made = join_planes(one, other, ["DETECTED", "BAD"])
    assert set(made.planes) == {"NO_DATA", "BAD", "DETECTED"}
    for name, place in {"DETECTED": [1, 2], "BAD": [3, 4]}.items():
        assert np.argwhere(made.flagged([name])).tolist() == [place]
    assert np.count_nonzero(made.mask) == 2


def test_a_background_is_taken_off():
    one, background = masked_image(1), plane(SHAPE, [5.0, 1.0, -2.0], xy0=(3, -4))
    made = less_background(one.copy(), background)
    np.testing.assert_allclose(made.image, one.image - background.image(one.box), rtol=1e-6)


def test_planes_of_the_target_can_be_left_out():
    target, convolved = masked_image(1), masked_image(2)
    target.mask[1, 1] = target.bits(["DETECTED", "SAT"])
    made = subtract(target, convolved, zero(), without=["DETECTED"], threads=2)
    assert not made.flagged(["DETECTED"]).any()
    assert np.argwhere(made.flagged(["SAT"])).tolist() == [[1, 1]]
