"""Grids and widths, before the match."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from made_alignments import misaligned_pair, shifted
from made_pairs import exposure, gaussian_pair, gaussian_stars
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import FwhmError, RegistrationError, UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.register import Widths, fwhm_of, psf_of, register, warn_of_deconvolution

SHAPE = (120, 140)


def wcs_at(x: float = 70.0, y: float = 60.0, ra: float = 0.0) -> WCS:
    """0.36 arcsec a pixel; position (ra, -30) degrees is at array index (x, y)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra, -30.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [x + 1, y + 1], [-1e-4, 1e-4]
    return wcs


def starry(dx: float = 0.0, wcs: WCS | None = None, **changes) -> Exposure:
    image = gaussian_stars(SHAPE, np.array([40.0, 90.0]) + dx, [50.0, 70.0], 1e4, 2.0)
    return exposure(image + 0.1 * np.random.default_rng(1).normal(size=SHAPE), 1.0, wcs=wcs, **changes)


def test_equal_grids_need_no_warping():
    template = starry(wcs=wcs_at())
    made = register(template, starry(wcs=wcs_at()), WarpConfig())
    assert made.exposure is template
    assert not made.warped
    # Round trip through the sky.
    assert made.offset < 1e-6
    assert made.overlap == pytest.approx(1.0, abs=1e-9)
    assert made.autocorrelation is None


def test_images_without_wcs_are_taken_to_be_aligned():
    template = starry()
    made = register(template, starry(), WarpConfig(), do_warping=False)
    assert made.exposure is template
    assert np.isnan(made.offset)


@pytest.mark.parametrize(("shift", "warped"), [(5e-4, False), (2e-3, True)])
def test_the_tolerance_decides_what_is_equal(shift, warped):
    made = register(starry(wcs=wcs_at(70.0 + shift)), starry(wcs=wcs_at()), WarpConfig())
    assert made.warped == warped


def test_a_displaced_template_is_warped():
    science = starry(wcs=wcs_at())
    made = register(starry(3.5, wcs_at(73.5)), science, WarpConfig())
    assert made.warped
    assert made.offset == pytest.approx(3.5, abs=1e-3)
    assert made.exposure.box == science.box
    # Lanczos interpolation of a well sampled star; its noise is 0.1.
    inner = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(made.exposure.image[inner], science.image[inner], atol=3.0)
    assert made.autocorrelation.max() == pytest.approx(1.0, abs=1e-9)


def test_without_warping_different_grids_are_an_error():
    with pytest.raises(RegistrationError, match=r"different pixel grids \(offset up to 3.5 px, .*warping is off"):
        register(starry(wcs=wcs_at(73.5)), starry(wcs=wcs_at()), WarpConfig(), do_warping=False)


def test_exposures_of_different_fields_are_an_error():
    with pytest.raises(RegistrationError, match="overlap"):
        register(starry(wcs=wcs_at(ra=1.0)), starry(wcs=wcs_at()), WarpConfig())


def test_a_given_fwhm_wins():
    image = starry(psf=gaussian_psf(3.0))
    assert fwhm_of(image, 4.2, "template") == (4.2, "given")


def test_the_psf_of_the_exposure_comes_next():
    image = starry(psf=gaussian_psf(2.0 * FWHM_PER_SIGMA, "a file"))
    fwhm, origin = fwhm_of(image, None, "template")
    # The slice FWHM of a sampled Gaussian of sigma 2.
    assert fwhm == pytest.approx(4.75586, abs=1e-4)
    assert origin == "PSF, a file"


def test_else_stars_are_measured(caplog):
    _, science, _ = gaussian_pair((2.0, 2.4), (1.0, 1.0), flux=(5e3, 2e4))
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.register"):
        fwhm, origin = fwhm_of(science, None, "science")
    # Twenty stars with a signal to noise ratio of hundreds.
    assert fwhm == pytest.approx(2.4 * FWHM_PER_SIGMA, rel=0.02)
    assert origin.endswith(" stars")
    assert f"the science image (science) has no PSF: its FWHM of {fwhm:.2f} px is measured on {origin}" in caplog.text


def test_an_image_without_stars_has_no_fwhm(caplog):
    empty = exposure(np.random.default_rng(1).normal(size=SHAPE), 1.0)
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli.register"):
        assert fwhm_of(empty, None, "template") == (None, "not measurable")
    text = (
        "the template image (image) has no PSF, and no star is fit for measuring its FWHM, which stays unknown; give it"
    )
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{text} (--template-fwhm)" in caplog.text


def test_widths_know_where_they_came_from(caplog):
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.register"):
        widths = Widths.of(starry(), replace(starry(), psf=gaussian_psf(3.0, "a file")), 2.5, None)
    assert (widths.template, widths.template_from) == (2.5, "given")
    assert widths.science_from == "PSF, a file"
    assert "FWHM: template 2.50 px (given), science 3.0" in caplog.text


@pytest.mark.parametrize("fwhm", [0.0, -1.0, 1e-9, 1e6, 1e300, float("nan"), float("inf")])
def test_a_given_fwhm_must_be_positive(fwhm):
    with pytest.raises(UsageError, match=r"the FWHM of the science image must be a number of pixels from 0\.5 to 100"):
        fwhm_of(starry(), fwhm, "science")


def test_two_wrong_fwhms_are_told_together():
    with pytest.raises(
        FwhmError, match="the FWHM of the template image and the science image must be numbers of pixels"
    ):
        Widths.of(starry(), starry(), 0.0, -2.0)


@pytest.mark.parametrize(
    ("template", "science", "convolve_template", "text"),
    [
        (3.0, 4.0, True, None),
        (4.0, 3.0, False, None),
        (3.0, 3.0 * 0.99, True, None),
        (4.0, 3.0, True, "the template image (FWHM 4.00 px) to match the science image (3.00 px) is a deconvolution"),
        (3.0, 4.0, False, "the science image (FWHM 4.00 px) to match the template image (3.00 px) is a deconvolution"),
        (None, 3.0, True, None),
        (4.0, None, True, None),
    ],
)
def test_a_deconvolution_is_warned_of(template, science, convolve_template, text, caplog):
    warn_of_deconvolution(Widths(template, science, "a test", "a test"), convolve_template)
    if text is None:
        assert caplog.records == []
    else:
        other = "science" if convolve_template else "template"
        assert text in caplog.text
        assert f"the other choice is to convolve the {other} image (--convolve {other})" in caplog.text


def test_the_psf_of_an_exposure_or_a_gaussian_of_its_width():
    psf = gaussian_psf(3.0)
    assert psf_of(starry(psf=psf), 5.0, "given") is psf
    made = psf_of(starry(), 5.0, "given")
    # The slice FWHM of a sampled Gaussian is 1 % larger than its own.
    assert made.fwhm == pytest.approx(5.0, rel=0.01)
    assert made.origin == "gaussian, FWHM given"
    assert psf_of(starry(), None, "not measurable") is None


def test_stars_put_a_template_with_a_wrong_wcs_in_place():
    """Resampled once along both: as good as if its WCS had been right."""
    pair = misaligned_pair(shifted(20.3, -8.6), known=(17.3, -8.6))
    right = misaligned_pair(shifted(20.3, -8.6), known=(20.3, -8.6))
    made = register(pair.template, pair.science, WarpConfig(registration="stars"))
    expected = register(right.template, right.science, WarpConfig(registration="wcs")).exposure
    assert made.warped
    assert made.alignment.method == "wcs+stars"
    # Of the distance of 3 px; the largest over the corners.
    assert made.offset == pytest.approx(np.hypot(17.3, 8.6), abs=0.01)
    inner = np.s_[30:-30, 30:-30]
    # Stars of up to 1e5 counts, with a slope of a fifth of their height a pixel, in place to 0.01 px.
    np.testing.assert_allclose(made.exposure.image[inner], expected.image[inner], atol=120.0)
    assert made.autocorrelation is not None


def test_images_without_wcs_are_resampled_where_their_stars_want_it():
    pair = misaligned_pair(shifted(4.4, 2.7), known=None)
    made = register(pair.template, pair.science, WarpConfig())
    assert made.warped
    assert made.alignment.method == "pixels+stars"
    assert made.exposure.wcs is None
    assert made.exposure.box == pair.science.box
    assert 0.97 < made.overlap <= 1.0
