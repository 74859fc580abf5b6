"""Dipoles come back with their separations, fluxes and errors, and point sources are none."""

from __future__ import annotations

import numpy as np
import pytest
from made_differences import PSF, SIGMA, difference, noise, place
from scipy import optimize

from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.diff_detect import search_difference
from psfmatch_cli.dipole import fit_dipoles, is_dipole

CONFIG = DifferenceSourceConfig(polarity="positive")


def fitted(separation, n=5, flux=8000.0, seed=1):
    """Found sources, their dipoles, true angles (degrees) of n^2 dipoles whose negative pole has 0.8 of the flux."""
    rng, side = np.random.default_rng(seed), 48
    image, angles, places = noise((side * n, side * n), seed), [], []
    for i in range(n * n):
        x, y = side * (i % n) + 24 + rng.uniform(-0.5, 0.5), side * (i // n) + 24 + rng.uniform(-0.5, 0.5)
        angle = rng.uniform(-np.pi, np.pi)
        for sign, size in ((0.5, flux), (-0.5, -0.8 * flux)):
            if separation or sign > 0:
                shift = sign * separation * np.array([np.cos(angle), np.sin(angle)])
                place(image, PSF, x + shift[0], y + shift[1], size)
        angles.append(np.degrees(angle))
        places.append((x, y))
    found = search_difference(difference(image), CONFIG, PSF)
    rows = [int(np.argmin(np.hypot(found.fit.x - x, found.fit.y - y))) for x, y in places]
    arguments = (found.filtered.significance, found.fit.x[rows], found.fit.y[rows], found.half)
    made = fit_dipoles(found.pixels, PSF, (0, 0), *arguments, CONFIG.dipole_separation)
    return found, rows, made, np.array(angles)


@pytest.mark.parametrize("separation", [2.0, 4.0, 5.5])
def test_a_dipole_comes_back(separation):
    found, rows, made, angles = fitted(separation)
    assert is_dipole(made, found.fit.chi2[rows], PSF.fwhm, CONFIG).all()
    for value, error, true in (
        (made.separation, made.separation_err, separation),
        (made.flux_pos, made.flux_pos_err, 8000.0),
        (made.flux_neg, made.flux_neg_err, -6400.0),
    ):
        pulls = (value - true) / error
        # 25 values: 14 % is the error of their width, 0.2 that of their mean; at 2 pixels the fit is not quite linear.
        assert np.std(pulls) == pytest.approx(1.0, abs=0.5)
        assert np.median(pulls) == pytest.approx(0.0, abs=0.7)
    turn = (made.angle - angles + 180) % 360 - 180
    # A pole is placed to 0.04 pixels, or with poles that overlap to 0.03 of their distance.
    assert np.abs(turn).max() < 5.0
    assert (found.fit.chi2[rows] > made.chi2 + 500).all()


def test_the_fit_agrees_with_a_plain_one():
    found, rows, made, _ = fitted(3.0, n=2, seed=2)
    half = found.half
    for n, row in enumerate(rows):
        ix, iy = round(found.fit.x[row]), round(found.fit.y[row])
        data = found.pixels.image[iy - half : iy + half + 1, ix - half : ix + half + 1]

        def misfit(p, data=data, ix=ix, iy=iy):
            model = np.zeros(data.shape)
            for flux, x, y in (p[:3], p[3:]):
                place(model, PSF, x - ix + half, y - iy + half, flux)
            return (data - model).ravel() / SIGMA

        start = [made.flux_pos[n], made.x_pos[n] + 0.2, made.y_pos[n], made.flux_neg[n], made.x_neg[n], made.y_neg[n]]
        plain = optimize.least_squares(misfit, start, x_scale=[1000, 1, 1, 1000, 1, 1], xtol=1e-12)
        # The iteration ends when the sum of squares falls by less than 1e-6 of itself: 0.02 sigma.
        assert made.chi2[n] == pytest.approx(2 * plain.cost, abs=0.02)
        assert made.flux_pos[n] == pytest.approx(plain.x[0], abs=0.1 * made.flux_pos_err[n])
        errors = np.sqrt(np.diag(np.linalg.inv(plain.jac.T @ plain.jac)))
        assert made.flux_pos_err[n] == pytest.approx(errors[0], rel=0.05)


def test_a_point_source_is_no_dipole():
    found, rows, made, _ = fitted(0.0)
    assert not is_dipole(made, found.fit.chi2[rows], PSF.fwhm, CONFIG).any()


def test_unequal_poles_are_no_dipole():
    image = noise((80, 80), 3)
    place(image, PSF, 38.0, 40.0, 9000.0)
    place(image, PSF, 43.5, 40.0, -1500.0)
    found = search_difference(difference(image), CONFIG, PSF)
    one = (found.filtered.significance, found.fit.x[:1], found.fit.y[:1], found.half)
    made = fit_dipoles(found.pixels, PSF, (0, 0), *one, CONFIG.dipole_separation)
    assert made.flux_neg[0] == pytest.approx(-1500.0, abs=5 * made.flux_neg_err[0])
    assert not is_dipole(made, found.fit.chi2[:1], PSF.fwhm, CONFIG)[0]
    loose = CONFIG.model_copy(update={"dipole_ratio": 0.1})
    assert is_dipole(made, found.fit.chi2[:1], PSF.fwhm, loose)[0]


def test_nothing_to_fit():
    found = search_difference(difference(noise((80, 80), 4)), CONFIG, PSF)
    empty = np.zeros(0)
    made = fit_dipoles(found.pixels, PSF, (0, 0), found.filtered.significance, empty, empty, found.half, 1.5)
    assert len(made.chi2) == 0
