import numpy as np
import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES
from psfmatch_cli.neighbours import REACH
from psfmatch_cli.repair import make_readable, repair
from sky_fields import make_exposure, plane

SHAPE = (30, 40)
BIT = {name: 1 << bit for name, bit in DEFAULT_PLANES.items()}


def ramp():
    y, x = np.indices(SHAPE)
    return 100.0 + 2.0 * x - 3.0 * y


@pytest.mark.parametrize("name", ["BAD", "CR"])
def test_a_bad_pixel_takes_the_value_of_its_surroundings(name):
    image, variance = ramp(), ramp() / 10
    image[12, 20], variance[12, 20] = 1e6, 1e5
    readable = make_readable(make_exposure(image, None, mask=plane(SHAPE, name, (20, 12)), variance=variance))
    # A symmetric mean of a plane is its value.
    np.testing.assert_allclose(readable.image, ramp(), rtol=1e-6)
    np.testing.assert_allclose(readable.variance, ramp() / 10, rtol=1e-6)
    assert not readable.lost.any()
    assert readable.taint[12, 20] == BIT[name]
    assert readable.taint_planes == (BIT[name],)


def test_bad_pixels_do_not_repair_each_other():
    image, mask = ramp(), plane(SHAPE, "CR", (20, 12), (21, 12), (22, 12), (0, 0))
    image[mask != 0] = -1e7
    readable = make_readable(make_exposure(image, None, mask=mask))
    # A line of three leans on other rows; the corner on one side only, where the ramp is 1 or 2 px off.
    np.testing.assert_allclose(readable.image[12, 20:23], ramp()[12, 20:23], atol=1.0)
    assert readable.image[0, 0] == pytest.approx(100.0, abs=5.0)


def test_saturated_pixels_keep_their_value_and_taint():
    readable = make_readable(make_exposure(ramp(), None, mask=plane(SHAPE, "SAT", (5, 5))))
    np.testing.assert_array_equal(readable.image, ramp().astype(np.float32))
    assert readable.taint_planes == (BIT["SAT"],)


def test_interpolated_pixels_are_sound():
    mask = plane(SHAPE, "BAD", (5, 5)) | plane(SHAPE, "INTRP", (5, 5))
    image = ramp()
    image[5, 5] += 7.0
    readable = make_readable(make_exposure(image, None, mask=mask))
    assert readable.image[5, 5] == np.float32(image[5, 5])
    assert not readable.taint.any()
    assert readable.taint_planes == ()


def test_pixels_without_value_or_variance_are_lost_and_zero():
    image, variance = ramp(), np.ones(SHAPE)
    image[3, 4], image[3, 5], image[3, 6], variance[3, 7] = np.nan, np.inf, 1e5, np.inf
    exposure = make_exposure(image, None, mask=plane(SHAPE, "NO_DATA", (6, 3)), variance=variance)
    readable = make_readable(exposure)
    # An infinite variance marks BAD where the image is finite, yet leaves nothing to weight the pixel with.
    assert [tuple(p) for p in np.argwhere(readable.lost)] == [(3, 4), (3, 5), (3, 6), (3, 7)]
    assert not readable.image[readable.lost].any()
    assert not readable.variance[readable.lost].any()


def test_only_the_rim_of_a_large_bad_area_is_replaced():
    mask = np.zeros(SHAPE, np.int32)
    mask[10:25, 10:25] = BIT["BAD"]
    readable = make_readable(make_exposure(ramp(), None, mask=mask))
    expected = np.zeros(SHAPE, bool)
    expected[10 + REACH : 25 - REACH, 10 + REACH : 25 - REACH] = True
    np.testing.assert_array_equal(readable.lost, expected)


def test_nothing_usable_is_an_error():
    mask = np.full(SHAPE, BIT["BAD"], np.int32)
    with pytest.raises(InputError, match=r"t\.fits has no usable pixel.*0 have no value.*1200 are BAD or CR"):
        make_readable(make_exposure(ramp(), None, mask=mask, name="t.fits"))


def test_a_part_is_that_of_the_whole():
    rng = np.random.default_rng(3)
    image, mask = rng.normal(100, 5, SHAPE), np.zeros(SHAPE, np.int32)
    for name in ("BAD", "CR", "SAT", "INTRP", "NO_DATA"):
        mask[rng.random(SHAPE) < 0.1] |= BIT[name]
    exposure = make_exposure(image, None, mask=mask)
    whole, part = make_readable(exposure), repair(exposure, threads=2).part(slice(5, 25), slice(11, 40))
    for name in ("image", "variance", "lost", "taint"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[5:25, 11:40])
