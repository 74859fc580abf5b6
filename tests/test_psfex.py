"""PSFEx models: the image at a position on the pixels of the exposure."""

import numpy as np
import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.psfex import psfex_model, resampled

HEADER = {
    "POLNAXIS": 2,
    "POLNAME1": "XWIN_IMAGE",
    "POLNAME2": "YWIN_IMAGE",
    "POLDEG1": 2,
    "POLZERO1": 101.0,
    "POLZERO2": 51.0,
    "POLSCAL1": 100.0,
    "POLSCAL2": 50.0,
    "PSF_SAMP": 1.0,
}


def gaussian(sigma, half=15):
    u = np.arange(-half, half + 1)
    profile = np.exp(-0.5 * (u / sigma) ** 2)
    return np.outer(profile, profile) / profile.sum() ** 2


def moments_fwhm(image):
    """FWHM of a Gaussian from its second moments."""
    u = np.arange(len(image)) - len(image) // 2
    return FWHM_PER_SIGMA * np.sqrt(0.5 * (image * (u**2 + u[:, None] ** 2)).sum() / image.sum())


def test_terms_run_first_over_the_powers_of_x():
    masks = np.zeros((6, 31, 31))
    for n in range(6):
        masks[n] = gaussian(2.0 + 0.3 * n)
    model = psfex_model(HEADER, masks, "f")
    # FITS (201, 1) is u = 1, v = -1: 0-based (200, 0).
    expected = masks[0] + masks[1] + masks[2] - masks[3] - masks[4] + masks[5]
    np.testing.assert_allclose(model.image(200.0, 0.0), expected / expected.sum(), atol=1e-9)
    np.testing.assert_allclose(model.image(100.0, 50.0), masks[0], atol=1e-9)


@pytest.mark.parametrize("sampling", [0.4, 0.7, 1.0, 1.5])
def test_sampling_is_that_of_the_image(sampling):
    truth = 3.0
    model = psfex_model(
        {"POLNAXIS": 0, "PSF_SAMP": sampling}, gaussian(truth / FWHM_PER_SIGMA / sampling, half=25)[None], "f"
    )
    image = model.image(3.0, 4.0)
    assert image.sum() == pytest.approx(1.0)
    assert image.shape[0] % 2 == 1
    assert np.unravel_index(np.argmax(image), image.shape) == (image.shape[0] // 2,) * 2
    # Cubic splines through samples of 1.3 pixels' sigma and more.
    assert moments_fwhm(image) == pytest.approx(truth, rel=2e-3)


def test_fine_pixels_of_light_are_averaged_over_the_larger_one():
    # Averaging over a pixel of side 1 adds 1/12 to the variance along each axis.
    fine = gaussian(4.0, half=40)
    averaged, sampled = resampled(fine, 0.25, average=True), resampled(fine, 0.25)
    assert moments_fwhm(sampled) == pytest.approx(FWHM_PER_SIGMA, rel=1e-3)
    assert moments_fwhm(averaged) == pytest.approx(FWHM_PER_SIGMA * np.sqrt(1 + 1 / 12), rel=2e-3)


@pytest.mark.parametrize("sampling", [1e-6, 1e6, float("nan")])
def test_pixels_that_differ_beyond_reason_are_refused(sampling):
    for average in (False, True):
        with pytest.raises(InputError, match="one pixel of the PSF would be"):
            resampled(gaussian(2.0), sampling, average=average)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({"PSF_SAMP": None}, (6, 5, 5), "not a PSFEx model"),
        ({"POLDEG1": 1}, (6, 5, 5), r"of degree 1 has 3 images and a positive sampling, got shape \(6, 5, 5\)"),
        ({"PSF_SAMP": -1.0}, (6, 5, 5), "a positive sampling"),
        ({"POLSCAL1": 0.0}, (6, 5, 5), "a positive sampling"),
        ({"POLNAXIS": 1}, (6, 5, 5), "expected the position"),
        ({"POLNAME2": "MAG_AUTO"}, (6, 5, 5), "depends on XWIN_IMAGE, MAG_AUTO"),
        ({}, (5, 5), "has 6 images"),
    ],
)
def test_models_that_contradict_themselves_are_refused(changes, shape, message):
    with pytest.raises(InputError, match=message):
        psfex_model({**HEADER, **changes}, np.ones(shape), "f.psf")
