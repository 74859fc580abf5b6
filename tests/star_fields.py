"""Simulated fields of stars and galaxies for the tests of detection and of the width of the PSF."""

import numpy as np

from psfmatch_cli.exposure import Exposure, MaskedImage

SKY, READ_NOISE = 100.0, 5.0
#: Noise of a sky pixel, counts.
NOISE = np.sqrt(SKY + READ_NOISE**2)


def moffat(dx, dy, fwhm, beta=3.5, axis_ratio=1.0, angle=0.0):
    """Moffat profile of unit flux; the FWHM is the geometric mean of the axes."""
    scale = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    cos, sin = np.cos(angle), np.sin(angle)
    u = (cos * dx + sin * dy) * np.sqrt(axis_ratio)
    v = (cos * dy - sin * dx) / np.sqrt(axis_ratio)
    return (beta - 1) / (np.pi * scale**2) * (1 + (u**2 + v**2) / scale**2) ** -beta


def add_star(image, x, y, flux, fwhm, *, subpixels=1, **shape):
    """Add a star in place, sampled at pixel centres or integrated over subpixels x subpixels points."""
    reach = int(np.ceil(6 * fwhm))
    row, column = round(float(y)), round(float(x))
    rows = np.arange(max(row - reach, 0), min(row + reach + 1, image.shape[0]))
    columns = np.arange(max(column - reach, 0), min(column + reach + 1, image.shape[1]))
    steps = (np.arange(subpixels) + 0.5) / subpixels - 0.5
    for a in steps:
        for b in steps:
            dx, dy = columns + a - x, (rows + b - y)[:, None]
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += (
                flux / subpixels**2 * moffat(dx, dy, fwhm, **shape)
            )


def total_snr(flux, fwhm):
    """S/N of a faint star through its matched filter; 1.507 is that of a Gaussian, near enough."""
    return flux / (1.507 * fwhm * NOISE)


def flux_of_snr(snr, fwhm):
    return np.asarray(snr) * 1.507 * fwhm * NOISE


def grid_positions(n, side, rng, jitter=3.0):
    """About evenly spaced positions (x, y), away from each other and from the border."""
    per_axis = int(np.ceil(np.sqrt(n)))
    centers = (np.arange(per_axis) + 0.5) * side / per_axis
    x, y = (grid.ravel()[:n] + rng.uniform(-jitter, jitter, n) for grid in np.meshgrid(centers, centers))
    return x, y


def noisy_exposure(model, rng, *, known_variance=True, **attributes):
    """Exposure of a sky-free noiseless model with sky, photon and read noise."""
    variance = model + SKY + READ_NOISE**2
    image = model + SKY + rng.normal(size=model.shape) * np.sqrt(variance)
    return Exposure(MaskedImage.from_arrays(image, None, variance if known_variance else None), **attributes)


def star_field(n, fwhm, *, side=512, snr=(30.0, 1000.0), seed=0, known_variance=True, subpixels=1, **shape):
    """Exposure of n isolated stars, and their positions and fluxes; fwhm a number or a function of (x, y)."""
    rng = np.random.default_rng(seed)
    x, y = grid_positions(n, side, rng)
    widths = np.array([fwhm(a, b) for a, b in zip(x, y, strict=True)]) if callable(fwhm) else np.full(n, fwhm)
    flux = flux_of_snr(10 ** rng.uniform(*np.log10(snr), n), widths)
    model = np.zeros((side, side))
    for star in zip(x, y, flux, widths, strict=True):
        add_star(model, *star, subpixels=subpixels, **shape)
    return noisy_exposure(model, rng, known_variance=known_variance), x, y, flux


def add_galaxies(model, n, fwhm, rng, *, snr=(20.0, 1000.0)):
    """Add n galaxies in place: exponential disks as a sum of Moffats, of 0.2 to 3 times the PSF, at any angle."""
    height, width = model.shape
    for _ in range(n):
        radius = fwhm * 10 ** rng.uniform(-0.7, 0.5)
        axis_ratio, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        flux = flux_of_snr(10 ** rng.uniform(*np.log10(snr)), fwhm)
        # Points of the disk, each blurred by the PSF: 40 are smooth enough at the scale of the PSF.
        distance, turn = radius * rng.gamma(2, 0.6, 40), rng.uniform(0, 2 * np.pi, 40)
        along, across = distance * np.cos(turn), axis_ratio * distance * np.sin(turn)
        px = x + along * np.cos(angle) - across * np.sin(angle)
        py = y + along * np.sin(angle) + across * np.cos(angle)
        for a, b in zip(px, py, strict=True):
            if 0 <= a < width and 0 <= b < height:
                add_star(model, a, b, flux / 40, fwhm)
