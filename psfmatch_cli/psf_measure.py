"""Width of the PSF from the stars of an image, without any knowledge of it.

Bright, isolated, unsaturated peaks are fitted with elliptical Moffat profiles; the stars among them are
the narrow cluster at the small end of the sizes (`psfmatch_cli.star_locus`); the exponent of the profile
is the median over the brightest stars, and all are fitted once more with it, so that their widths compare.

The FWHM is that of the PSF as the pixels see it, i.e. convolved with the pixel: a continuous profile
through the values at the pixel centres. It is not the slice FWHM of `psfmatch_cli.psf.Psf.fwhm`, whose
linear interpolation between pixels adds 4 % at 2.4 and 1 % at 4.7 pixels. Below 1.7 pixels the profile
is no Moffat any more and the result up to 2.5 % small. Where most sources are galaxies much smaller than
the PSF, some of them count as stars and the result is up to 5 % large.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import BackgroundFit, SkyPixels, fit_background, subtract_background
from psfmatch_cli.exposure import Box, Exposure
from psfmatch_cli.profile_fit import ProfileFits, fit_profiles
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.stamps import CHUNK_PIXELS, cut_stamps
from psfmatch_cli.star_candidates import StarCandidates, find_star_candidates
from psfmatch_cli.star_locus import Locus, Sizes, find_locus

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Candidates that are fitted. Four hundred stars know the median width to 0.1 % even where each does to 2 %.
MAX_CANDIDATES = 400
#: Fitted pixels reach this many FWHM from the centre: far enough to tell the core from the background.
WINDOW_FWHM = 1.5
MIN_WINDOW = 3.0
#: Windows of neighbouring sizes are fitted together, so their radii come in steps of this factor.
WINDOW_STEP = 1.3
#: Exponent of the first fits; at most so many of the brightest stars correct it, and at least so many of this S/N:
#: a wrong exponent costs 1 % of the width, one that is fitted to faint stars 3 %.
FIRST_BETA = 3.5
BETA_STARS, MIN_BETA_STARS, BETA_SNR = 60, 3, 60.0
MIN_SNR = 20.0
#: Nothing seen through square pixels is narrower than they are.
MIN_FWHM = 1.0
#: Residuals beyond this share of the profile, after allowance for noise, are blends, spikes and filled cores.
MAX_MISFIT = 0.12
#: Excess of the summed squared residuals over the variance that noise alone may cause.
MISFIT_NOISE = 2.0
#: Fits within this range of ln(fwhm) around the stars are repeated with the exponent of the stars.
NEAR_LOCUS = 0.35
MAD_TO_SIGMA = 1.482602218505602
#: Planes that a star must not have.
BAD_PLANES = ("SAT", "EDGE", "SUSPECT")
#: Points per axis of the grid on which the map of the field is summarised.
MAP_POINTS = 21


@dataclass(frozen=True)
class MeasuredPsf:
    """Width and shape of the PSF of an image.

    Parameters
    ----------
    fwhm : float
        Median over the stars, pixels.
    fwhm_scatter : float
        Scatter of the stars about the map, as a standard deviation, pixels: noise and what the map lacks.
    n_stars : int
        Stars used.
    fwhm_min, fwhm_mean, fwhm_max : float
        Of the map over the image: constant, plane or parabola by the number of stars; pixels.
    beta : float
        Exponent of the Moffat profile.
    ellipticity : float
        Of the mean shape: (a^2 - b^2) / (a^2 + b^2) with the axes a, b.
    position_angle : float
        Of its major axis, radians from +x towards +y.
    stars : astropy.table.Table
        One row per star: ``x``, ``y`` (parent pixels), ``flux``, ``snr``, ``fwhm``, ``fwhm_err``, ``e1``, ``e2``.
    locus : Locus
        Polynomials of the position.
    xy0 : (int, int)
        Parent position of the image's first pixel.
    origin : str
        For the log and the metadata.
    """

    fwhm: float
    fwhm_scatter: float
    n_stars: int
    fwhm_min: float
    fwhm_mean: float
    fwhm_max: float
    beta: float
    ellipticity: float
    position_angle: float
    stars: Table
    locus: Locus
    xy0: tuple[int, int]
    origin: str

    @property
    def sigma(self) -> float:
        """Gaussian sigma of the same FWHM, pixels."""
        return self.fwhm / FWHM_PER_SIGMA

    def fwhm_at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """FWHM of the map at parent positions, pixels."""
        return self.locus.fwhm(np.asarray(x) - self.xy0[0], np.asarray(y) - self.xy0[1])


def measure_psf(
    exposure: Exposure,
    *,
    max_stars: int = 500,
    pixels: SkyPixels | None = None,
    background: BackgroundFit | None = None,
) -> MeasuredPsf | None:
    """Measure the width of the PSF from the stars of an exposure.

    Works for widths of 1.2 to 15 pixels, without variance or mask, and among many more galaxies and
    cosmic rays than stars.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    max_stars : int
        Stars used at most, the brightest first.
    pixels : SkyPixels, optional
        Its pixels above the background, where the caller has them already.
    background : BackgroundFit, optional
        Its background, where the caller has that.

    Returns
    -------
    MeasuredPsf or None
        None if there is no star.

    Raises
    ------
    InputError
        If no pixel is usable.
    """
    masked_image = exposure.masked_image
    if pixels is None:
        pixels = subtract_background(masked_image, background or fit_background(masked_image))
    candidates = find_star_candidates(pixels, masked_image.mask, masked_image.bits(BAD_PLANES), MAX_CANDIDATES)
    height, width = exposure.shape
    box = Box(0, 0, width - 1, height - 1)
    fits = _fit(pixels, candidates, candidates.width, FIRST_BETA)
    good = np.flatnonzero(_is_star_like(fits))
    if not good.size:
        log.info("PSF of %s: no star among %d candidates", exposure.name, len(candidates))
        return None
    candidates, fits = candidates.take(good), fits.take(good)
    fits, locus = _with_common_beta(pixels, candidates, fits, box)
    stars = np.flatnonzero(locus.is_star)[:max_stars]
    if not stars.size:
        log.info("PSF of %s: no cluster of sizes among %d compact sources", exposure.name, len(candidates))
        return None
    measured = _summary(candidates.take(stars), fits.take(stars), locus, exposure)
    log.info(
        "PSF of %s: fwhm %.3f px from %d stars of %d compact sources (scatter %.3f, field %.3f to %.3f px)",
        exposure.name,
        measured.fwhm,
        measured.n_stars,
        len(candidates),
        measured.fwhm_scatter,
        measured.fwhm_min,
        measured.fwhm_max,
    )
    return measured


def _fit(
    pixels: SkyPixels,
    candidates: StarCandidates,
    fwhm: NDArray[np.float64],
    beta: float,
    *,
    free_beta: bool = False,
) -> ProfileFits:
    """Profiles of all candidates, each in a window of its own size."""
    wanted = np.maximum(WINDOW_FWHM * fwhm, MIN_WINDOW)
    window_class = np.ceil(np.log(wanted / MIN_WINDOW) / np.log(WINDOW_STEP) - 1e-9).astype(int)
    fits = ProfileFits.empty(len(candidates))
    for number in np.unique(window_class):
        radius = MIN_WINDOW * WINDOW_STEP**number
        half = int(np.ceil(radius))
        rows = np.flatnonzero(window_class == number)
        step = max(1, CHUNK_PIXELS // (2 * half + 1) ** 2)
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            stamps = cut_stamps(pixels, candidates.x, candidates.y, some, half)
            fits.put(some, fit_profiles(stamps, fwhm[some], radius, beta, free_beta=free_beta))
    return fits


def _is_star_like(fits: ProfileFits) -> NDArray[np.bool_]:
    """Fits that describe a source no narrower than a pixel, well."""
    with np.errstate(invalid="ignore"):
        described = fits.misfit**2 <= (MAX_MISFIT * fits.signal) ** 2 + MISFIT_NOISE * fits.noise**2
        return fits.converged & described & (fits.fwhm_minor >= MIN_FWHM) & (_snr(fits) >= MIN_SNR)


def _snr(fits: ProfileFits) -> NDArray[np.float64]:
    """Signal-to-noise ratio of the fitted profile, with the mean variance of its window."""
    noise = fits.noise / np.sqrt(fits.n_pixels)
    # A noiseless image: a finite ratio that passes every cut.
    return fits.signal / np.maximum(noise, 1e-6 * fits.signal)


def _sizes(candidates: StarCandidates, fits: ProfileFits) -> Sizes:
    return Sizes(candidates.x, candidates.y, np.log(fits.fwhm), fits.error, fits.e1, fits.e2)


def _with_common_beta(
    pixels: SkyPixels, candidates: StarCandidates, fits: ProfileFits, box: Box
) -> tuple[ProfileFits, Locus]:
    """Fits with the exponent of the stars near the stellar locus, and the locus that they give."""
    locus = find_locus(_sizes(candidates, fits), box)
    expected = locus.fwhm(candidates.x, candidates.y)
    brightest = np.flatnonzero(locus.is_star & (_snr(fits) >= BETA_SNR))[:BETA_STARS]
    if len(brightest) < MIN_BETA_STARS:
        return fits, locus
    free = _fit(pixels, candidates.take(brightest), expected[brightest], FIRST_BETA, free_beta=True)
    beta = float(np.exp(np.median(np.log(free.beta))))
    near = np.flatnonzero(np.abs(np.log(fits.fwhm / expected)) < NEAR_LOCUS)
    again = _fit(pixels, candidates.take(near), expected[near], beta)
    sound = np.flatnonzero(_is_star_like(again))
    fits = fits.copy()
    fits.put(near[sound], again.take(sound))
    return fits, find_locus(_sizes(candidates, fits), box, locus)


def _summary(candidates: StarCandidates, fits: ProfileFits, locus: Locus, exposure: Exposure) -> MeasuredPsf:
    """Result from the stars alone."""
    x, y = candidates.x + fits.dx, candidates.y + fits.dy
    field = _field_map(locus, x, y)
    terms = locus.spatial.terms(x, y).mean(axis=1)
    e1, e2 = float(locus.e1 @ terms), float(locus.e2 @ terms)
    deviation = fits.fwhm / locus.fwhm(x, y) - 1.0
    fwhm = float(np.median(field))
    return MeasuredPsf(
        fwhm=fwhm,
        fwhm_scatter=float(MAD_TO_SIGMA * np.median(np.abs(deviation)) * fwhm),
        n_stars=len(x),
        fwhm_min=float(field.min()),
        fwhm_mean=float(field.mean()),
        fwhm_max=float(field.max()),
        beta=float(np.median(fits.beta)),
        ellipticity=float(np.hypot(e1, e2)),
        position_angle=float(0.5 * np.arctan2(e2, e1)),
        stars=_star_table(x, y, fits, exposure.xy0),
        locus=locus,
        xy0=exposure.xy0,
        origin=f"measured from {len(x)} stars",
    )


def _field_map(locus: Locus, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """FWHM on a grid over the part of the image that the stars cover: outside a polynomial is a guess."""
    columns, rows = np.meshgrid(*(np.linspace(v.min(), v.max(), MAP_POINTS) for v in (x, y)))
    return locus.fwhm(columns, rows)


def _star_table(x: NDArray, y: NDArray, fits: ProfileFits, xy0: tuple[int, int]) -> Table:
    """One row per star, positions in parent pixels."""
    from astropy.table import Table

    # Integral of the Moffat profile: pi A a b / (beta - 1), where fwhm = 2 sqrt(a b (2^(1/beta) - 1)).
    area = np.pi * fits.fwhm**2 / (4.0 * (np.exp2(1.0 / fits.beta) - 1.0) * (fits.beta - 1.0))
    table = Table(
        {
            "x": x + xy0[0],
            "y": y + xy0[1],
            "flux": fits.amplitude * area,
            "snr": _snr(fits),
            "fwhm": fits.fwhm,
            "fwhm_err": fits.fwhm * fits.error,
            "e1": fits.e1,
            "e2": fits.e2,
        }
    )
    for name in ("x", "y", "fwhm", "fwhm_err"):
        table[name].unit = "pix"
    table["flux"].unit = "ct"
    return table
