"""Small pairs of exposures made from a known kernel and background, with everything that is true about them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from scipy.signal import fftconvolve

from psfmatch_cli.basis import BasisSpec, KernelBasis, alard_lupton_basis
from psfmatch_cli.exposure import Box, Exposure, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel, n_terms


@dataclass(frozen=True)
class MadePair:
    """``science = template * kernel + background``, plus noise in both.

    Parameters
    ----------
    template, science : Exposure
    sources : Table
        Stars: ``x, y`` (parent pixels) and ``flux`` (template counts).
    kernel : MatchingKernel
    background : BackgroundModel
    noise : float
        Noise of the science image.
    """

    template: Exposure
    science: Exposure
    sources: Table
    kernel: MatchingKernel
    background: BackgroundModel
    noise: float


def box_of(shape: tuple[int, int], xy0: tuple[int, int] = (0, 0)) -> Box:
    """Box of an image."""
    return Box(xy0[0], xy0[1], xy0[0] + shape[1] - 1, xy0[1] + shape[0] - 1)


def small_basis(size: int = 15) -> KernelBasis:
    """Nine functions, of even and odd parity."""
    return alard_lupton_basis(BasisSpec(size, (1.0, 2.0), (2, 1)))


def known_kernel(
    order: int, shape: tuple[int, int], *, ratio: float = 1.25, xy0: tuple[int, int] = (0, 0), kind: str = "chebyshev1"
) -> MatchingKernel:
    """Lopsided kernel of that spatial order, in the span of `small_basis`, with the kernel sum `ratio` everywhere."""
    basis = small_basis()
    coefficients = np.zeros((len(basis), n_terms(order)))
    # Spatial terms of a tenth to a third of the constants: the kernel's width changes by some 10 % over the field.
    rng = np.random.default_rng(12)
    coefficients[1:, 1:] = 0.03 * rng.normal(size=(len(basis) - 1, n_terms(order) - 1))
    coefficients[:, 0] = [ratio, 0.13, -0.08, 0.03, 0.06, -0.05, -0.35, 0.05, 0.02]
    model = SpatialModel(kind, order, box_of(shape, xy0))
    if kind == "polynomial":
        scale = [max(shape) ** -float(a + b) for d in range(order + 1) for a, b in [(d - k, k) for k in range(d + 1)]]
        coefficients *= np.array(scale)
    return MatchingKernel(basis.images, coefficients, model)


def plane(shape: tuple[int, int], coefficients, *, xy0: tuple[int, int] = (0, 0)) -> BackgroundModel:
    """Chebyshev background with these coefficients."""
    coefficients = np.asarray(coefficients, float)
    order = next(o for o in range(9) if n_terms(o) == len(coefficients))
    return BackgroundModel(coefficients, SpatialModel("chebyshev1", order, box_of(shape, xy0)))


def star_grid(
    shape: tuple[int, int],
    *,
    spacing: float = 42.0,
    margin: float = 30.0,
    flux: tuple[float, float] = (5e3, 5e4),
    xy0: tuple[int, int] = (0, 0),
    seed: int = 1,
) -> Table:
    """Stars near the knots of a square grid, up to 3 pixels off, with fluxes spread evenly in the logarithm."""
    rng = np.random.default_rng(seed)
    axes = [np.arange(margin, length - margin + 1e-6, spacing) for length in shape]
    y, x = (values.ravel() + rng.uniform(-3, 3, values.size) for values in np.meshgrid(*axes, indexing="ij"))
    return Table({"x": x + xy0[0], "y": y + xy0[1], "flux": np.exp(rng.uniform(*np.log(flux), x.size))})


def gaussian_stars(
    shape: tuple[int, int], x, y, flux, sigma: float | tuple[float, float], xy0: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Gaussian point sources of widths sigma (or sigma_x, sigma_y), sampled at the pixel centres."""
    sigma_x, sigma_y = np.broadcast_to(sigma, 2)
    out = np.zeros(shape)
    xs, ys = np.arange(shape[1]) + xy0[0], np.arange(shape[0]) + xy0[1]
    for xc, yc, total in zip(*np.broadcast_arrays(*np.atleast_1d(x, y, flux)), strict=True):
        line_x = np.exp(-0.5 * ((xs - xc) / sigma_x) ** 2)
        line_y = np.exp(-0.5 * ((ys - yc) / sigma_y) ** 2)
        out += total / (2 * np.pi * sigma_x * sigma_y) * np.outer(line_y, line_x)
    return out


def convolved_truth(image: np.ndarray, kernel: MatchingKernel, xy0: tuple[int, int] = (0, 0)) -> np.ndarray:
    """True convolution in double precision, with zeros beyond the image."""
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    terms = kernel.spatial.terms(xs + xy0[0], ys + xy0[1])
    return sum(t * fftconvolve(image, k, mode="same") for t, k in zip(terms, kernel.term_images, strict=True))


def exposure(image: np.ndarray, variance, *, xy0: tuple[int, int] = (0, 0), name: str = "image", **changes) -> Exposure:
    """Exposure of an image and its variance (an array or a number)."""
    variance = np.broadcast_to(variance, np.shape(image))
    return Exposure(MaskedImage.from_arrays(image, variance=variance, xy0=xy0), name=name, **changes)


def make_pair(
    kernel: MatchingKernel,
    sources: Table,
    *,
    shape: tuple[int, int] = (256, 256),
    background: BackgroundModel | None = None,
    sigma: float = 1.5,
    noise: float = 0.0,
    template_noise: float | None = None,
    xy0: tuple[int, int] = (0, 0),
    seed: int = 1,
) -> MadePair:
    """Pair of exposures of Gaussian stars (and only them): white noise, or none and a variance of 1.

    The template's noise is half of the science image's if it is not given.
    """
    template_noise = 0.5 * noise if template_noise is None else template_noise
    rng = np.random.default_rng(seed)
    truth = gaussian_stars(shape, sources["x"], sources["y"], sources["flux"], sigma, xy0)
    background = background or BackgroundModel.zero(kernel.spatial.region)
    matched = convolved_truth(truth, kernel, xy0) + background.image(box_of(shape, xy0)).astype(float)
    images = truth + template_noise * rng.normal(size=shape), matched + noise * rng.normal(size=shape)
    variances = (template_noise**2, noise**2) if noise else (1.0, 1.0)
    template, science = (
        exposure(image, variance, xy0=xy0, name=name)
        for image, variance, name in zip(images, variances, ("template", "science"), strict=True)
    )
    return MadePair(template, science, sources, kernel, background, noise)


def gaussian_pair(
    sigmas: tuple[float, float],
    noise: tuple[float, float] = (1.0, 1.0),
    *,
    shape: tuple[int, int] = (256, 256),
    n_stars: int = 20,
    flux: tuple[float, float] = (500.0, 1000.0),
    ratio: float = 1.0,
    background: BackgroundModel | None = None,
    xy0: tuple[int, int] = (12345, 67890),
    seed: int = 5,
) -> tuple[Exposure, Exposure, Table]:
    """Template and science image of the same stars with circular Gaussian PSFs and white noise, and the stars.

    `sigmas` and `noise` are those of template and science image; fluxes are the template's, `ratio` science counts
    per template count. Stars keep 40 pixels from the border, and 25 from each other, so that most can be candidates.
    """
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < n_stars:
        place = rng.uniform(40, np.array(shape[::-1]) - 40)
        if all(np.hypot(*(place - other)) > 25 for other in places):
            places.append(place)
    x, y = np.array(places).T + np.array(xy0)[:, None]
    stars = Table({"x": x, "y": y, "flux": rng.uniform(*flux, n_stars)})
    made = []
    for name, sigma, level, scale in zip(("template", "science"), sigmas, noise, (1.0, ratio), strict=True):
        image = gaussian_stars(shape, x, y, scale * stars["flux"], sigma, xy0) + level * rng.normal(size=shape)
        if background is not None and name == "science":
            image += background.image(box_of(shape, xy0))
        made.append(exposure(image, level**2, xy0=xy0, name=name))
    return made[0], made[1], stars


def with_source(image: Exposure, x: float, y: float, flux: float, sigma: float) -> Exposure:
    """The exposure with one more Gaussian source, without noise of its own."""
    source = gaussian_stars(image.shape, x, y, flux, sigma, image.xy0)
    return image.with_pixels(replace(image.masked_image, image=(image.image + source).astype(np.float32)))


def flux_at(image: Exposure, x: float, y: float, sigma: float) -> tuple[float, float]:
    """Flux of a Gaussian source by a fit of its amplitude alone, and the error of that for white noise."""
    profile = gaussian_stars(image.shape, x, y, 1.0, sigma, image.xy0)
    use = np.isfinite(image.image) & (profile > 1e-4 * profile.max())
    weight = profile[use] / image.variance[use].astype(float)
    norm = (weight * profile[use]).sum()
    return float((weight * image.image[use]).sum() / norm), float(norm**-0.5)
