"""How the noise of neighbouring pixels is correlated, measured from two exposures of one field.

Resampled, drizzled or interpolated images have correlated noise, which a variance plane cannot tell; once
convolved, their noise differs from what white noise would give. The autocorrelation of one image's sky holds its
noise and whatever faint sky the image shows; the cross-correlation with the other image, whose noise is
independent, holds only the latter. Their difference is the noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import MaskedImage

#: Largest lag, pixels: interpolation kernels and drizzled drops reach no further.
REACH = 4
#: Correlations below this are not told from 0 ...
_SMALLEST = 0.01
#: ... nor those below this many standard errors.
_SIGNIFICANT = 4.0
#: Side of the blocks whose mean sky is taken off, pixels.
_BLOCK = 32
#: Sky pixels that give correlations worth having.
_ENOUGH = 20_000


def noise_autocorrelation(
    image: MaskedImage, other: MaskedImage, not_sky: NDArray[np.bool_], flux_ratio: float
) -> NDArray[np.float64] | None:
    """Autocorrelation of the noise of `image`, relative to its variance plane's lag 0.

    Parameters
    ----------
    image, other : MaskedImage
        Two exposures on one grid.
    not_sky : ndarray, (H, W), bool
        Pixels to leave out.
    flux_ratio : float
        Counts of `image` per count of `other`.

    Returns
    -------
    ndarray, (2 * REACH + 1, 2 * REACH + 1), or None
        1 at the centre; None if the noise is white as far as can be told.
    """
    sky = ~not_sky & np.isfinite(image.image) & np.isfinite(other.image)
    n_sky = np.count_nonzero(sky)
    if n_sky < _ENOUGH:
        return None
    sigma = np.sqrt(np.median(image.variance[sky]))
    scale = np.sqrt(image.variance / sigma**2, where=sky, out=np.ones(image.shape, np.float32))
    own = _flattened(image.image, scale, sky)
    cross = _flattened(other.image * np.float32(flux_ratio), scale, sky)
    # Cut at 4 sigma of each: a star's edge must not look like correlated noise.
    own, cross = (np.clip(z, -4 * _spread(z, sky), 4 * _spread(z, sky)) for z in (own, cross))
    rho = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    for dy in range(REACH + 1):
        for dx in range(-REACH, REACH + 1):
            if dy > 0 or dx >= 0:
                value = _lagged(own, own, sky, dy, dx) - 0.5 * (
                    _lagged(own, cross, sky, dy, dx) + _lagged(cross, own, sky, dy, dx)
                )
                rho[REACH + dy, REACH + dx] = rho[REACH - dy, REACH - dx] = value
    rho /= rho[REACH, REACH]
    rho[np.abs(rho) < max(_SMALLEST, _SIGNIFICANT / np.sqrt(n_sky))] = 0.0
    return rho if np.count_nonzero(rho) > 1 else None


def _spread(z: NDArray, sky: NDArray[np.bool_]) -> float:
    return 1.4826 * float(np.median(np.abs(z[sky][::5])))


def _flattened(image: NDArray, scale: NDArray, sky: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Image less its mean sky in blocks, over `scale`; 0 where it is not sky."""
    height, width = image.shape
    rows, columns = np.arange(0, height, _BLOCK), np.arange(0, width, _BLOCK)

    def block_sums(values: NDArray) -> NDArray[np.float64]:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)

    counts = block_sums(sky)
    means = block_sums(np.where(sky, image, 0)) / np.maximum(counts, 1)
    mean = np.repeat(np.repeat(means, _BLOCK, axis=0)[:height], _BLOCK, axis=1)[:, :width]
    return np.where(sky, (image - mean) / scale, 0).astype(np.float32)


def _lagged(first: NDArray, second: NDArray, sky: NDArray[np.bool_], dy: int, dx: int) -> float:
    """Mean product of `first` and `second` displaced by (dx, dy), over pairs of sky pixels."""
    height, width = sky.shape
    here = np.s_[: height - dy, max(0, -dx) : width - max(0, dx)]
    there = np.s_[dy:, max(0, dx) : width - max(0, -dx)]
    pairs = np.count_nonzero(sky[here] & sky[there])
    return float(np.vdot(first[here], second[there])) / max(pairs, 1)
