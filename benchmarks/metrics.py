"""Figures of merit of a difference image.

All functions take arrays [y, x], positions as 0-based array indices, and return plain numbers; nothing
here knows the program that made the difference. ``width`` is the robust width 1.4826 MAD throughout.

The noise of a difference is correlated between pixels, because one image was convolved; its variance plane
holds only the diagonal. Sums over many pixels (apertures, matched filters) are therefore noisier than the
plane says even for a perfect subtraction. Where it matters the figure is given twice: as it is, and divided
by the same figure measured on empty sky.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter
from scipy.signal import oaconvolve

Mask = NDArray[np.bool_]
THRESHOLD = 5.0


def width(values: NDArray) -> float:
    """1.4826 times the median absolute deviation from the median; NaN without values."""
    values = np.asarray(values, float)
    if not values.size:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


@dataclass(frozen=True)
class Spread:
    """Robust width, rms and number of some values."""

    width: float
    rms: float
    n: int

    @classmethod
    def of(cls, values: NDArray) -> Spread:
        rms = float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")
        return cls(width(values), rms, len(values))


def normalised(difference: NDArray, variance: NDArray, usable: Mask) -> NDArray[np.float64]:
    """difference / sqrt(variance), 0 where it is not usable."""
    out = np.zeros(difference.shape)
    out[usable] = difference[usable] / np.sqrt(variance[usable])
    return out


def sky_spread(difference: NDArray, variance: NDArray, usable: Mask, sources: Mask) -> Spread:
    """Spread of difference / sqrt(variance) on usable pixels without sources; truth: 1."""
    return Spread.of(normalised(difference, variance, usable)[usable & ~sources])


def source_map(truth: NDArray, sky: NDArray, sigma: float, limit: float = 0.2, grow: int = 2) -> Mask:
    """Pixels where a noise-free image is more than `limit` sky sigmas above its sky, grown."""
    return binary_dilation(truth - sky > limit * sigma, iterations=grow)


def aperture_pixels(shape: tuple[int, int], x: float, y: float, radius: float) -> tuple[NDArray, NDArray] | None:
    """Indices (rows, columns) of the pixels whose centre is within `radius` of a position.

    None if the aperture reaches over the border.
    """
    if not (radius <= x <= shape[1] - 1 - radius and radius <= y <= shape[0] - 1 - radius):
        return None
    half = int(np.ceil(radius))
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    rows, columns = np.mgrid[iy - half : iy + half + 1, ix - half : ix + half + 1]
    inside = np.hypot(columns - x, rows - y) <= radius
    return rows[inside], columns[inside]


def aperture_significance(
    difference: NDArray, variance: NDArray, usable: Mask, x: NDArray, y: NDArray, radius: float
) -> NDArray[np.float64]:
    """Aperture sum over the root of the summed variance at each position whose whole aperture is usable."""
    out = []
    for xs, ys in zip(x, y, strict=True):
        pixels = aperture_pixels(difference.shape, xs, ys, radius)
        if pixels is not None and usable[pixels].all():
            out.append(difference[pixels].sum() / np.sqrt(variance[pixels].sum()))
    return np.array(out)


def empty_positions(
    occupied: Mask, radius: float, number: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random positions (x, y) whose apertures touch no occupied pixel; at most `number`."""
    free = ~binary_dilation(occupied, _disc(radius + 1.0))
    margin = int(np.ceil(radius)) + 1
    free[:margin] = free[-margin:] = free[:, :margin] = free[:, -margin:] = False
    rows, columns = np.nonzero(free)
    chosen = rng.permutation(len(rows))[:number]
    return columns[chosen].astype(float), rows[chosen].astype(float)


def _disc(radius: float) -> Mask:
    half = int(radius)
    offsets = np.arange(-half, half + 1)
    return np.hypot(offsets, offsets[:, None]) <= radius


def psf_flux(difference: NDArray, usable: Mask, x: float, y: float, psf: NDArray) -> float:
    """Unweighted least-squares flux of a point source; NaN if a pixel of the PSF image cannot be used.

    Parameters
    ----------
    psf : ndarray, (n, n)
        Point source of unit flux at this sub-pixel position, centred on the pixel nearest to (x, y).
    """
    stamp = _stamp(difference, usable, x, y, len(psf) // 2)
    return float("nan") if stamp is None else float(np.sum(psf * stamp) / np.sum(psf**2))


def aperture_flux(difference: NDArray, usable: Mask, x: float, y: float, psf: NDArray, radius: float) -> float:
    """Aperture sum divided by the part of the true PSF in the same pixels; NaN if a pixel cannot be used."""
    half = len(psf) // 2
    stamp = _stamp(difference, usable, x, y, half)
    if stamp is None:
        return float("nan")
    offsets = np.arange(-half, half + 1)
    ix, iy = np.floor(x + 0.5), np.floor(y + 0.5)
    inside = np.hypot(offsets - (x - ix), offsets[:, None] - (y - iy)) <= radius
    return float(stamp[inside].sum() / psf[inside].sum())


def _stamp(image: NDArray, usable: Mask, x: float, y: float, half: int) -> NDArray | None:
    """Square cut-out around the nearest pixel; None unless all of it is usable."""
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    if min(ix, iy) < half:
        return None
    at = (slice(iy - half, iy + half + 1), slice(ix - half, ix + half + 1))
    stamp = image[at]
    return stamp if stamp.shape == (2 * half + 1,) * 2 and usable[at].all() else None


@dataclass(frozen=True)
class Bias:
    """Median of relative errors and the standard error of that median."""

    median: float
    error: float
    n: int

    @classmethod
    def of(cls, measured: NDArray, true: NDArray) -> Bias:
        known = np.isfinite(measured)
        relative = measured[known] / true[known] - 1.0
        if not len(relative):
            return cls(float("nan"), float("nan"), 0)
        # The median of Gaussian values is 1.2533 times as noisy as their mean.
        return cls(float(np.median(relative)), float(1.2533 * width(relative) / np.sqrt(len(relative))), len(relative))


def matched_filter(difference: NDArray, variance: NDArray, usable: Mask, psf: NDArray) -> NDArray[np.float64]:
    """Significance of a point source at each pixel: (D x P) / sqrt(V x P^2), x a correlation over usable pixels."""
    good = np.where(usable, difference, 0.0)
    power = np.where(usable, variance, 0.0)
    signal = oaconvolve(good, psf[::-1, ::-1], mode="same")
    noise2 = oaconvolve(power, np.square(psf[::-1, ::-1]), mode="same")
    # FFTs leave garbage where no pixel is usable: those get 0 below.
    floor = 1e-9 * np.median(power[usable]) * np.sum(psf**2)
    return np.where(usable, signal / np.sqrt(np.maximum(noise2, floor)), 0.0)


def peaks(significance: NDArray, usable: Mask, threshold: float = THRESHOLD) -> tuple[NDArray, NDArray, NDArray]:
    """Positions (x, y) and signed values of the local maxima of |significance| above a threshold.

    A peak is usable and the largest of the 3 x 3 pixels around it.
    """
    absolute = np.where(usable, np.abs(significance), 0.0)
    rows, columns = np.nonzero((absolute > threshold) & (absolute == maximum_filter(absolute, size=3)))
    return columns, rows, significance[rows, columns]


def near_any(x: NDArray, y: NDArray, xs: NDArray, ys: NDArray, radius: float) -> Mask:
    """Which of the positions (x, y) are within `radius` of any of (xs, ys)."""
    from scipy.spatial import cKDTree

    if not len(xs) or not len(x):
        return np.zeros(len(x), bool)
    distance, _ = cKDTree(np.column_stack([xs, ys])).query(np.column_stack([x, y]))
    return distance <= radius


def completeness(
    significance: NDArray, usable: Mask, x: NDArray, y: NDArray, sign: NDArray, radius: float = 3.0
) -> tuple[float, int]:
    """Fraction of positions on usable pixels with a peak of the right sign within `radius`, and their number."""
    px, py, value = peaks(significance, usable)
    rows, columns = np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)
    kept = usable[rows, columns]
    found = np.zeros(len(x), bool)
    for polarity in (1, -1):
        same = sign == polarity
        right = value * polarity > 0
        found[same] = near_any(x[same], y[same], px[right], py[right], radius)
    return float(found[kept].mean()) if kept.any() else float("nan"), int(kept.sum())


def false_peaks(significance: NDArray, usable: Mask, x: NDArray, y: NDArray, radius: float) -> float:
    """Peaks of |significance| above 5 per megapixel, further than `radius` from all true changes (x, y)."""
    px, py, _ = peaks(significance, usable)
    area = usable.sum() - min(len(x) * np.pi * radius**2, 0.9 * usable.sum())
    return float((~near_any(px, py, x, y, radius)).sum() / area * 1e6)


def explained_mask(science_bad: Mask, template_bad: Mask, half: int) -> Mask:
    """Pixels that a kernel of this half size may cost: the bad pixels of both inputs, grown, and the border."""
    side = np.ones((2 * half + 1, 1), bool)
    grown = binary_dilation(binary_dilation(science_bad | template_bad, side), side.T)
    if half:
        grown[:half] = grown[-half:] = grown[:, :half] = grown[:, -half:] = True
    return grown


@dataclass(frozen=True)
class PairScore:
    """How a difference of a real pair scores; lower is better but for `good`.

    Parameters
    ----------
    sky : float
        Width of the difference where the science image is near its sky, counts.
    star_mad, star_rms : float
        Width and rms (values clipped to +-50) on the pixels of sources, in units of the expected noise
        ``sqrt(sky^2 + source / gain)``.
    star_frac : float
        Sum of |difference| over the sum of the source light, on the pixels of sources.
    good : float
        Fraction of the pixels inside the border that can be used.
    """

    sky: float
    star_mad: float
    star_rms: float
    star_frac: float
    good: float


def score_pair(
    science: NDArray,
    differences: dict[str, NDArray],
    usable: dict[str, Mask],
    gain: float | None = None,
    border: int = 30,
    judged: Mask | None = None,
) -> dict[str, PairScore]:
    """Score differences of one real pair on the pixels that all of them can use.

    Parameters
    ----------
    science : ndarray, (H, W)
        Science image, counts; its sources (above 10 sigma) and sky (below 2 sigma) decide which pixels count.
    differences, usable : dict of str to ndarray
        By name, on the photometric scale of `science`.
    gain : float, optional
        Electrons per count; without it the noise on sources is taken as that of the sky.
    border : int
        Pixels at the border that do not count.
    judged : ndarray, (H, W), bool, optional
        Pixels of sources that count, such as those of stars that were kept out of the fit; default: all.
    """
    light, sigma = background_subtracted(science)
    inner = np.zeros(science.shape, bool)
    inner[border:-border, border:-border] = True
    common = inner & np.isfinite(science) & np.logical_and.reduce(list(usable.values()))
    sources = binary_dilation((light > 10.0 * sigma) & common) & common
    if judged is not None:
        sources &= judged
    sky = (light < 2.0 * sigma) & ~binary_dilation(light > 5.0 * sigma, iterations=4) & common
    return {
        name: _score(difference, light, sources, sky, gain, float(usable[name][inner].mean()))
        for name, difference in differences.items()
    }


def background_subtracted(science: NDArray) -> tuple[NDArray[np.float64], float]:
    """Image without its background of 64-pixel bins, 0 where it is not finite, and its sky noise."""
    import sep

    finite = np.isfinite(science)
    filled = np.where(finite, science, np.nanmedian(science)).astype(float)
    background = sep.Background(filled, mask=~finite, bw=64, bh=64)
    return np.where(finite, science, 0.0) - background.back(), float(background.globalrms)


def _score(difference: NDArray, light: NDArray, sources: Mask, sky: Mask, gain: float | None, good: float) -> PairScore:
    noise = width(difference[sky])
    expected = np.sqrt(noise**2 + (np.clip(light[sources], 0.0, None) / gain if gain else 0.0))
    residual = difference[sources] / expected
    clipped = np.clip(residual, -50.0, 50.0)
    return PairScore(
        sky=noise,
        star_mad=width(residual),
        star_rms=float(np.sqrt(np.mean(clipped**2))) if clipped.size else float("nan"),
        star_frac=float(np.abs(difference[sources]).sum() / light[sources].sum()) if clipped.size else float("nan"),
        good=good,
    )
