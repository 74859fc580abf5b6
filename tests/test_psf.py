"""PSF images and their widths."""

import numpy as np
import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf, gaussian_psf, moffat_psf


@pytest.mark.parametrize(("sigma", "expected"), [(1.0, 2.45217), (1.23456, 2.97683), (2.0, 4.75586), (2.1, 4.98487)])
def test_slice_fwhm_of_a_sampled_gaussian(sigma, expected):
    # Linear interpolation between pixels makes it larger than 2.3548 sigma; the values have five decimals.
    assert gaussian_psf(sigma * FWHM_PER_SIGMA).fwhm == pytest.approx(expected, abs=6e-6)


def test_fwhm_is_the_mean_of_both_axes():
    u = np.arange(-20, 21)
    image = np.exp(-0.5 * (u[:, None] / 3.0) ** 2 - 0.5 * (u[None] / 2.0) ** 2)
    # The interpolation of a slice is good to 1 % above a sigma of 2.
    assert Psf.from_image(image).fwhm == pytest.approx(2.5 * FWHM_PER_SIGMA, rel=0.01)
    assert Psf.from_image(image).sigma == pytest.approx(2.5, rel=0.01)


def test_gaussian_psf_has_unit_sum_and_its_peak_in_the_middle():
    psf = gaussian_psf(3.3)
    assert psf.image.sum() == pytest.approx(1.0, abs=1e-14)
    assert psf.image.shape[0] % 2 == 1
    assert np.argmax(psf.image) == psf.image.size // 2


def test_from_image_trims_to_the_peak_and_normalises():
    image = np.zeros((10, 12))
    image[4:7, 6:9] = [[1, 2, 1], [2, 40, 2], [1, 2, 1]]
    psf = Psf.from_image(image, "a file")
    assert psf.image.shape == (9, 9)
    assert psf.image[4, 4] == pytest.approx(40 / 52, abs=1e-15)
    assert psf.origin == "a file"


def test_from_image_leaves_its_argument_alone():
    image = np.eye(5)
    image[2, 2] = 7
    before = image.copy()
    Psf.from_image(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.ones(5), np.full((3, 3), np.nan), -np.eye(3)])
def test_an_image_without_light_is_no_psf(image):
    with pytest.raises(InputError, match=r"a PSF image \(given\) must be two-dimensional and finite"):
        Psf.from_image(image)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.ones((25, 25)), "must have a peak, this one is constant"),
        (np.full((25, 25), 0.7), r"a PSF image \(file p.fits\) must have a peak"),
        (1 + np.eye(5) * np.outer([0, 0, 1, 0, 0], [0, 0, 1, 0, 0]), "to below half of that"),
        (np.pad(np.ones((1, 1)), ((0, 4), (0, 4))), "one of 1 x 1 pixels does not"),
        (gaussian_psf(99.0).image, None),
        (gaussian_psf(103.0).image, "with a FWHM of 0.5 to 100 pixels"),
    ],
)
def test_an_image_without_a_peak_in_it_is_no_psf(image, text):
    if text is None:
        assert Psf.from_image(image).fwhm == pytest.approx(99.0, rel=1e-3)
        return
    with pytest.raises(InputError, match=text):
        Psf.from_image(image, "file p.fits")


def test_a_psf_that_was_made_by_hand_can_be_checked():
    assert gaussian_psf(3.0).checked().fwhm == gaussian_psf(3.0).fwhm
    with pytest.raises(InputError, match="must fall from a peak in its middle"):
        Psf(-gaussian_psf(3.0).image).checked()


def test_a_moffat_psf_has_its_width_and_profile():
    psf = moffat_psf(4.0, 3.0, "measured")
    assert psf.image.sum() == pytest.approx(1, abs=1e-12)
    assert psf.origin == "measured"
    middle = psf.image.shape[0] // 2
    # Half of the peak at half the FWHM; at the FWHM (1 + 4 (2^(1/3) - 1))^-3 of it.
    assert psf.image[middle, middle + 2] == pytest.approx(psf.image[middle, middle] / 2)
    assert psf.image[middle + 4, middle] == pytest.approx(psf.image[middle, middle] * (4 * 2 ** (1 / 3) - 3) ** -3)
