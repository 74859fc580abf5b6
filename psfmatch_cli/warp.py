"""The template on the science image's pixels.

Every science pixel is followed into the template, through the sky or by another map (`psfmatch_cli.mapping`), where
image and variance are resampled (`psfmatch_cli.resample`) and multiplied by the relative pixel area, so that an
object keeps its counts. Pixels without a value are left out, those that lost more than a small part of their weight
are NO_DATA. A template of much finer pixels is averaged instead (`psfmatch_cli.warp_adaptive`).
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import NoOverlapError, RegistrationError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.grid import Overlap, SkyMap, find_overlap, has_sky, inside
from psfmatch_cli.grid_cards import with_grid_of
from psfmatch_cli.mapping import map_pixels
from psfmatch_cli.pixel_map import PixelMap, determinant
from psfmatch_cli.psf import Psf
from psfmatch_cli.repair import repair
from psfmatch_cli.resample import REACH, ResamplingKernel, gather, locate, pack, padding, resampling_kernel
from psfmatch_cli.warp_adaptive import SCALE_LIMIT, SIGMA, average_pixels
from psfmatch_cli.warp_direct import resample_pixels
from psfmatch_cli.warp_noise import autocorrelation, gaussian_autocorrelation

logger = logging.getLogger(__name__)

#: Science pixels at which the noise correlation is evaluated.
N_CORRELATED = 600
#: Departure of the local mapping from the identity up to which the PSF is kept as it is.
PSF_TOLERANCE = 1e-3
_SOLID_ANGLE = r"(?:sr|ster|steradian|arcsec|arcmin|deg|beam)(?![a-z])"
#: "Jy/sr", "MJy sr-1", "mJy arcsec**(-2)", "Jy/beam", "erg/(s cm2 arcsec2)".
_SURFACE_BRIGHTNESS = re.compile(rf"/\s*{_SOLID_ANGLE}|/\s*\([^)]*\b{_SOLID_ANGLE}|{_SOLID_ANGLE}[\s*^(]*-", re.I)


@dataclass(frozen=True)
class WarpResult:
    """A warped template and what warping did to its noise.

    Parameters
    ----------
    exposure : Exposure
        The template on the science pixels.
    autocorrelation : ndarray, (2m+1, 2m+1)
        Mean autocorrelation of white template noise after resampling, 1 at the middle; ``[m + dy, m + dx]``
        belongs to pixels (dx, dy) apart. The variance plane V alone does not say how the noise averages: after
        a convolution with K it is ``V sum_d autocorrelation(d) sum_u K(u) K(u + d)``.
    pixel_map : PixelMap
        From science to template pixels.
    method : str
        Resampling kernel, or ``adaptive``.
    """

    exposure: Exposure
    autocorrelation: NDArray[np.float64]
    pixel_map: PixelMap
    method: str

    def autocorrelation_at(self, x: float, y: float) -> NDArray[np.float64]:
        """The autocorrelation at the science pixel (x, y), parent position."""
        x0, y0 = self.exposure.xy0
        return _autocorrelation(self.pixel_map, self.method, np.array([x - x0]), np.array([y - y0]))


def warp(
    template: Exposure,
    science: Exposure,
    config: WarpConfig | None = None,
    *,
    pixel_map: PixelMap | None = None,
    threads: int = 1,
) -> WarpResult:
    """The template resampled onto the science pixels.

    It keeps its own header, filter and calibration, but for the header cards that describe the pixel grid; it has the
    science image's box and WCS, and its PSF goes through the same mapping. The counts of an object are conserved; with
    a unit per solid angle, the surface brightness.

    Parameters
    ----------
    template, science : Exposure
        Both with a celestial WCS, unless `pixel_map` is given.
    config : WarpConfig, optional
        Kernels and their limits.
    pixel_map : PixelMap, optional
        From science to template pixels (array indices); default: through the WCSs.
    threads : int
        Blocks of rows worked on at a time.

    Raises
    ------
    RegistrationError
        If an image has no WCS and no map is given, or the two do not overlap.
    InputError
        If the template has no usable pixel.
    UsageError
        If the mask kernel is wider than the image kernel.
    """
    config = config or WarpConfig()
    _check_kernels(config)
    if pixel_map is None:
        _check_sky(template, science)
        pixel_map = SkyMap(science.wcs, template.wcs)
    overlap = find_overlap(pixel_map, template, science)
    jacobian = pixel_map.jacobian(overlap.x, overlap.y)
    scale = float(abs(determinant(jacobian)) ** -0.5)
    method = "adaptive" if scale < SCALE_LIMIT else config.warping_kernel_name
    pixels = _pixels(template, science, pixel_map, config, method, threads)
    psf = None if template.psf is None else warp_psf(template.psf, jacobian, method)
    logger.info(
        "warp: %s onto the pixels of %s, kernel %s, pixel scale ratio %.4f, %.1f %% of the pixels have a value",
        template.name,
        science.name,
        method,
        scale,
        100 * np.isfinite(pixels.image).mean(),
    )
    positions = _correlated_pixels(pixel_map, template, science, overlap)
    return WarpResult(
        exposure=template.with_pixels(
            replace(pixels, xy0=science.xy0),
            wcs=science.wcs,
            psf=psf,
            header=with_grid_of(template.header, science.header),
            fluxmag0=_warped_fluxmag0(template, scale),
        ),
        autocorrelation=_autocorrelation(pixel_map, method, *positions),
        pixel_map=pixel_map,
        method=method,
    )


def _check_sky(template: Exposure, science: Exposure) -> None:
    for exposure in (template, science):
        if not has_sky(exposure):
            raise RegistrationError(
                f"{exposure.name} has no celestial WCS, so {template.name} cannot be warped onto the pixels of "
                f"{science.name}; solve both astrometrically, or align them by their stars (--register asterisms)"
            )


def _check_kernels(config: WarpConfig) -> None:
    image, mask = config.warping_kernel_name, config.mask_warping_kernel_name
    if mask and REACH[mask] > REACH[image]:
        raise UsageError(
            f"the mask warping kernel {mask} is wider than the image's, {image}, which it must not be; "
            f"choose {image} or bilinear"
        )


def _pixels(
    template: Exposure, science: Exposure, pixel_map: PixelMap, config: WarpConfig, method: str, threads: int
) -> MaskedImage:
    """The template's planes on the science grid."""
    mapping = map_pixels(pixel_map, science.shape, template.shape, config.interp_length)
    repaired = repair(template, threads)
    source = template.with_pixels(template.masked_image.with_planes(["NO_DATA"]))
    per_object = not is_surface_brightness(template)
    if not per_object:
        logger.info("warp: %s is in %s, not multiplied by pixel areas", template.name, template.header["BUNIT"])
    options = {"per_object": per_object, "threads": threads}
    if method == "adaptive":
        readable = repaired.part(*(slice(0, n) for n in template.shape))
        pixels = average_pixels(source.masked_image, readable, pixel_map, mapping, config, **options)
    else:
        pixels = resample_pixels(source.masked_image, repaired, mapping, config, **options)
    if not np.isfinite(pixels.image).any():
        raise NoOverlapError(
            f"no usable pixel of {template.name} falls on {science.name}: the images touch only at their edges, or the "
            "template is masked where they overlap; choose another template"
        )
    return pixels


def is_surface_brightness(exposure: Exposure) -> bool:
    """Whether the header's unit is one per solid angle (or beam) instead of counts per pixel."""
    unit = exposure.header.get("BUNIT") if exposure.header is not None else None
    return isinstance(unit, str) and _SURFACE_BRIGHTNESS.search(unit) is not None


def _warped_fluxmag0(template: Exposure, scale: float) -> float | None:
    """Counts of a magnitude 0 source on the science grid.

    A surface brightness is that of the sky, whatever the pixels; the sum over the pixels of an object grows with their
    number.

    Parameters
    ----------
    template : Exposure
    scale : float
        Template pixel over science pixel, on the side.
    """
    if template.fluxmag0 is None or not is_surface_brightness(template):
        return template.fluxmag0
    return template.fluxmag0 * scale**2


def warp_psf(psf: Psf, jacobian: ArrayLike, method: str) -> Psf:
    """The PSF on the science grid: resampled like the image, centred, sum 1.

    Parameters
    ----------
    psf : Psf
        In template pixels.
    jacobian : array, (2, 2)
        Derivatives of the template position by the science position.
    method : str
        Resampling kernel, or ``adaptive``.
    """
    jacobian = np.asarray(jacobian)
    if method != "adaptive" and np.abs(jacobian - np.eye(2)).max() <= PSF_TOLERANCE:
        return psf
    old = psf.image.shape[0] // 2
    half = max(1, int(np.ceil(old * abs(determinant(jacobian)) ** -0.5)))
    u = np.arange(-half, half + 1)
    if method == "adaptive":
        image = np.array([_averaged_psf_row(psf.image, jacobian, u, v) for v in u])
    else:
        image = _resampled_psf(psf.image, jacobian, u, resampling_kernel(method))
    return replace(psf, image=image / image.sum(), origin=f"{psf.origin}, warped")


def _resampled_psf(image: NDArray, jacobian: NDArray, u: NDArray, kernel: ResamplingKernel) -> NDArray[np.float64]:
    """PSF image resampled at the offsets (u, u) of science pixels; not normalised."""
    middle = image.shape[0] // 2
    x, y = jacobian @ np.array(np.meshgrid(u, u)).reshape(2, -1) + middle
    packed = pack(image, np.zeros_like(image), padding(kernel))
    values, _ = gather(packed, kernel, locate(kernel, image.shape, x, y))
    return values.reshape(len(u), len(u)).astype(np.float64)


def _averaged_psf_row(image: NDArray, jacobian: NDArray, u: NDArray, v: int) -> NDArray[np.float64]:
    """PSF image averaged around the science pixels of the offsets (u, v); not normalised."""
    middle = image.shape[0] // 2
    y, x = np.indices(image.shape).reshape(2, -1) - middle
    along, across = np.linalg.inv(jacobian) @ [x, y]
    return np.exp(-0.5 * ((along - u[:, None]) ** 2 + (across - v) ** 2) / SIGMA**2) @ image.ravel()


def _correlated_pixels(
    pixel_map: PixelMap, template: Exposure, science: Exposure, overlap: Overlap
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Indices x, y of science pixels, spread over what the template covers.

    Whole pixels: the fractions of their template positions are those that occur in the warp.
    """
    # The two-dimensional golden ratio fills the image evenly without a period that could beat with the pixels'.
    step = np.arange(1, N_CORRELATED + 1)[:, None] * [0.7548776662466927, 0.5698402909980532]
    x, y = np.floor((step % 1.0) * (science.shape[1], science.shape[0])).T
    covered = inside(*pixel_map(x, y), template.shape)
    if not covered.any():
        return np.array([np.round(overlap.x)]), np.array([np.round(overlap.y)])
    return x[covered], y[covered]


def _autocorrelation(pixel_map: PixelMap, method: str, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Mean autocorrelation of resampled white noise at science indices x, y (n,)."""
    if method == "adaptive":
        return gaussian_autocorrelation(SIGMA)
    positions = np.stack(pixel_map(x, y), axis=-1)
    return autocorrelation(resampling_kernel(method), positions, pixel_map.jacobian(x, y))
