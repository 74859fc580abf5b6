"""The score image says the flux of a point source at every pixel, and how significant it is."""

from __future__ import annotations

import numpy as np
import pytest

from psfmatch_cli import ImagePsfMatchTask
from psfmatch_cli.errors import InputError
from psfmatch_cli.score import score_exposure
from psfmatch_cli.simulate import preset, simulate_pair
from psfmatch_cli.whitening import NoiseTerms, score_filters


def gaussian(sigma, size):
    u = np.arange(size) - size // 2
    image = np.exp(-0.5 * (u**2 + u[:, None] ** 2) / sigma**2)
    return (image / image.sum())[None]


def test_filter_gives_the_flux_of_a_point_source():
    psf, kernel = gaussian(1.8, 21), gaussian(2.2, 21)
    made = score_filters(NoiseTerms(np.ones(1), np.full(1, 0.5), kernel, psfs=psf))
    # A source of unit flux in the science image, convolved with the turned PSF.
    size = 101
    transfer = np.fft.fft2(np.roll(np.pad(psf[0], ((40, 40), (40, 40))), (-50, -50), (0, 1)))
    filter_ = np.pad(made.filters[0], (size - made.filters.shape[-1]) // 2)
    filtered = np.fft.ifft2(np.abs(transfer) ** 2 * np.fft.fft2(np.roll(filter_, (-50, -50), (0, 1)))).real
    # The image of the filter is cut off where 1e-3 of it is beyond.
    assert filtered[0, 0] == pytest.approx(1.0, abs=5e-3)
    assert filtered.max() == pytest.approx(filtered[0, 0])


def test_without_a_template_it_is_the_matched_filter():
    # White noise and nothing subtracted: the variance of the flux is v / sum P^2.
    psf = gaussian(2.0, 25)
    made = score_filters(NoiseTerms(np.full(1, 3.0), np.zeros(1), np.zeros((1, 5, 5)), psfs=psf))
    # Powers below 1e-3 of the largest are not divided by; they have next to no part in it.
    assert 3.0 * made.target_squares.sum() == pytest.approx(3.0 / (psf**2).sum(), rel=0.02)


@pytest.fixture(scope="module", params=["standard", "reversed"])
def scored(request):
    pair = simulate_pair(preset(request.param, width=640, height=640, n_transients=40, psf_variation=0.0))
    result = ImagePsfMatchTask().subtract_exposures(pair.template, pair.science)
    return pair, score_exposure(pair.science, result)


def test_significance_of_noise_is_a_unit_gaussian(scored):
    pair, score = scored
    image = score.exposure.masked_image
    far = ~image.unusable(["NO_DATA", "SAT", "BAD", "CR"])
    for table, reach in ((pair.transients, 14), (pair.stars[pair.stars["snr"] > 30], 9)):
        for x, y in zip(table["x"].astype(int), table["y"].astype(int), strict=True):
            far[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = False
    z = (image.image / np.sqrt(image.variance))[far]
    # About 1,500 independent values in the field: 2 %.
    assert 1.4826 * np.median(np.abs(z - np.median(z))) == pytest.approx(1.0, abs=0.06)


def test_flux_of_the_transients(scored):
    pair, score = scored
    image, errors = score.exposure.masked_image.image, []
    usable = ~score.exposure.masked_image.unusable(["NO_DATA", "SAT", "BAD", "CR"])
    for row in pair.transients[pair.transients["snr"] > 20]:
        x, y = round(float(row["x"])), round(float(row["y"]))
        window = np.s_[y - 1 : y + 2, x - 1 : x + 2]
        if 2 < x < 637 and 2 < y < 637 and usable[window].all():
            errors.append(np.abs(image[window]).max() / abs(row["flux"]) - 1)
    assert len(errors) >= 8
    # The largest pixel is up to half a pixel off the source: 1 to 3 % of its flux.
    assert np.median(errors) == pytest.approx(-0.01, abs=0.04)


def test_a_field_without_stars_needs_a_psf():
    pair = simulate_pair(preset("standard", width=640, height=640, n_transients=0, psf_variation=0.0))
    result = ImagePsfMatchTask().subtract_exposures(pair.template, pair.science)
    rng = np.random.default_rng(1)
    noise = pair.science.masked_image.__class__.from_arrays(
        rng.normal(0, 10, (640, 640)), variance=np.full((640, 640), 100.0)
    )
    with pytest.raises(InputError, match="needs the PSF"):
        score_exposure(pair.science.with_pixels(noise, psf=None), result)
