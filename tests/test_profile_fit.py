"""Fits of many profiles at once against one at a time with 64-bit numbers."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from psfmatch_cli.profile_fit import fit_profiles
from psfmatch_cli.stamps import Stamps
from star_fields import moffat

RADIUS, HALF, BETA = 6.0, 6, 3.5


def noisy_stamps(n, scale, seed=2):
    """Elongated stars of S/N 30 to 300, of fluxes in units of `scale`."""
    rng = np.random.default_rng(seed)
    offset = np.arange(-HALF, HALF + 1.0)
    x0, y0 = rng.uniform(-0.5, 0.5, (2, n))
    dx, dy = offset - x0[:, None], offset - y0[:, None]
    fwhm, flux = rng.uniform(3.0, 4.5, n), 10 ** rng.uniform(3.5, 4.5, n)
    planes = [
        f * moffat(x, y[:, None], w, BETA, axis_ratio=0.85, angle=0.6)
        for f, x, y, w in zip(flux, dx, dy, fwhm, strict=True)
    ]
    data = np.array(planes) + rng.normal(3.0, 20.0, (n, len(offset), len(offset)))
    good = rng.random(data.shape) > 0.02
    data = np.where(good, scale * data, 0.0).astype(np.float32)
    variance = np.where(good, (20.0 * scale) ** 2, 0.0).astype(np.float32)
    return Stamps(np.arange(n), data, variance, good, dx.astype(np.float32), dy.astype(np.float32)), fwhm


def fitted_one_by_one(stamps, fwhm):
    """FWHM, amplitude and sum of the squared residuals of each stamp, by another minimiser."""
    offset = np.arange(-HALF, HALF + 1)
    window = offset[:, None] ** 2 + offset**2 <= RADIUS**2
    out = []
    for row, width in enumerate(fwhm):
        used = window & stamps.good[row]
        x, y = (plane[used].astype(float) for plane in np.meshgrid(stamps.dx[row], stamps.dy[row]))
        values = stamps.data[row][used].astype(float)
        height, factor = values.max(), 2.0 * np.sqrt(2.0 ** (1.0 / BETA) - 1.0)

        def residual(p, x=x, y=y, values=values, height=height):
            t = x - p[1]
            v = y - p[2] + p[5] * t
            u = (np.exp(p[3]) * t) ** 2 + (np.exp(p[4]) * v) ** 2
            return values / height - p[0] * (1 + u) ** -BETA - p[6]

        start = [1.0, 0.0, 0.0, np.log(factor / width), np.log(factor / width), 0.0, 0.0]
        found = least_squares(residual, start, xtol=1e-12, ftol=1e-12, gtol=1e-12)
        p = found.x
        out.append((factor / np.exp(0.5 * (p[3] + p[4])), height * p[0], 2.0 * found.cost * height**2))
    return np.array(out).T


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e12])
def test_many_at_once_agree_with_one_at_a_time(scale):
    stamps, truth = noisy_stamps(30, scale)
    fits = fit_profiles(stamps, truth * 1.2, RADIUS, BETA)
    fwhm, amplitude, cost = fitted_one_by_one(stamps, truth)
    assert fits.converged.all()
    # Steps below 1e-4 in ln(width) end the iteration, and 32-bit pixels move a width by less.
    np.testing.assert_allclose(fits.fwhm, fwhm, rtol=3e-4)
    np.testing.assert_allclose(fits.amplitude, amplitude, rtol=1e-3)
    np.testing.assert_allclose(fits.misfit**2, cost, rtol=1e-4)


def test_errors_are_those_of_the_scatter():
    stamps, truth = noisy_stamps(200, 1.0, seed=5)
    fits = fit_profiles(stamps, truth, RADIUS, BETA)
    pull = np.log(fits.fwhm / truth) / fits.error
    assert abs(np.sqrt(np.mean(pull**2)) - 1.0) < 0.15  # 5 % from 200 values, and noise in the errors


def test_a_stamp_without_light_is_not_converged():
    stamps, _ = noisy_stamps(2, 1.0)
    stamps.data[0] = 0.0
    fits = fit_profiles(stamps, np.array([3.0, 3.0]), RADIUS, BETA)
    assert not fits.converged[0]
    assert fits.converged[1]
