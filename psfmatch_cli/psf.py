"""Point-spread functions: the little that matching needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError
from psfmatch_cli.widths import FWHM_RANGE, is_width

if TYPE_CHECKING:
    from psfmatch_cli.psfex import PsfexModel

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: A Moffat profile reaches this many FWHM: of an exponent of 2.5, 0.1 % of the flux is further out.
MOFFAT_FWHM = 8.0


@dataclass(frozen=True)
class Psf:
    """A constant PSF image.

    Parameters
    ----------
    image : ndarray, (n, n), float64
        Centred on its middle pixel, odd sides, sum 1.
    origin : str
        Where it came from, for the log.
    """

    image: NDArray[np.float64]
    origin: str = "given"

    @classmethod
    def from_image(cls, image, origin: str = "given") -> Psf:
        """Psf from any positive image: trimmed to odd sides around its peak and normalised.

        Raises
        ------
        InputError
            If the image has no positive sum or is not two-dimensional, is constant, or has no plausible width.
        """
        image = np.array(image, dtype=np.float64)
        if image.ndim != 2 or not np.isfinite(image).all() or image.sum() <= 0:
            raise InputError(f"a PSF image ({origin}) must be two-dimensional and finite with a positive sum")
        y, x = np.unravel_index(np.argmax(image), image.shape)
        half = min(y, x, image.shape[0] - 1 - y, image.shape[1] - 1 - x)
        if image.min() == image.max():
            raise InputError(f"a PSF image ({origin}) must have a peak, this one is constant")
        image = image[y - half : y + half + 1, x - half : x + half + 1]
        return cls(image / image.sum(), origin).checked()

    def checked(self) -> Psf:
        """Itself.

        Raises
        ------
        InputError
            If the image does not fall to half of its peak, which must be its middle pixel, within a plausible width.
        """
        middle = self.image.shape[0] // 2
        peak = self.image[middle, middle]
        ends = (*self.image[middle, [0, -1]], *self.image[[0, -1], middle])
        if not (peak > 0 and max(ends) < 0.5 * peak and is_width(self.fwhm)):
            raise InputError(
                f"a PSF image ({self.origin}) must fall from a peak in its middle to below half of that, with a FWHM "
                f"of {FWHM_RANGE} pixels; this one of {self.image.shape[1]} x {self.image.shape[0]} pixels does not: "
                "give the FWHM instead"
            )
        return self

    @property
    def fwhm(self) -> float:
        """Full width at half maximum in pixels: mean of the two slices through the centre.

        Linear interpolation between pixels at half of the slice's maximum.
        """
        middle = self.image.shape[0] // 2
        return 0.5 * (_slice_fwhm(self.image[middle]) + _slice_fwhm(self.image[:, middle]))

    @property
    def sigma(self) -> float:
        """Gaussian sigma of the same FWHM, pixels."""
        return self.fwhm / FWHM_PER_SIGMA

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """The image at a parent position, (n, n): the same everywhere."""
        return self.image


@dataclass(frozen=True)
class VaryingPsf(Psf):
    """A PSF that is a polynomial of the position; its `image` is that of the middle of the exposure.

    Parameters
    ----------
    model : PsfexModel
        At array positions.
    xy0 : (int, int)
        Parent position of the exposure's first pixel.
    """

    model: PsfexModel | None = None
    xy0: tuple[int, int] = (0, 0)

    @classmethod
    def from_model(
        cls, model: PsfexModel, shape: tuple[int, int], origin: str, xy0: tuple[int, int] = (0, 0)
    ) -> VaryingPsf:
        """PSF of an exposure of that shape.

        Raises
        ------
        InputError
            If the model's image has no positive sum.
        """
        central = Psf.from_image(model.image((shape[1] - 1) / 2, (shape[0] - 1) / 2), origin)
        return cls(central.image, origin, model, xy0)

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """The image at a parent position, (n, n)."""
        return self.model.image(x - self.xy0[0], y - self.xy0[1])


def _slice_fwhm(profile: NDArray[np.float64]) -> float:
    half = 0.5 * profile.max()
    above = np.flatnonzero(profile >= half)
    first, last = above[0], above[-1]
    left = first - (profile[first] - half) / (profile[first] - profile[first - 1]) if first > 0 else 0.0
    right = (
        last + (profile[last] - half) / (profile[last] - profile[last + 1])
        if last < len(profile) - 1
        else float(len(profile) - 1)
    )
    return float(right - left)


def gaussian_psf(fwhm: float, origin: str = "gaussian") -> Psf:
    """Psf of a sampled circular Gaussian of the given FWHM in pixels."""
    sigma = fwhm / FWHM_PER_SIGMA
    half = max(3, int(np.ceil(5 * sigma)))
    u = np.arange(-half, half + 1)
    profile = np.exp(-0.5 * (u / sigma) ** 2)
    image = np.outer(profile, profile)
    return Psf(image / image.sum(), origin)


def moffat_psf(fwhm: float, beta: float, origin: str = "moffat") -> Psf:
    """Psf of a sampled circular Moffat profile, (1 + (r / a)^2)^-beta, of the given FWHM in pixels."""
    scale = fwhm / (2.0 * np.sqrt(np.exp2(1.0 / beta) - 1.0))
    half = max(3, int(np.ceil(MOFFAT_FWHM * fwhm)))
    u = np.arange(-half, half + 1) / scale
    image = (1.0 + u**2 + u[:, None] ** 2) ** -beta
    return Psf(image / image.sum(), origin)
