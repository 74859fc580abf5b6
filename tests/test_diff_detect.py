"""Sources of a difference: honest significance, both polarities, no ringing, dipoles, columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_differences import PSF, SIGMA, difference, noise, place, sky_wcs
from scipy import ndimage

from psfmatch_cli import find_difference_sources
from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.diff_detect import search_difference
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.matched_filter import difference_pixels, filtered, matched_filter, middle_of, psf_half
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf
from psfmatch_cli.stamps import Stamps, adaptive_moments


def test_the_filter_agrees_with_plain_sums():
    # Across a border of tiles, beside bad pixels, at the border of the image.
    image, mask = noise((40, 300), 1), np.zeros((40, 300), np.int32)
    mask[20, 100:104] = 1
    pixels, half = difference_pixels(difference(image, mask).masked_image), psf_half(PSF)
    made = filtered(pixels, lambda x, y: middle_of(PSF.image, half), half, (0, 0))
    kernel = middle_of(PSF.image, half)
    for y, x in ((20, 255), (20, 256), (21, 104), (3, 5)):
        signal = power = 0.0
        for dy in range(-half, half + 1):
            for dx in range(-half, half + 1):
                v, u = y + dy, x + dx
                if 0 <= v < 40 and 0 <= u < 300 and not mask[v, u]:
                    weight = kernel[dy + half, dx + half]
                    signal, power = signal + weight * image[v, u], power + weight**2 * SIGMA**2
        assert made[y, x] == pytest.approx(signal / math.sqrt(power), abs=1e-4)
    # Of the squared PSF at a corner, 40 % are on the image: no significance.
    assert made[39, 299] == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_significance_of_noise_is_a_unit_gaussian(smoothing):
    image = noise((700, 700), 2)
    if smoothing:
        image = ndimage.gaussian_filter(image, smoothing)
        image *= SIGMA / image.std()
    made = matched_filter(difference_pixels(difference(image).masked_image), PSF, (0, 0), np.zeros(image.shape, bool))
    # Some 10,000 independent values: 1.2 % is the error of the width that correlated noise is divided by.
    assert np.std(made.significance[12:-12, 12:-12]) == pytest.approx(1.0, abs=0.03)
    assert (made.width == 1.0) == (smoothing == 0.0)


def test_noise_alone_has_no_source():
    # Gaussian noise has 0.4 peaks beyond 5 in a million pixels, of this PSF.
    assert len(find_difference_sources(difference(noise((500, 500), 3)))) == 0


@pytest.fixture(scope="module")
def changed():
    """A difference with new, faded and displaced stars, its truth (x, y, flux) and its table."""
    rng, image = np.random.default_rng(4), noise((420, 420), 4)
    truth = [(40 + 60 * i + rng.uniform(), 40 + 60 * j + rng.uniform()) for i in range(6) for j in range(6)]
    truth = [(x, y, (-1) ** n * 1500.0 * 1.08**n) for n, (x, y) in enumerate(truth)]
    for x, y, flux in truth:
        place(image, PSF, x, y, flux)
    place(image, PSF, 400.0, 200.0, 8000.0)
    place(image, PSF, 402.0, 200.0, -8000.0)
    mask = np.zeros(image.shape, np.int32)
    mask[round(truth[3][1]), round(truth[3][0]) + 2] = 1 << 3 | 1 << 2
    table = find_difference_sources(difference(image, mask, wcs=sky_wcs(), fluxmag0=1e9))
    return np.array(truth), table


def test_fluxes_and_positions_come_back(changed):
    truth, table = changed
    stars = table[~table["is_dipole"]]
    assert len(stars) == len(truth)
    nearest = [int(np.argmin(np.hypot(stars["x"] - x, stars["y"] - y))) for x, y, _ in truth]
    assert sorted(nearest) == list(range(len(truth)))
    found = stars[nearest]
    assert (found["polarity"] == np.sign(truth[:, 2])).all()
    for name, true in (("x", truth[:, 0]), ("y", truth[:, 1]), ("psf_flux", truth[:, 2])):
        pulls = (found[name] - true) / found[f"{name}_err"]
        # 36 values: 12 % is the error of their width.
        assert np.std(pulls) == pytest.approx(1.0, abs=0.36), name
        assert np.abs(pulls).max() < 4, name
    aperture = (found["ap_flux"] - truth[:, 2]) / found["ap_flux_err"]
    assert np.std(aperture) == pytest.approx(1.0, abs=0.36)
    np.testing.assert_allclose(found["mag"], 22.5 - 2.5 * np.log10(np.abs(found["psf_flux"])), atol=1e-9)


def test_errors_on_the_sky_are_those_of_the_pixels(changed):
    _, table = changed
    known = table[~table["flag_centroid"]]
    # North is up: 0.2 arcsec are a pixel.
    np.testing.assert_allclose(known["ra_err"], 0.2 * known["x_err"], rtol=1e-3)
    np.testing.assert_allclose(known["dec_err"], 0.2 * known["y_err"], rtol=1e-3)


def test_shapes_are_those_of_the_psf_for_both_signs(changed):
    _, table = changed
    bright = table[(table["snr"] > 60) & ~table["is_dipole"]]
    assert {1, -1} == set(bright["polarity"])
    half = PSF.image.shape[0] // 2
    offsets = (np.arange(2 * half + 1) - half).astype(np.float32)[None]
    stamp = np.float32(PSF.image)[None]
    psf = adaptive_moments(Stamps(np.zeros(1), stamp, stamp, stamp > -1, offsets, offsets), PSF.sigma)
    # Both are measured by the same moments; S/N 60 tells a width to 2 %, and 20 sources their median to 0.6 %.
    ratio = np.asarray(bright["fwhm"]) / (FWHM_PER_SIGMA * (psf["Ixx"] * psf["Iyy"]) ** 0.25)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert np.abs(ratio - 1).max() < 0.08
    assert (bright["ellipticity"] < 0.08).all()


def test_a_displaced_star_is_a_dipole(changed):
    _, table = changed
    dipoles = table[table["is_dipole"]]
    assert len(dipoles) >= 1
    row = dipoles[0]
    for name, true in (("separation", 2.0), ("flux_pos", 8000.0), ("flux_neg", -8000.0)):
        assert abs(row[f"dipole_{name}"] - true) < 4 * row[f"dipole_{name}_err"], name
    # From the negative pole to the positive one: against the x axis. S/N decides: a degree.
    assert abs(abs(row["dipole_angle"]) - 180.0) < 4.0
    assert (row["dipole_x"], row["dipole_y"]) == pytest.approx((401.0, 200.0), abs=0.1)


def test_flags_tell_the_planes_at_a_place(changed):
    truth, table = changed
    row = table[np.argmin(np.hypot(table["x"] - truth[3, 0], table["y"] - truth[3, 1]))]
    assert row["flag_cr"]
    assert row["flag_interpolated"]
    assert not row["flag_cr_center"]
    assert not row["flag_edge"]


def test_every_column_has_a_description_and_the_table_goes_through_fits(changed, tmp_path):
    from psfmatch_cli import read_table, write_table

    _, table = changed
    assert all(table[name].description for name in table.colnames)
    write_table(tmp_path / "t.fits", table)
    assert read_table(tmp_path / "t.fits").colnames == table.colnames


@pytest.mark.parametrize(("polarity", "signs"), [("positive", {1}), ("negative", {-1}), ("both", {1, -1})])
def test_polarity(polarity, signs):
    image = noise((120, 120), 5)
    place(image, PSF, 30.0, 60.0, 3000.0)
    place(image, PSF, 90.0, 60.0, -3000.0)
    table = find_difference_sources(difference(image), DifferenceSourceConfig(polarity=polarity))
    assert set(table["polarity"]) == signs


def test_the_rings_of_a_bright_source_are_no_sources():
    # The PSF of a white difference: sharper, with a negative ring.
    wide = ndimage.gaussian_filter(PSF.image, 2.5)
    ringed = Psf((1.6 * PSF.image - 0.6 * wide) / (1.6 * PSF.image - 0.6 * wide).sum())
    image = noise((200, 200), 6)
    place(image, ringed, 100.2, 99.7, 1e6)
    exposure = difference(image)
    table = find_difference_sources(exposure, psf=ringed)
    assert len(table) == 1
    assert (
        np.abs(search_difference(exposure, DifferenceSourceConfig(threshold=1e6), ringed).filtered.significance).max()
        > 1e3
    )


def test_parent_positions():
    image = noise((120, 120), 7)
    place(image, PSF, 60.0, 50.0, 5000.0)
    masked = MaskedImage.from_arrays(image, None, np.full(image.shape, SIGMA**2), xy0=(1000, 300))
    row = find_difference_sources(Exposure(masked, psf=PSF))[0]
    assert (row["x"], row["y"]) == pytest.approx((1060.0, 350.0), abs=0.15)


def test_without_a_psf_or_pixels_it_is_an_error():
    bare = Exposure(MaskedImage.from_arrays(noise((64, 64), 8), None, np.full((64, 64), 1.0)), name="d.fits")
    with pytest.raises(InputError, match=r"d\.fits: sources of a difference are found with its PSF"):
        find_difference_sources(bare)
    with pytest.raises(InputError, match="no pixel is usable"):
        find_difference_sources(difference(noise((64, 64), 9), np.ones((64, 64), np.int32)))
