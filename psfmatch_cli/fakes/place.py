"""Places and fluxes of sources to inject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import DetectionConfig, FakesConfig
from psfmatch_cli.detect import detect
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.forced import forced_fluxes
from psfmatch_cli.matched_filter import BAD_PLANES, middle_of, psf_half
from psfmatch_cli.psf import Psf

#: Pixels within so many FWHM of a place are all usable: masked ones are looked at by nobody.
CLEAR_FWHM = 1.0
#: A source of the difference without the injected ones keeps them this many FWHM away.
AWAY_FWHM = 2.5
#: Extended sources: so much larger than the PSF, and so significant that this is no noise.
EXTENDEDNESS, HOST_SIGNIFICANCE = 0.3, 20.0
#: Offsets that are tried per host, and places that are tried per place that is wanted on the sky.
HOST_TRIES, SKY_TRIES = 4, 20


@dataclass(frozen=True)
class Places:
    """Where to inject.

    Parameters
    ----------
    x, y : ndarray, (n,)
        Parent positions.
    on_galaxy : ndarray of bool, (n,)
        On an extended source; else on the sky, away from every detected source.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    on_galaxy: NDArray[np.bool_]


def draw_places(
    difference: Exposure,
    science: Exposure,
    occupied: NDArray[np.float64],
    stamps: NDArray[np.int64],
    config: FakesConfig,
    detection: DetectionConfig,
    rng: np.random.Generator,
) -> Places:
    """Random places on galaxies and on the sky, none near another, a masked pixel or a source of the difference.

    Those on the sky are outside the stamps as far as there is room.

    Parameters
    ----------
    difference : Exposure
        With its PSF; its mask is that of both images, with DETECTED where the science image has sources.
    science : Exposure
        Where galaxies are looked for.
    occupied : ndarray, (m, 2)
        Parent positions of the sources of the difference.
    stamps : ndarray, (k, 4)
        Boxes x0, y0, x1, y1 of the candidates that the kernel was fitted to, parent pixels.
    config : FakesConfig
    detection : DetectionConfig
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        If there is no room for any.
    """
    fwhm = difference.psf.fwhm
    clear = _clear_pixels(difference, fwhm)
    wanted = round(config.density * difference.image.size / 1e6)
    galaxies = _on_hosts(_hosts(science, detection), rng) if config.on_galaxies > 0 else np.zeros((0, 2))
    sky = _on_sky(difference, clear, SKY_TRIES * max(wanted, 1), rng)
    sky = sky[np.argsort(n_inside(sky, stamps), kind="stable")]
    chosen = _Chosen(config.separation * fwhm, AWAY_FWHM * fwhm, occupied)
    chosen.take(galaxies[_is_clear(galaxies, clear, difference.xy0)], round(config.on_galaxies * wanted))
    n_galaxies = len(chosen.places)
    chosen.take(sky, wanted)
    if not chosen.places:
        raise InputError(f"{science.name}: there is no clear place to inject a source at; too much is masked")
    x, y = np.array(chosen.places).T
    return Places(x, y, np.arange(len(x)) < n_galaxies)


class _Chosen:
    """Places that keep their distance from each other and from what is there."""

    def __init__(self, separation: float, away: float, occupied: NDArray[np.float64]):
        self.separation, self.away, self.occupied = separation, away, occupied
        self.places: list[NDArray[np.float64]] = []

    def take(self, tried: NDArray[np.float64], total: int) -> None:
        """Take the first of those tried that keep their distances, until there are so many in all."""
        for place in tried:
            if len(self.places) >= total:
                return
            if _keeps(place, self.occupied, self.away) and _keeps(place, self.places, self.separation):
                self.places.append(place)


def _keeps(place: NDArray[np.float64], others, distance: float) -> bool:
    return not len(others) or bool((np.hypot(*(np.asarray(others) - place).T) >= distance).all())


def _clear_pixels(difference: Exposure, fwhm: float) -> NDArray[np.bool_]:
    """Pixels around which all are usable, (H, W)."""
    from scipy import ndimage

    masked = difference.masked_image
    bad = masked.unusable(BAD_PLANES) | ~np.isfinite(masked.image) | ~(masked.variance > 0)
    # Beyond the border there are no pixels either.
    inside = np.pad(~bad, 1)
    return ndimage.distance_transform_edt(inside)[1:-1, 1:-1] > CLEAR_FWHM * fwhm


def _is_clear(places: NDArray[np.float64], clear: NDArray[np.bool_], xy0: tuple[int, int]) -> NDArray[np.bool_]:
    """Which parent positions are on clear pixels, (n,)."""
    column, row = np.floor(places - np.array(xy0) + 0.5).astype(int).T
    height, width = clear.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return inside & clear[np.where(inside, row, 0), np.where(inside, column, 0)]


def n_inside(places: NDArray[np.float64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """In how many boxes (x0, y0, x1, y1) each place lies, (n,)."""
    return _inside(places, boxes).sum(axis=1)


def is_lit(boxes: NDArray[np.int64], places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes (x0, y0, x1, y1) hold a place, (k,)."""
    return _inside(places, boxes).any(axis=0)


def _inside(places: NDArray[np.float64], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    at = places[:, None, :]
    return ((at >= boxes[:, :2] - 0.5) & (at < boxes[:, 2:] + 0.5)).all(axis=2)


def _on_sky(
    difference: Exposure, clear: NDArray[np.bool_], number: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random parent positions on clear pixels without detected sources, (n, 2)."""
    rows, columns = np.nonzero(clear & ~difference.masked_image.flagged(DETECTED_PLANES))
    if not len(rows):
        return np.zeros((0, 2))
    at = rng.integers(len(rows), size=number)
    return np.column_stack([columns[at], rows[at]]) + rng.uniform(-0.5, 0.5, (number, 2)) + np.array(difference.xy0)


def _hosts(science: Exposure, detection: DetectionConfig) -> NDArray[np.float64]:
    """Position and moments (x, y, Ixx, Iyy, Ixy) of the extended sources of an image, (n, 5)."""
    sources = detect(science, detection.model_copy(update={"threshold_polarity": "positive"})).sources
    extended = (sources["size_extendedness"] > EXTENDEDNESS) & (sources["significance"] > HOST_SIGNIFICANCE)
    extended &= ~(sources["flag_shape"] | sources["flag_centroid"])
    return np.column_stack([np.asarray(sources[name], float)[extended] for name in ("x", "y", "Ixx", "Iyy", "Ixy")])


def _on_hosts(hosts: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Random parent positions, distributed about the hosts as a Gaussian of their moments is, hosts in turn."""
    rounds = []
    for _ in range(HOST_TRIES):
        for x, y, ixx, iyy, ixy in rng.permutation(hosts):
            rounds.append(rng.multivariate_normal((x, y), [[ixx, ixy], [ixy, iyy]], check_valid="ignore"))
    return np.array(rounds).reshape(-1, 2)


def draw_fluxes(
    difference: Exposure,
    psf: Psf,
    places: Places,
    scale: float,
    gain: float | None,
    config: FakesConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fluxes whose signal-to-noise ratios are uniform in the logarithm, and these ratios, (n,) each.

    With the error e of PSF photometry on the difference without the source, and the variance ``a f`` that its light f
    adds, the ratio r is ``f / sqrt(e^2 + a f)``.

    Parameters
    ----------
    difference : Exposure
        Without the sources.
    psf : Psf
        Of the difference.
    places : Places
    scale : float
        Counts of the difference per count of the science image.
    gain : float or None
        Electrons per count of the science image; None: the light adds no noise.
    config : FakesConfig
    rng : numpy.random.Generator

    Returns
    -------
    flux : ndarray
        Counts of the science image.
    snr : ndarray
    """
    error = forced_fluxes(difference, psf, places.x, places.y).flux_err / scale
    snr = np.exp(rng.uniform(np.log(config.min_snr), np.log(config.max_snr), len(places.x)))
    a = 0.0
    if gain is not None:
        image = middle_of(psf.image, psf_half(psf))
        a = float((image**3).sum() / (image**2).sum() ** 2 / gain)
    flux = 0.5 * (snr**2 * a + np.sqrt((snr**2 * a) ** 2 + 4 * (snr * error) ** 2))
    return np.where(np.isfinite(flux), flux, 0.0), snr
