import numpy as np
import pytest

from psfmatch_cli.sdss import ccd_noise, frame_claims


@pytest.mark.parametrize(
    ("band", "column", "run", "noise"),
    [
        ("r", 4, 4192, (4.76, 1.3225)),
        ("u", 2, 1100, (1.595, 12.6025)),
        ("u", 2, 1101, (1.825, 12.6025)),
        ("i", 2, 1500, (6.565, 5.76)),
        ("z", 4, 1501, (4.775, 12.6025)),
        ("z", 6, 94, (4.69, 1.21)),
        ("y", 4, 4192, None),
        ("ug", 4, 4192, None),
        ("r", 7, 4192, None),
    ],
)
def test_noise_of_a_ccd(band, column, run, noise):
    assert ccd_noise(band, column, run) == noise


def test_a_calibrated_frame_is_in_nanomaggies():
    header = {"RUN": 4192, "CAMCOL": 4, "FILTER": "r", "SOFTBIAS": 1000}
    claims = frame_claims(header, np.full(10, 0.005), np.full((2, 3), 130.0))
    assert {name: value for name, (value, _) in claims.items()} == {
        "gain": pytest.approx(952.0),
        "dark_variance": pytest.approx(1.3225 * 2.5e-5),
        "sky_level": pytest.approx(0.65),
    }
    assert frame_claims(header)["pedestal"] == (1000.0, "header SOFTBIAS")


@pytest.mark.parametrize("header", [{}, {"RUN": "x", "CAMCOL": 1}, {"RUN": 1, "CAMCOL": 1, "FILTER": "clear"}])
def test_other_frames_say_nothing(header):
    assert frame_claims(header) == {}
    assert frame_claims({"RUN": 4192, "CAMCOL": 4, "FILTER": "r"}, np.array([0.0, np.nan])) == {}
