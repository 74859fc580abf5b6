"""The FWHM in a grid of cells."""

from dataclasses import replace

import numpy as np
import pytest

from psfmatch_cli.exposure import Box
from psfmatch_cli.psf_map import fwhm_map
from psfmatch_cli.psf_measure import measure_psf
from star_fields import star_field

BOX = Box(0, 0, 799, 799)


@pytest.fixture(scope="module")
def measured():
    def truth(x, y):
        return 3.0 * (1 + 0.3 * (x / 800 - 0.5))

    return measure_psf(star_field(64, truth, side=800)[0])


def test_the_map_follows_the_truth(measured):
    table = fwhm_map(measured, BOX, (2, 4))
    assert len(table) == 8
    np.testing.assert_allclose(table["x"], np.tile([99.5, 299.5, 499.5, 699.5], 2))
    np.testing.assert_allclose(table["y"], np.repeat([199.5, 599.5], 4))
    assert table["n_stars"].sum() == measured.n_stars
    truth = 3.0 * (1 + 0.3 * (table["x"] / 800 - 0.5))
    # Eight stars of 1 % each in a cell across which the width changes by 7 %.
    np.testing.assert_allclose(table["fwhm"], truth, rtol=0.03)
    np.testing.assert_allclose(table["fwhm_model"], truth, rtol=0.02)
    assert (np.abs(table["fwhm"] - truth) < 5 * table["fwhm_err"]).all()


def test_the_number_of_cells_follows_the_stars(measured):
    assert len(fwhm_map(measured, BOX)) == 4
    wide = fwhm_map(measured, Box(0, 0, 1599, 799))
    assert (len(set(wide["y"])), len(set(wide["x"]))) == (2, 4)


def test_cells_without_stars_are_unknown(measured):
    table = fwhm_map(measured, BOX, (40, 40))
    empty = table["n_stars"] == 0
    assert empty.any()
    assert np.isnan(table["fwhm"][empty]).all()
    assert np.isnan(table["fwhm_err"][table["n_stars"] == 1]).all()


def test_positions_are_parent_pixels():
    exposure = star_field(36, 3.0, side=360)[0]
    moved = exposure.with_pixels(replace(exposure.masked_image, xy0=(1000, -500)))
    here, there = (fwhm_map(measure_psf(made), made.box, (2, 2)) for made in (exposure, moved))
    np.testing.assert_allclose(there["x"] - here["x"], 1000)
    np.testing.assert_allclose(there["y"] - here["y"], -500)
    np.testing.assert_array_equal(there["n_stars"], here["n_stars"])
    np.testing.assert_allclose(there["fwhm_model"], here["fwhm_model"])
