import numpy as np
import pytest

from psfmatch_cli.asinh import linear_counts, scaling


def test_the_scaling_is_undone():
    counts = np.array([-50.0, 0.0, 3.0, 1e3, 1e6])
    a = 2.5 / np.log(10)
    stored = a * np.arcsinh((counts - 7.0) / (2 * 12.0))
    np.testing.assert_allclose(linear_counts(stored, 7.0, 12.0), counts, rtol=1e-12, atol=1e-9)
    # The form of the definition: offset + softening (exp(x / a) - exp(-x / a)).
    direct = 7.0 + 12.0 * (np.exp(stored / a) - np.exp(-stored / a))
    np.testing.assert_allclose(linear_counts(stored, 7.0, 12.0), direct, rtol=1e-9, atol=1e-9)


def test_what_overflows_is_infinite():
    assert np.isinf(linear_counts(np.array([1e4]), 0.0, 1.0)).all()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"BOFFSET": 1, "BSOFTEN": 2.0}, (1.0, 2.0)),
        ({"BOFFSET": 0.0}, None),
        ({"BOFFSET": 0.0, "BSOFTEN": 0.0}, None),
        ({"BOFFSET": "x", "BSOFTEN": 1.0}, None),
        ({"BOFFSET": float("nan"), "BSOFTEN": 1.0}, None),
    ],
)
def test_cards_of_the_scaling(header, found):
    assert scaling(header) == found
