import logging

import numpy as np
import pytest

from psfmatch_cli.completion import complete
from psfmatch_cli.errors import InputError
from psfmatch_cli.keywords import Cards
from psfmatch_cli.pixels import Pixels, take_mask, take_variance
from psfmatch_cli.read_options import ReadOptions

SHAPE = (200, 220)


def pixels(image=None, header=None):
    if image is None:
        image = np.random.default_rng(1).poisson(400, SHAPE).astype(np.float32)
    return Pixels(image, Cards(header or {}), "science f.fits", np.zeros(image.shape, np.int32))


def plane(made, name):
    return (made.mask >> made.planes[name] & 1).astype(bool)


def test_a_named_mask_is_taken_as_it_is():
    made = pixels()
    flags = np.zeros(SHAPE, np.uint16)
    flags[3, 4] = 1 << 5
    take_mask(made, flags, {"MP_BAD": 0, "MP_GHOST": 5}, ReadOptions(mask_map={1: "SAT"}), False, "mask")
    assert made.planes == {"BAD": 0, "GHOST": 5}
    assert np.argwhere(plane(made, "GHOST")).tolist() == [[3, 4]]
    assert made.complete_mask
    assert made.knows_saturation


def test_a_mask_map_knows_saturation_if_it_names_it():
    for mask_map, knows in (({2: "SAT"}, True), ({2: "CR"}, False), (None, False)):
        made = pixels()
        take_mask(made, np.full(SHAPE, 2, np.uint8), {}, ReadOptions(mask_map=mask_map), False, "mask")
        assert made.knows_saturation is knows
        assert not made.complete_mask


def test_planes_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"mask f has 3 x 2 pixels, the image 220 x 200; they must be equal"):
        take_mask(pixels(), np.zeros((2, 3), int), {}, ReadOptions(), False, "mask f")
    with pytest.raises(InputError, match="noise f has 3 x 2 pixels"):
        take_variance(pixels(), np.zeros((2, 3)), "noise", "noise file", "noise f")


def test_pixels_without_weight_are_no_data():
    made = pixels()
    weight = np.full(SHAPE, 0.25)
    weight[5, 6], weight[7, 8] = 0, np.nan
    take_variance(made, weight, "weight", "weight file", "weight file w.fits")
    assert np.argwhere(plane(made, "NO_DATA")).tolist() == [[5, 6], [7, 8]]
    assert made.variance[0, 0] == 4
    assert made.noise.origin == "weight file"


def test_a_plane_that_the_mask_lacks_is_added():
    made = pixels()
    made.planes = {"SAT": 0}
    made.flag(np.ones(SHAPE, bool), "NO_DATA")
    assert made.planes == {"SAT": 0, "NO_DATA": 1}
    assert not made.usable().any()


def test_the_highest_bit_can_be_set():
    made = pixels()
    made.planes = {"BAD": 31}
    assert made.flag(np.ones(SHAPE, bool), "BAD") == made.image.size
    assert not made.usable().any()


def test_variance_is_made_where_none_is_given():
    made = pixels()
    complete(made, ReadOptions(gain=1.0, read_noise=3.0))
    # The background of a flat sky of 400 counts is good to 2 counts; 0.1 % of the pixels stand out by 3 sigma.
    np.testing.assert_allclose(np.percentile(made.variance, [0, 50, 99]), 409, rtol=0.02)
    assert made.noise.origin == "gain"
    assert (made.noise.gain, made.noise.read_noise) == (1.0, 3.0)
    assert made.noise.sources == {"gain": "option", "read_noise": "option", "saturation": "neither stated nor seen"}


def test_saturation_option_wins_and_is_recorded(caplog):
    made = pixels(header={"SATURATE": 1000.0})
    made.image[50, 60] = 5000.0
    made.image[90, 90] = 1500.0
    with caplog.at_level(logging.INFO):
        complete(made, ReadOptions(saturation=4000.0))
    assert plane(made, "SAT").sum() == 9
    assert (made.noise.saturation, made.noise.sources["saturation"]) == (4000.0, "option")
    assert "saturation at 4000 counts (option): 9 pixels are SAT" in caplog.text


def test_saturation_is_not_searched_where_the_mask_knows_it():
    made = pixels(header={"SATURATE": 1000.0})
    made.image[50, 60] = 5000.0
    take_mask(made, np.zeros(SHAPE, int), {}, ReadOptions(mask_map={1: "SAT"}), False, "mask")
    complete(made, ReadOptions())
    assert plane(made, "SAT").sum() == 0
    assert (made.noise.saturation, made.noise.sources["saturation"]) == (None, "mask, mask")


def test_defects_are_flagged_and_counted(caplog):
    made = pixels(np.random.default_rng(2).normal(1000, 10, SHAPE).astype(np.float32))
    made.image[:, :20] = 0
    made.image[100, 100] = 500
    with caplog.at_level(logging.INFO):
        complete(made, ReadOptions())
    assert plane(made, "NO_DATA").sum() == 20 * SHAPE[0]
    assert np.argwhere(plane(made, "BAD")).tolist() == [[100, 100]]
    assert "4000 blank pixels (exactly 0) are NO_DATA" in caplog.text
    assert "1 pixels are BAD: more than 8 sigma below the sky" in caplog.text


def test_nothing_is_added_to_a_complete_mask():
    made = pixels()
    made.image[10, 10] = -5000
    made.variance, made.complete_mask = np.ones(SHAPE, np.float32), True
    complete(made, ReadOptions())
    assert not made.mask.any()


def test_a_given_variance_wins_over_a_gain_aloud(caplog):
    made = pixels()
    take_variance(made, np.full(SHAPE, 7.0), "variance", "plane", "v")
    complete(made, ReadOptions(gain=2.0))
    assert (made.variance == 7).all()
    assert "gain and read noise are not used, the variance is given" in caplog.text


def test_a_variance_of_zeros_is_an_error_or_replaced(caplog):
    made = pixels()
    take_variance(made, np.zeros(SHAPE), "variance", "plane", "v")
    with pytest.raises(InputError, match="the given variance has no positive value; give gain and read noise"):
        complete(made, ReadOptions())
    complete(made, ReadOptions(gain=1.0, read_noise=0.0))
    np.testing.assert_allclose(np.percentile(made.variance, [0, 50, 99]), 400, rtol=0.02)
    assert "using gain and read noise" in caplog.text


def test_relative_weights_are_scaled_to_the_sky_noise(caplog):
    sigma = np.full(SHAPE, 20.0)
    sigma[:, :50] = 40.0
    made = pixels((400 + sigma * np.random.default_rng(1).normal(size=SHAPE)).astype(np.float32))
    weight = 4e5 / sigma**2
    take_variance(made, weight, "weight", "plane", "w", relative=True)
    complete(made, ReadOptions())
    # 44000 pixels know their width to 0.4 %, the background mesh takes a little of it.
    assert made.variance[0, 100] == pytest.approx(400, rel=0.03)
    assert made.variance[0, 10] / made.variance[0, 100] == pytest.approx(4)
    assert "taken as relative weights and scaled" in caplog.text


def test_weights_that_fit_the_sky_noise_are_kept():
    made = pixels()
    take_variance(made, np.full(SHAPE, 1 / 380.0), "weight", "plane", "w", relative=True)
    complete(made, ReadOptions())
    np.testing.assert_allclose(made.variance, 380, rtol=1e-6)


@pytest.mark.parametrize(
    ("factor", "text"), [(1e-24, "too small or too large for 32 bits"), (1e22, "no usable pixel is left")]
)
def test_numbers_beyond_32_bits_are_an_error(factor, text):
    made = pixels((np.random.default_rng(3).normal(100, 10, SHAPE) * factor).astype(np.float32))
    with pytest.raises(InputError, match=text):
        complete(made, ReadOptions())


def test_an_image_that_is_masked_as_a_whole_is_an_error():
    made = pixels()
    take_mask(made, np.ones(SHAPE, int), {}, ReadOptions(), False, "mask")
    with pytest.raises(InputError, match=r"science f.fits: every pixel is masked or not finite"):
        complete(made, ReadOptions())
