"""Boxes, mask planes and masked images."""

import numpy as np
import pytest

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import (
    DEFAULT_PLANES,
    Box,
    Exposure,
    MaskedImage,
    free_bit,
    nearest_pixel,
    remap_mask,
)


def masked_image(shape=(6, 8), **changes) -> MaskedImage:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return MaskedImage.from_arrays(image, variance=np.ones(shape), **changes)


def test_box_measures_both_ends():
    box = Box(10, -3, 19, 1)
    assert (box.width, box.height, box.center) == (10, 5, (14.5, -1.0))


def test_box_contains_the_pixels_nearest_to_its_positions():
    box = Box(0, 0, 9, 9)
    assert box.contains(-0.5, 9.49)
    assert not box.contains(-0.51, 5)
    assert not box.contains(5, 9.5)


def test_nearest_pixel_takes_halves_up():
    assert [nearest_pixel(v) for v in (-0.51, -0.5, 0.49, 0.5, 2.0)] == [-1, 0, 0, 1, 2]


def test_from_arrays_marks_what_is_no_number():
    image = np.array([[1.0, np.nan, 3.0, 4.0, 5.0]])
    variance = np.array([[1.0, 1.0, 0.0, np.inf, np.nan]])
    made = MaskedImage.from_arrays(image, variance=variance)
    np.testing.assert_array_equal(made.flagged(["NO_DATA"]), [[False, True, False, False, False]])
    np.testing.assert_array_equal(made.flagged(["BAD"]), [[False, False, True, True, True]])


def test_from_arrays_without_variance_is_bad_everywhere():
    assert MaskedImage.from_arrays(np.ones((3, 4))).flagged(["BAD"]).all()


def test_from_arrays_copies_and_converts():
    image, mask = np.ones((3, 4), ">f8"), np.zeros((3, 4), np.uint8)
    image[1, 1] = np.nan
    made = MaskedImage.from_arrays(image, mask, np.ones((3, 4)))
    assert (made.image.dtype, made.mask.dtype, made.variance.dtype) == (np.float32, np.int32, np.float32)
    assert not mask.any()
    assert not np.shares_memory(made.image, image)


def test_from_arrays_gives_bits_to_the_planes_it_needs():
    made = MaskedImage.from_arrays(np.ones((2, 2)), variance=np.ones((2, 2)), planes={"SAT": 0, "EDGE": 1})
    assert dict(made.planes) == {"SAT": 0, "EDGE": 1, "NO_DATA": 2, "BAD": 3}


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3)])
def test_an_image_has_two_dimensions(shape):
    with pytest.raises(InputError, match="two dimensions"):
        MaskedImage(np.ones(shape), np.ones(shape), np.ones(shape))


def test_planes_of_different_shape_are_refused():
    with pytest.raises(InputError, match=r"variance has shape \(2, 3\), the image \(3, 2\)"):
        MaskedImage(np.ones((3, 2)), np.ones((3, 2), np.int32), np.ones((2, 3)))


def test_bits_of_planes():
    image = masked_image(planes={"SAT": 4, "MINE": 9, "BAD": 0, "NO_DATA": 8})
    assert image.bits(["SAT", "MINE"]) == (1 << 4) | (1 << 9)
    assert image.bits(["CR"]) == 0, "a standard plane that this mask does not have"
    with pytest.raises(UsageError, match=r"unknown mask plane 'HALO'; known are .*MINE"):
        image.bits(["HALO"])


def test_the_highest_bit_is_a_plane_like_any_other():
    image = masked_image(planes={**DEFAULT_PLANES, "LAST": 31})
    image.mask[2, 3] |= np.int32(image.bits(["LAST"]))
    assert np.argwhere(image.flagged(["LAST"])).tolist() == [[2, 3]]


def test_interpolation_repairs_bad_and_cosmic_rays_but_not_saturation():
    image = masked_image((1, 5))
    planes = [["BAD"], ["CR", "INTRP"], ["SAT", "INTRP"], ["INTRP"], ["BAD", "SAT", "INTRP"]]
    for x, names in enumerate(planes):
        image.mask[0, x] = image.bits(names)
    unusable = image.unusable(["BAD", "CR", "SAT"])
    np.testing.assert_array_equal(unusable, [[True, False, True, False, True]])


def test_cutout_is_a_view_that_knows_where_it_is():
    image = masked_image(xy0=(100, 50))
    part = image.cutout(Box(102, 51, 104, 53))
    assert part.xy0 == (102, 51)
    assert np.shares_memory(part.image, image.image)
    np.testing.assert_array_equal(part.image, image.image[1:4, 2:5])


@pytest.mark.parametrize("box", [Box(99, 50, 101, 52), Box(100, 50, 108, 52), Box(104, 52, 103, 53)])
def test_cutout_must_be_inside(box):
    with pytest.raises(InputError, match="is not inside the image"):
        masked_image(xy0=(100, 50)).cutout(box)


def test_with_planes_adds_only_missing_ones():
    image = masked_image(planes={"BAD": 0, "NO_DATA": 2})
    assert dict(image.with_planes(["BAD", "DETECTED"]).planes) == {"BAD": 0, "NO_DATA": 2, "DETECTED": 1}
    assert dict(image.planes) == {"BAD": 0, "NO_DATA": 2}


def test_without_planes_clears_them_and_keeps_the_rest():
    ones = np.ones((4, 5))
    image = MaskedImage.from_arrays(ones, variance=ones)
    assert image.without_planes(["DETECTED"]) is image
    image.mask[1, 1] = image.bits(["DETECTED", "SAT"])
    made = image.without_planes(["DETECTED", "DETECTED_NEGATIVE"])
    assert np.argwhere(made.flagged(["SAT"])).tolist() == [[1, 1]]
    assert not made.flagged(["DETECTED"]).any()
    assert dict(made.planes) == dict(image.planes)
    assert image.flagged(["DETECTED"]).any()


def test_copy_is_deep():
    image = masked_image()
    image.copy().image[0, 0] = -1
    assert image.image[0, 0] == 0


def test_remap_moves_planes_by_name():
    target = {"SAT": 3}
    mask = np.array([[1, 2, 3, 4]], np.int32)
    moved = remap_mask(mask, {"SAT": 0, "CR": 1}, target)
    assert target == {"SAT": 3, "CR": 0}
    np.testing.assert_array_equal(moved, [[8, 1, 9, 0]])


def test_remap_carries_the_sign_bit():
    mask = np.array([[np.int32(-(2**31)), 1]], np.int32)
    moved = remap_mask(mask, {"LAST": 31, "FIRST": 0}, {"LAST": 0, "FIRST": 31})
    np.testing.assert_array_equal(moved, [[1, -(2**31)]])


def test_thirty_two_planes_are_the_limit():
    with pytest.raises(InputError, match="all 32 mask bits are in use"):
        free_bit({str(bit): bit for bit in range(32)})


def test_exposure_passes_its_pixels_through():
    exposure = Exposure(masked_image(xy0=(4, 5)), name="one")
    assert (exposure.shape, exposure.xy0, exposure.box) == ((6, 8), (4, 5), Box(4, 5, 11, 10))
    changed = exposure.with_pixels(masked_image((2, 2)), filter="r")
    assert (changed.shape, changed.filter, changed.name) == ((2, 2), "r", "one")
    assert exposure.shape == (6, 8)
