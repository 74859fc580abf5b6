"""Background of an image: clipped statistics of bins and a Chebyshev surface through them.

The clipped mean and standard deviation are three passes at 3 sigma: the first around the median with
the width of the quartiles, the other two around the last clipped mean. Every pass starts again from
all values. In a crowded bin the mean stays biased high by the stars it cannot tell from the sky;
for detection that is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import FitError, InputError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, SpatialModel

log = logging.getLogger(__name__)

CLIP_SIGMA = 3.0
CLIP_ITERATIONS = 3
#: Half of the interquartile range of a Gaussian is 0.6745 sigma, so sigma = 0.7413 (Q3 - Q1).
SIGMA_PER_IQR = 0.741301109252802
#: Singular values below this fraction of the largest mean that the bins do not fix the surface.
RANK_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ClippedStats:
    """Clipped mean, unbiased standard deviation and number of the values kept."""

    mean: float
    std: float
    n: int


def clipped_mean_std(values: ArrayLike) -> ClippedStats:
    """Mean and standard deviation after three passes of 3 sigma clipping.

    Parameters
    ----------
    values : array-like
        Any shape; values that are not finite are left out.

    Returns
    -------
    ClippedStats
        ``std`` is 0 if the quartiles are equal (then only values equal to the median are kept) and
        NaN if a single value is kept.

    Raises
    ------
    InputError
        If no value is finite.
    """
    v = np.asarray(values).ravel()
    v = np.sort(v[np.isfinite(v)]).astype(np.float64)
    if not v.size:
        raise InputError("clipped statistics need at least one finite value, got none")
    first, center, third = sorted_quartiles(v)
    spread = SIGMA_PER_IQR * (third - first)
    mean, std, n = center, spread, len(v)
    for _ in range(CLIP_ITERATIONS):
        width = CLIP_SIGMA * (std if n > 1 else spread)
        # Sorted values: those kept are one slice.
        kept = v[np.searchsorted(v, center - width, "left") : np.searchsorted(v, center + width, "right")]
        n = len(kept)
        if n:
            mean = center = float(kept.mean())
        std = _unbiased_std(kept, mean)
    return ClippedStats(mean, std, n)


def sorted_quartiles(ordered: NDArray) -> tuple[float, float, float]:
    """First quartile, median and third quartile of sorted values, linear at index q (n - 1)."""
    at = np.array([0.25, 0.5, 0.75]) * (len(ordered) - 1)
    first, middle, third = np.interp(at, np.arange(len(ordered)), ordered)
    return float(first), float(middle), float(third)


def _unbiased_std(values: NDArray, mean: float) -> float:
    if len(values) < 2:
        return float("nan")
    # Not np.dot: threads of a linear algebra library cost more than they save at the size of a bin.
    return float(np.sqrt(np.square(values - mean).sum() / (len(values) - 1)))


@dataclass(frozen=True)
class BackgroundFit:
    """A background that was fitted to an image.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Background of every pixel, counts.
    kind : {'chebyshev', 'median'}
        ``median``: the surface could not be fitted; one number is used everywhere.
    n_bins : int
        Bins that took part.
    order : int
        Order of the surface after its reduction to what the bins allow.
    rms : float
        Median over the bins of the clipped standard deviation: the sky noise of a pixel (and the slope
        of the sky within a bin), counts.
    """

    image: NDArray[np.float32]
    kind: Literal["chebyshev", "median"]
    n_bins: int
    order: int
    rms: float


@dataclass(frozen=True)
class _Bins:
    """Statistics of the bins that have pixels: centre (parent), value, its standard error, pixel noise."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    std: NDArray[np.float64]
    per_axis: tuple[int, int]


def fit_background(masked_image: MaskedImage, config: BackgroundConfig | None = None) -> BackgroundFit:
    """Chebyshev surface through the clipped means of bins.

    The order is lowered to what the number of bins allows. Pixels that are not finite never count.
    If the surface cannot be fitted, the median of the unmasked pixels stands in, with a warning.

    Parameters
    ----------
    masked_image : MaskedImage
        Not changed.
    config : BackgroundConfig, optional
        Bin size, statistic, order, weights and ignored mask planes.

    Raises
    ------
    InputError
        If no pixel is usable.
    """
    config = config or BackgroundConfig()
    good = usable_pixels(masked_image, config.ignored_pixel_mask)
    if not good.any():
        raise InputError(
            f"no unmasked pixel for the background: all {good.size} pixels are not finite or have one of the planes "
            f"{', '.join(config.ignored_pixel_mask)}; check the mask or change ignored_pixel_mask"
        )
    bins = _measure_bins(masked_image, good, config)
    rms = float(np.median(bins.std))
    try:
        model, used = _fit_surface(bins, masked_image.box, config)
    except FitError as error:
        return _median_background(masked_image, good, rms, error)
    return BackgroundFit(model.image(masked_image.box), "chebyshev", used, model.spatial.order, rms)


def usable_pixels(masked_image: MaskedImage, planes: Iterable[str]) -> NDArray[np.bool_]:
    """Finite pixels without the named planes, (H, W).

    An exposure without any known variance has BAD on all its pixels, which says nothing about them:
    there BAD does not count.
    """
    names = [name for name in planes if name != "BAD" or variance_is_known(masked_image)]
    return np.isfinite(masked_image.image) & ~masked_image.flagged(names)


def variance_is_known(masked_image: MaskedImage) -> bool:
    """Whether the variance plane holds any positive, finite value."""
    variance = masked_image.variance
    # A sparse look settles nearly every image; only a plane that seems empty is read whole.
    return any(bool(((part > 0) & (part < np.inf)).any()) for part in (variance[::16, ::16], variance))


def _edges(size: int, bin_size: int) -> NDArray[np.int64]:
    """Limits of the ceil(size / bin_size) bins of one axis: bin i is [edges[i], edges[i + 1])."""
    n = -(-size // bin_size)
    ends = ((np.arange(1, n + 1)) * size + n // 2) // n
    return np.concatenate([[0], np.minimum(ends, size)])


def _cells(shape: tuple[int, int], bin_size: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = _edges(shape[0], bin_size), _edges(shape[1], bin_size)
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            yield slice(y0, y1), slice(x0, x1)


def _measure_bins(masked_image: MaskedImage, good: NDArray[np.bool_], config: BackgroundConfig) -> _Bins:
    rows = []
    for at in _cells(masked_image.shape, config.bin_size):
        values = masked_image.image[at][good[at]]
        if values.size:
            y, x = (0.5 * (part.start + part.stop) - 0.5 for part in at)
            rows.append((x, y, *_bin_statistics(values, config.statistics_property)))
    x, y, value, std, n = np.array(rows, np.float64).T
    x0, y0 = masked_image.xy0
    per_axis = (len(np.unique(x)), len(np.unique(y)))
    return _Bins(x + x0, y + y0, value, std / np.sqrt(n), std, per_axis)


def _bin_statistics(values: NDArray, statistic: str) -> tuple[float, float, int]:
    """Value, standard deviation and number of pixels behind them."""
    if statistic == "MEAN":
        mean = float(values.mean(dtype=np.float64))
        return mean, _unbiased_std(values.astype(np.float64), mean), len(values)
    clipped = clipped_mean_std(values)
    if statistic == "MEDIAN":
        return float(np.median(values)), clipped.std, clipped.n
    return clipped.mean, clipped.std, clipped.n


def _fit_surface(bins: _Bins, box: Box, config: BackgroundConfig) -> tuple[BackgroundModel, int]:
    """The surface of the highest order, up to the wanted one, that the bins determine; and their number."""
    weight = np.ones_like(bins.value)
    if config.weighting:
        with np.errstate(divide="ignore"):
            weight = bins.error ** (-1.0 if config.weight_by == "error" else -2.0)
    use = np.isfinite(bins.value) & np.isfinite(weight)
    if not use.any():
        raise FitError("no bin has a finite value and weight")
    root = np.sqrt(weight[use] / weight[use].max())
    order = min(config.approx_order_x, min(bins.per_axis) - 1)
    while True:
        spatial = SpatialModel("chebyshev1", order, box)
        if spatial.size <= use.sum():
            design = root[:, None] * spatial.terms(bins.x[use], bins.y[use]).T
            solution, _, rank, _ = np.linalg.lstsq(design, root * bins.value[use], rcond=RANK_TOLERANCE)
            if rank == spatial.size:
                return BackgroundModel(solution, spatial), int(use.sum())
        order -= 1


def _median_background(
    masked_image: MaskedImage, good: NDArray[np.bool_], rms: float, reason: FitError
) -> BackgroundFit:
    """The median of the pixels without any mask bit; of the usable ones where a bit is on everything."""
    clean = np.isfinite(masked_image.image) & (masked_image.mask == 0)
    level = float(np.median(masked_image.image[clean if clean.any() else good]))
    log.warning("background: no surface could be fitted (%s); the median %.6g is used everywhere", reason, level)
    return BackgroundFit(np.full(masked_image.shape, level, np.float32), "median", 0, 0, rms)


@dataclass(frozen=True)
class SkyPixels:
    """Pixels above the background, free of values that would spoil a sum.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Image minus background; 0 where bad.
    variance : ndarray, (H, W), float32
        From the variance plane, or the squared sky noise where that plane is unknown; 0 where bad.
    bad : ndarray, (H, W), bool
        Not finite, NO_DATA, or BAD or CR without an interpolated value.
    background : BackgroundFit
        What was subtracted.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bad: NDArray[np.bool_]
    background: BackgroundFit


def subtract_background(masked_image: MaskedImage, background: BackgroundFit) -> SkyPixels:
    """A copy of the pixels without background and without bad values; the input is not changed."""
    known = variance_is_known(masked_image)
    bad = masked_image.unusable(["BAD", "CR", "NO_DATA"] if known else ["CR", "NO_DATA"])
    bad |= ~np.isfinite(masked_image.image)
    image = masked_image.image - background.image
    image[bad] = 0.0
    if known:
        variance = masked_image.variance.copy()
        # An interpolated BAD pixel may come with a variance that is no number; it adds no noise then.
        variance[bad | ~((variance > 0) & (variance < np.inf))] = 0.0
    else:
        variance = np.full(masked_image.shape, background.rms**2, np.float32)
        variance[bad] = 0.0
    return SkyPixels(image, variance, bad, background)


def without_background(exposure: Exposure, config: BackgroundConfig) -> Exposure:
    """The exposure minus its own background model; mask and variance stay as they are."""
    masked_image = exposure.masked_image
    image = masked_image.image - fit_background(masked_image, config).image
    return exposure.with_pixels(replace(masked_image, image=image))
