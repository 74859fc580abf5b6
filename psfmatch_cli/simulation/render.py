"""Point sources and galaxies on a pixel grid, through a PSF that varies over the field.

The PSF is an elliptical Moffat profile, ``f = (beta - 1)/(pi alpha^2) (1 + d^T C^-1 d)^-beta`` with the
offset d in pixels and det C = alpha^4 (Moffat 1969, A&A 3, 455), integrated over the pixels. Galaxies
have the profile of Spergel (2010, ApJS 191, 58), whose transform ``(1 + k^2 r^2)^-(1 + nu)`` is exact: an
exponential disc for nu = 0.5, close to de Vaucouleurs' law for nu = -0.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

# The Moffat profile of beta 3.5 keeps all but 1e-4 of its flux within this many FWHM.
CONSERVING_RADIUS = 6.7


@dataclass(frozen=True)
class MoffatShape:
    """The PSF at one place.

    Parameters
    ----------
    fwhm : float
        Geometric mean of the FWHM along the two axes, pixels, before integration over pixels.
    e1, e2 : float
        Ellipticity (a^2 - b^2)/(a^2 + b^2) times the cosine and sine of twice the position angle.
    beta : float
        Exponent of the profile.
    """

    fwhm: float
    e1: float
    e2: float
    beta: float

    @property
    def alpha(self) -> float:
        """Core radius, pixels."""
        return 0.5 * self.fwhm / np.sqrt(2.0 ** (1.0 / self.beta) - 1.0)

    @property
    def quadratic_form(self) -> tuple[float, float, float]:
        """(xx, xy, yy) of C^-1, per square pixel."""
        scale = 1.0 / (self.alpha**2 * np.sqrt(1.0 - self.e1**2 - self.e2**2))
        return scale * (1.0 - self.e1), -scale * self.e2, scale * (1.0 + self.e1)

    @property
    def peak(self) -> float:
        """Central surface brightness of unit flux, per square pixel."""
        return (self.beta - 1.0) / (np.pi * self.alpha**2)

    def radius_at(self, level: float) -> float:
        """Radius, pixels, where unit flux has fallen to `level` per square pixel; 0 if it never reaches it."""
        ratio = max(self.peak / level, 1.0)
        return self.alpha * np.sqrt(ratio ** (1.0 / self.beta) - 1.0)


@dataclass(frozen=True)
class PsfField:
    """A PSF that varies smoothly over the detector.

    Parameters
    ----------
    fwhm, beta : float
        Of the middle of the range.
    variation : float
        Peak-to-peak range of the FWHM over the field, as a fraction; e1 and e2 each range over +- half of it.
    shape : (int, int)
        Detector, (H, W).
    coefficients : ndarray, (3, 5)
        Of the patterns of FWHM, e1 and e2 on u, v, u^2, uv, v^2 with u, v from -1 to 1.
    """

    fwhm: float
    beta: float
    variation: float
    shape: tuple[int, int]
    coefficients: NDArray[np.float64]

    @classmethod
    def random(cls, fwhm: float, beta: float, variation: float, shape: tuple[int, int], rng: np.random.Generator):
        """Field with random patterns, each scaled to range from -1 to 1 over the detector."""
        return cls(fwhm, beta, variation, shape, rng.normal(size=(3, 5)) * [1.0, 1.0, 0.6, 0.6, 0.6])

    def _patterns(self, x, y) -> NDArray[np.float64]:
        """The three raw patterns at array positions, (3, ...)."""
        u = 2.0 * np.asarray(x, float) / (self.shape[1] - 1) - 1.0
        v = 2.0 * np.asarray(y, float) / (self.shape[0] - 1) - 1.0
        return np.tensordot(self.coefficients, np.stack([u, v, u * u, u * v, v * v]), axes=1)

    def at(self, x, y) -> list[MoffatShape]:
        """The PSF at each of the array positions x, y, (n,)."""
        grid = np.meshgrid(np.linspace(0, self.shape[1] - 1, 33), np.linspace(0, self.shape[0] - 1, 33))
        on_grid = self._patterns(*grid).reshape(3, -1)
        low, high = on_grid.min(axis=1), on_grid.max(axis=1)
        pattern = (2.0 * self._patterns(np.atleast_1d(x), np.atleast_1d(y)).T - high - low) / (high - low)
        half = 0.5 * self.variation
        return [
            MoffatShape(self.fwhm * (1.0 + half * f), half * e1, half * e2, self.beta) for f, e1, e2 in pattern.tolist()
        ]


def moffat_stamp(psf: MoffatShape, x: float, y: float, half: int, step: float = 1.0) -> NDArray[np.float64]:
    """Unit-flux image of a point source, (2 half + 1, 2 half + 1), integrated over pixels.

    Gauss-Legendre quadrature within 1.5 FWHM; outside, the value at the pixel centre plus its Laplacian
    over 24, which is exact to fourth order.

    Parameters
    ----------
    psf : MoffatShape
        The PSF.
    x, y : float
        Position of the source relative to the centre of the middle pixel, pixels.
    half : int
        Half size of the stamp, in samples.
    step : float
        Spacing of the samples in pixels; each is still the integral over one whole pixel.
    """
    centres = step * np.arange(-half, half + 1)
    stamp = _wing(psf, centres - x, centres - y)
    core = min(half, int(np.ceil(1.5 * psf.fwhm / step)) + 1)
    inner = centres[half - core : half + core + 1]
    stamp[half - core : half + core + 1, half - core : half + core + 1] = _core(psf, inner - x, inner - y)
    return stamp


def _wing(psf: MoffatShape, dx: NDArray, dy: NDArray) -> NDArray[np.float64]:
    """Pixel integrals by the value and Laplacian at the centre, (len(dy), len(dx))."""
    xx, xy, yy = psf.quadratic_form
    column = dy[:, None]
    t = 1.0 + xx * dx**2 + yy * column**2 + (2.0 * xy) * dx * column
    gradient2 = 4.0 * ((xx * dx + xy * column) ** 2 + (xy * dx + yy * column) ** 2)
    beta = psf.beta
    laplacian = beta * ((beta + 1.0) * gradient2 / t - 2.0 * (xx + yy)) / t
    return psf.peak * t**-beta * (1.0 + laplacian / 24.0)


def _core(psf: MoffatShape, dx: NDArray, dy: NDArray) -> NDArray[np.float64]:
    """Pixel integrals by Gauss-Legendre quadrature, (len(dy), len(dx))."""
    nodes, weights = _quadrature(3 if psf.fwhm >= 3.0 else 5)
    xx, xy, yy = psf.quadratic_form
    fine_x = (dx[:, None] + 0.5 * nodes).ravel()
    fine_y = (dy[:, None] + 0.5 * nodes).ravel()[:, None]
    t = 1.0 + xx * fine_x**2 + yy * fine_y**2 + (2.0 * xy) * fine_x * fine_y
    to_x, to_y = (np.kron(np.eye(len(centres)), 0.5 * weights) for centres in (dx, dy))
    return psf.peak * (to_y @ t**-psf.beta @ to_x.T)


@cache
def _quadrature(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre nodes and weights; finding them takes longer than using them."""
    return np.polynomial.legendre.leggauss(order)


def add_stamp(image: NDArray, stamp: NDArray, x: int, y: int) -> None:
    """Add a stamp centred on pixel (x, y) to the image, in place, as far as it overlaps."""
    half_y, half_x = stamp.shape[0] // 2, stamp.shape[1] // 2
    top, left = y - half_y, x - half_x
    y0, y1 = max(top, 0), min(top + stamp.shape[0], image.shape[0])
    x0, x1 = max(left, 0), min(left + stamp.shape[1], image.shape[1])
    if y0 < y1 and x0 < x1:
        image[y0:y1, x0:x1] += stamp[y0 - top : y1 - top, x0 - left : x1 - left]


def add_stars(image: NDArray, field: PsfField, x: NDArray, y: NDArray, flux: NDArray, faintest: float) -> None:
    """Add point sources to the image, in place.

    Stamps hold 1 - 1e-4 of the flux or more, and reach to where the wing is below `faintest` counts.
    """
    for psf, xs, ys, f in zip(field.at(x, y), x, y, flux, strict=True):
        half = int(np.ceil(max(CONSERVING_RADIUS * psf.fwhm, psf.radius_at(faintest / max(f, 1e-30)))))
        ix, iy = int(np.floor(xs + 0.5)), int(np.floor(ys + 0.5))
        add_stamp(image, f * moffat_stamp(psf, xs - ix, ys - iy, half), ix, iy)


def add_galaxies(image: NDArray, field: PsfField, galaxies, jacobian: NDArray) -> None:
    """Add galaxies to the image, in place.

    Parameters
    ----------
    image : ndarray, (H, W)
        Changed.
    field : PsfField
        PSF of this image.
    galaxies : mapping of str to ndarray
        ``x, y, flux`` in this image; ``radius`` (scale, pixels), ``nu``, ``e1``, ``e2`` in the science image.
    jacobian : ndarray, (2, 2)
        Pixels of this image per pixel of the science image.
    """
    names = ("x", "y", "flux", "radius", "nu", "e1", "e2")
    columns = [np.asarray(galaxies[name], float).tolist() for name in names]
    for psf, x, y, flux, *profile in zip(field.at(galaxies["x"], galaxies["y"]), *columns, strict=True):
        ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        add_stamp(image, flux * galaxy_stamp(psf, x - ix, y - iy, *profile, jacobian=jacobian), ix, iy)


def galaxy_stamp(
    psf: MoffatShape, x: float, y: float, radius: float, nu: float, e1: float, e2: float, *, jacobian: NDArray
) -> NDArray[np.float64]:
    """Unit-flux image of a galaxy convolved with the PSF, odd sides."""
    # Samples must hold the PSF's highest frequencies: at FWHM 4 px its transform is below 1e-3 at Nyquist.
    oversample = 1 if psf.fwhm >= 4.0 else 2
    half = oversample * int(np.ceil(max(CONSERVING_RADIUS * psf.fwhm, 12.0 * radius)))
    # The galaxy is centred on a sample by the transform, the sub-pixel shift is given to the PSF.
    psf_hat = np.fft.rfft2(moffat_stamp(psf, x, y, half, 1.0 / oversample))
    kx = 2.0 * np.pi * oversample * np.fft.rfftfreq(2 * half + 1)
    ky = 2.0 * np.pi * oversample * np.fft.fftfreq(2 * half + 1)[:, None]
    shape = np.array([[1.0 + e1, e2], [e2, 1.0 - e1]]) * radius**2 / np.sqrt(1.0 - e1**2 - e2**2)
    form = jacobian @ shape @ jacobian.T
    k2 = form[0, 0] * kx**2 + form[1, 1] * ky**2 + 2.0 * form[0, 1] * kx * ky
    stamp = np.fft.irfft2(psf_hat * (1.0 + k2) ** -(1.0 + nu), s=(2 * half + 1, 2 * half + 1))
    return stamp[::oversample, ::oversample]
