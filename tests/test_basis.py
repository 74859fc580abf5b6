"""Alard-Lupton bases: their invariants, tabulated values, widths and sizes."""

import numpy as np
import pytest

from psfmatch_cli.basis import (
    BasisSpec,
    alard_lupton_basis,
    basis_spec,
    for_faint_field,
    gaussian_ladder,
    kernel_size_for,
    renormalisation,
)
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.psf import FWHM_PER_SIGMA

DEFAULT = BasisSpec(21, (0.7, 1.5, 3.0), (4, 2, 2))
#: As upstream: without the wing Gaussian, kernels from 21 pixels on, as wide as their Gaussians ask for.
UPSTREAM = KernelConfig(wing_gaussian=False, kernel_size_min=21, kernel_size_per_fwhm=0.0)
SPECS = [DEFAULT, BasisSpec(3, (0.5,), (1,)), BasisSpec(35, (0.4, 2.2, 9.0), (3, 6, 0))]

#: Index: values at [10, 10], [10, 11], [11, 10], [12, 13] of the default basis.
VALUES = {
    0: (0.32472416, 0.11704610, 0.11704610, 0.00000056),
    1: (0, 0.62709230, 0, 0.00000905),
    2: (0, 0, 0.62709230, 0.00000603),
    3: (-0.77716092, 0.29295653, -0.28012594, 0.00002346),
    4: (0, 0, 0, 0.00003968),
    5: (-0.77716092, -0.28012594, 0.29295653, 0.00000968),
    12: (-0.66216346, -0.23867535, -0.23867535, 0.00017181),
    14: (-0.78509331, -0.28298515, 0.10567215, 0.00002855),
    15: (-0.86320582, -0.20529422, -0.20529422, 0.01337356),
    16: (0, 0.28395379, 0, 0.05919027),
    21: (-0.81248229, -0.26543324, -0.26543324, 0.02274641),
    25: (0, 0, 0, 0.12178461),
    26: (-0.78184535, -0.28181443, -0.27730892, 0.00925147),
}
#: Target FWHM, reference FWHM, mode, sigmas, size.
WIDTHS = [
    (3, 3, "config", (0.7, 1.5, 3.0), 21),
    (3, 3.2, "convolution", (0.7, 1.4, 2.8), 21),
    (3, 4, "convolution", (0.7, 1.4, 2.8), 21),
    (2, 3, "convolution", (0.7, 1.4, 2.8), 21),
    (2.5, 5, "convolution", (0.91942, 1.83884, 3.67767), 23),
    (4, 8, "convolution", (1.47107, 2.94214, 5.88427), 35),
    (2, 8, "convolution", (1.64470, 3.28941, 6.57882), 35),
    (3.2, 3, "deconvolution", (0.4, 0.8, 1.6), 21),
    (4, 3, "deconvolution", (0.56177, 1.12355, 2.24709), 21),
    (5, 2.5, "deconvolution", (0.91942, 1.83884, 3.67767), 23),
    (8, 2, "deconvolution", (1.64470, 3.28941, 6.57882), 35),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_first_sums_to_one_the_others_to_zero_with_unit_squares(spec):
    images = alard_lupton_basis(spec).images
    sums, squares = images.sum(axis=(1, 2)), (images**2).sum(axis=(1, 2))
    assert len(images) == spec.n_functions
    # Rounding of a sum over the stamp, of terms up to order one.
    np.testing.assert_allclose(sums, [1] + [0] * (len(images) - 1), atol=1e-12)
    np.testing.assert_allclose(squares[1:], 1, atol=1e-12)


def test_tabulated_values_of_the_default_basis():
    images = alard_lupton_basis(DEFAULT).images
    assert len(images) == 27
    for index, expected in VALUES.items():
        found = [images[index][at] for at in [(10, 10), (10, 11), (11, 10), (12, 13)]]
        # The table has eight decimals.
        np.testing.assert_allclose(found, expected, atol=6e-9, rtol=0)
    assert (images[0] ** 2).sum() == pytest.approx(0.1675160372528332, abs=1e-15)


def test_raw_images_are_gaussians_times_powers_of_the_stamp_coordinate():
    basis = alard_lupton_basis(BasisSpec(7, (1.3,), (1,)))
    v, u = np.mgrid[-3:4, -3:4]
    gauss = np.exp(-0.5 * (u**2 + v**2) / 1.3**2)
    odd_x = gauss * u / 3
    np.testing.assert_allclose(basis.images[0], gauss / gauss.sum(), atol=1e-15)
    np.testing.assert_allclose(basis.images[1], odd_x / np.sqrt((odd_x**2).sum()), atol=1e-15)


def test_separable_factors_give_the_images():
    basis = alard_lupton_basis(DEFAULT)
    raw = np.array([np.outer(basis.filters[iy], basis.filters[ix]) for ix, iy in basis.pairs])
    # Sums of two products.
    np.testing.assert_allclose(np.tensordot(basis.mixing, raw, axes=1), basis.images, atol=1e-14)


def test_renormalisation_of_three_gaussians():
    v, u = np.mgrid[-12:13, -12:13]
    widths = [(2, 2), (3, 4), (0.2, 0.25)]
    raw = np.array([np.exp(-0.5 * (u / sx) ** 2 - 0.5 * (v / sy) ** 2) for sx, sy in widths])
    images = np.tensordot(renormalisation(raw), raw, axes=1)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose((images[1:] ** 2).sum(axis=(1, 2)), 1, atol=1e-12)


@pytest.mark.parametrize(("target", "reference", "mode", "sigmas", "size"), WIDTHS)
def test_widths_and_sizes_from_two_fwhms(target, reference, mode, sigmas, size):
    spec = basis_spec(target, reference, UPSTREAM)
    assert (spec.mode, spec.size, spec.degrees) == (mode, size, (4, 2, 2))
    # The table has five decimals.
    np.testing.assert_allclose(spec.sigmas, sigmas, atol=6e-6)


def test_the_wing_is_one_more_gaussian_and_does_not_change_the_size():
    plain, winged = (basis_spec(2.5, 5, KernelConfig(wing_gaussian=on, kernel_size_min=21)) for on in (False, True))
    assert winged.sigmas == (*plain.sigmas, 2 * plain.sigmas[-1])
    assert winged.degrees == (*plain.degrees, 0)
    assert winged.size == plain.size


def test_faint_fields_are_spared_the_broad_terms():
    winged = basis_spec(2.5, 5, KernelConfig())
    spared = for_faint_field(winged)
    assert (spared.sigmas, spared.degrees) == (winged.sigmas[:-1], (4, 2, 0))
    assert (spared.size, spared.mode) == (winged.size, winged.mode)
    plain = basis_spec(2.5, 5, KernelConfig(wing_gaussian=False))
    assert for_faint_field(plain) is plain


@pytest.mark.parametrize(("target", "reference"), [(None, 3.0), (3.0, None), (None, None), (3.0, 3.0)])
def test_unknown_or_equal_fwhms_give_the_configured_widths(target, reference):
    config = KernelConfig(alard_sig_gauss=[1.0, 2.5], alard_deg_gauss=[3, 1], wing_gaussian=False)
    spec = basis_spec(target, reference, config)
    assert (spec.sigmas, spec.degrees, spec.mode) == ((1.0, 2.5), (3, 1), "config")


def test_scaling_can_be_off_and_the_size_given():
    spec = basis_spec(2.0, 5.0, KernelConfig(scale_by_fwhm=False, kernel_size=17, wing_gaussian=False))
    assert (spec.sigmas, spec.size, spec.mode) == ((0.7, 1.5, 3.0), 17, "config")


def test_one_gaussian_has_the_kernels_own_width():
    config = KernelConfig(alard_deg_gauss=[2], alard_sig_gauss=[2.0], wing_gaussian=False)
    spec = basis_spec(3.0, 5.0, config)
    assert spec.sigmas == (pytest.approx(4.0 / FWHM_PER_SIGMA, abs=1e-14),)


def test_ladder_keeps_the_second_width_where_the_minimum_lets_it():
    assert gaussian_ladder(4.0, 0.7, 2.0, 3) == (2.0, 4.0, 8.0)
    assert gaussian_ladder(1.0, 0.7, 2.0, 3) == (0.7, 1.4, 2.8)


@pytest.mark.parametrize(("sigma", "size"), [(3.0, 21), (3.51, 21), (3.67, 23), (4.0, 25), (9.0, 35)])
def test_size_is_odd_and_within_the_limits(sigma, size):
    assert kernel_size_for(sigma, UPSTREAM) == size


@pytest.mark.parametrize("fwhm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_fwhm_must_be_positive(fwhm):
    with pytest.raises(UsageError, match="FWHM must be a positive number"):
        basis_spec(fwhm, 3.0, KernelConfig())
    with pytest.raises(UsageError, match="FWHM must be a positive number"):
        basis_spec(3.0, fwhm, KernelConfig())


@pytest.mark.parametrize(
    ("size", "sigmas", "degrees", "message"),
    [
        (20, (1.0,), (1,), "kernel_size must be odd and at least 3, got 20"),
        (1, (1.0,), (1,), "kernel_size must be odd and at least 3, got 1"),
        (21, (1.0, 2.0), (1,), "one degree per sigma, got 1 for 2"),
        (21, (), (), "one degree per sigma, got 0 for 0"),
        (21, (0.0,), (1,), "sigmas must be positive"),
        (21, (1.0,), (-1,), "degrees must be at least 0"),
    ],
)
def test_impossible_bases_are_refused(size, sigmas, degrees, message):
    with pytest.raises(UsageError, match=message):
        BasisSpec(size, sigmas, degrees)


def test_a_spec_describes_itself():
    assert str(BasisSpec(21, (0.7, 1.5), (4, 2))) == "21 px, sigmas 0.70, 1.50 px, degrees 4, 2"
