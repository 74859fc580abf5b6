import pytest

from psfmatch_cli.errors import UsageError
from psfmatch_cli.read_options import ReadOptions


def test_nothing_is_said_by_default():
    assert ReadOptions().noise_file is None
    assert set(vars(ReadOptions()).values()) == {None}


@pytest.mark.parametrize("kind", ["variance", "noise", "weight"])
def test_the_file_of_the_noise_and_its_kind(kind):
    assert ReadOptions(**{kind: "n.fits"}).noise_file == (kind, "n.fits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": 0.0}, "gain must be a positive number, got 0.0"),
        ({"gain": float("nan")}, "gain must be a positive number, got nan"),
        ({"fwhm": -1.0}, "fwhm must be a number of pixels from 0.5 to 100, got -1"),
        ({"read_noise": -1.0}, "read_noise must be 0 or a positive number"),
        ({"saturation": float("inf")}, "saturation must be a finite number"),
        ({"zero_point": float("nan")}, "zero_point must be a magnitude from -50 to 100, got nan"),
        ({"zero_point": 1e4}, "zero_point must be a magnitude"),
        ({"exposure_time": 0.0}, "exposure_time must be a positive number"),
        ({"layout": "auto"}, "unknown layout 'auto'; known are mosaic, lsst, "),
        ({"keywords": {"colour": "A"}}, "unknown quantity 'colour'; cards can be named for gain, "),
        ({"noise": "a", "weight": "b"}, "noise and weight exclude each other"),
        ({"fwhm": 3.0, "psf": "b"}, "fwhm and psf exclude each other"),
        ({"mask_map": {0: "BAD"}}, "positive whole flag values, got 0"),
        ({"mask_map": {1.5: "BAD"}}, "positive whole flag values, got 1.5"),
        ({"mask_map": {1: "bad pixel"}}, "named in capitals, like BAD or SAT, got 'bad pixel'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        ReadOptions(**options)


def test_read_noise_may_be_zero():
    assert ReadOptions(read_noise=0.0).read_noise == 0.0
