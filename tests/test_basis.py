"""Alard-Lupton bases: their invariants, tabulated values, widths and sizes."""

import numpy as np
import pytest

from psfmatch_cli.basis import (
    NEARLY_EQUAL,
    BasisSpec,
    alard_lupton_basis,
    basis_spec,
    basis_specs,
    delta_function_basis,
    explicit_spec,
    for_faint_field,
    renormalisation,
)
from psfmatch_cli.basis_widths import gaussian_ladder, kernel_size_for, width_first_ladder
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.psf import FWHM_PER_SIGMA

DEFAULT = BasisSpec(21, (0.7, 1.5, 3.0), (4, 2, 2))
#: As upstream: without the wing Gaussian, kernels from 21 pixels on, as wide as their Gaussians ask for.
UPSTREAM = KernelConfig(wing_gaussian=False, kernel_size_min=21, kernel_size_per_fwhm=0.0)
V23 = UPSTREAM.model_copy(update={"alard_sigma_rule": "v23"})
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
#: The same by the rule of spring 2023: those that differ.
V23_WIDTHS = [
    (3, 4, "convolution", (1.12355, 2.24709, 4.49419), 27),
    (2, 3, "convolution", (0.94957, 1.89914, 3.79828), 23),
    (3.2, 3, "deconvolution", (0.66876, 1.05740, 1.94974), 21),
    (4, 3, "deconvolution", (0.79447, 1.25616, 2.31625), 21),
    (5, 2.5, "deconvolution", (1.30025, 2.05588, 3.79086), 23),
    (8, 2, "deconvolution", (2.32596, 3.67767, 6.78129), 35),
]
V23_TABLE = V23_WIDTHS + [row for row in WIDTHS if row[:2] not in [changed[:2] for changed in V23_WIDTHS]]


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


def test_renormalisation_is_upstreams_for_sums_of_either_sign():
    rng = np.random.default_rng(5)
    raw = rng.normal(size=(4, 5, 5))
    raw[1] -= raw[1].mean() - 0.3
    raw[2] -= raw[2].mean() + 0.3
    raw[3] -= raw[3].mean() - 1e-6
    first = raw[0] / raw[0].sum()
    expected = [first]
    for image in raw[1:]:
        divided = image / image.sum() - first
        expected.append(divided / np.sqrt((divided**2).sum()))
    # The last divides by 2.5e-5: rounding grows to 1e-11 there.
    np.testing.assert_allclose(np.tensordot(renormalisation(raw), raw, axes=1), expected, atol=1e-10)


def test_renormalisation_leaves_no_sum():
    raw = np.random.default_rng(5).normal(size=(2, 5, 5))
    raw[1] -= raw[1].mean() - 1e-9
    images = np.tensordot(renormalisation(raw), raw, axes=1)
    # Upstream leaves a sum this small, 2.5e-8 here, where it is.
    np.testing.assert_allclose(images.sum(axis=(1, 2)), [1, 0], atol=1e-14)


@pytest.mark.parametrize("size", [3, 9])
def test_delta_functions_are_row_major(size):
    basis = delta_function_basis(size)
    assert (len(basis), basis.size, basis.is_delta, basis.constant_first) == (size**2, size, True, False)
    for y in range(size):
        for x in range(size):
            image = basis.images[x + size * y]
            assert image[y, x] == 1
            assert np.count_nonzero(image) == 1


@pytest.mark.parametrize("size", [1, 8])
def test_delta_functions_need_an_odd_side(size):
    with pytest.raises(UsageError, match=f"kernel_size must be odd and at least 3, got {size}"):
        delta_function_basis(size)


@pytest.mark.parametrize(("target", "reference", "mode", "sigmas", "size"), WIDTHS)
def test_widths_and_sizes_from_two_fwhms(target, reference, mode, sigmas, size):
    spec = basis_spec(target, reference, UPSTREAM)
    assert (spec.mode, spec.size, spec.degrees) == (mode, size, (4, 2, 2))
    # The table has five decimals.
    np.testing.assert_allclose(spec.sigmas, sigmas, atol=6e-6)


@pytest.mark.parametrize(("target", "reference", "mode", "sigmas", "size"), V23_TABLE)
def test_widths_and_sizes_by_the_rule_of_2023(target, reference, mode, sigmas, size):
    assert len(V23_TABLE) == len(WIDTHS)
    spec = basis_spec(target, reference, V23)
    degrees = (3, 3, 3) if mode == "deconvolution" else (4, 2, 2)
    assert (spec.mode, spec.size, spec.degrees) == (mode, size, degrees)
    assert spec.n_functions == (30 if mode == "deconvolution" else 27)
    # The table has five decimals.
    np.testing.assert_allclose(spec.sigmas, sigmas, atol=6e-6)


def test_deconvolution_by_the_rule_of_2023_follows_its_settings():
    wider = V23.model_copy(update={"alard_gauss_beta": 1.5, "alard_deg_gauss_deconv": 2, "alard_min_sig_deconv": 0.9})
    spec = basis_spec(3.2, 3.0, wider)
    # s_K is 0.47, below the minimum: widths 0.9, 1.35, 2.025, and what Gaussians of these add to one another.
    s0, s1, s2 = 0.9, 1.35, 2.025
    squares = [s1**2 - 2 * s0**2, 2 * s1**2 - 3 * s0**2, s1**2 + s2**2 - 3 * s0**2]
    np.testing.assert_allclose(np.square(spec.sigmas), squares, rtol=1e-12)
    assert spec.degrees == (2, 2, 2)
    # One pair of degrees for all: nothing richer to try.
    assert len(basis_specs(3.2, 3.0, wider)) == 1
    assert len(basis_specs(3.0, 3.2, wider)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alard_n_gauss_deconv": 2}, r"deconvolves with 3 Gaussians, kernel\.alard_n_gauss_deconv is 2"),
        ({"alard_gauss_beta": 1.4}, r"kernel\.alard_gauss_beta above sqrt\(2\) = 1\.414, got 1\.4"),
    ],
)
def test_what_the_rule_of_2023_cannot_deconvolve_is_refused(settings, message):
    config = V23.model_copy(update=settings)
    with pytest.raises(UsageError, match=message):
        basis_spec(4.0, 3.0, config)
    assert basis_spec(3.0, 4.0, config).mode == "convolution"


def test_nearly_equal_fwhms_count_as_equal_by_the_rule_of_today_alone():
    nearly = 3.0 * (1 + 0.9 * NEARLY_EQUAL)
    assert basis_spec(3.0, nearly, UPSTREAM).mode == "config"
    assert basis_spec(3.0, nearly, V23).mode == "convolution"
    assert basis_spec(3.0, 3.0, V23).mode == "config"


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


def test_one_unknown_fwhm_is_said(caplog):
    with caplog.at_level("INFO", "psfmatch_cli.basis"):
        basis_spec(None, 3.0, UPSTREAM)
        basis_spec(3.0, None, UPSTREAM)
    said = [record.getMessage() for record in caplog.records]
    assert [" convolve " in text for text in said] == [True, False]
    assert [" match " in text for text in said] == [False, True]
    caplog.clear()
    with caplog.at_level("INFO", "psfmatch_cli.basis"):
        basis_spec(None, None, UPSTREAM)
        basis_spec(3.0, None, KernelConfig(scale_by_fwhm=False))
        basis_spec(3.0, 4.0, UPSTREAM)
    assert not caplog.records


def test_degrees_may_be_given_to_the_rules():
    assert basis_spec(3.0, 4.0, UPSTREAM, (3, 1)).degrees == (3, 1)
    assert basis_spec(4.0, 3.0, V23, (2, 2, 1)).degrees == (2, 2, 1)
    with pytest.raises(UsageError, match="one degree per sigma, got 2 for 3"):
        basis_spec(4.0, 3.0, V23, (3, 1))
    for fwhms in ((None, None), (3.0, 4.0)):
        with pytest.raises(UsageError, match="at least one Gaussian, got an empty list of degrees"):
            basis_spec(*fwhms, UPSTREAM, ())


def test_widths_by_hand_are_taken_as_they_are():
    spec = explicit_spec((3.0, 1.0), (1, 3), KernelConfig(kernel_size_min=15))
    assert (spec.sigmas, spec.degrees, spec.mode, spec.has_wing) == ((3.0, 1.0), (1, 3), "explicit", False)
    # Six times the widest, odd.
    assert spec.size == 19
    assert explicit_spec((1.0,), (2,), KernelConfig(kernel_size=31)).size == 31
    with pytest.raises(UsageError, match="one degree per sigma, got 2 for 1"):
        explicit_spec((1.0,), (2, 2), KernelConfig())
    with pytest.raises(UsageError, match="one degree per sigma, got 0 for 0"):
        explicit_spec((), (), KernelConfig())


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


def test_the_ladder_of_2023_starts_at_the_kernels_width_where_the_minimum_is_in_the_way():
    assert width_first_ladder(4.0, 0.7, 2.0, 3) == (2.0, 4.0, 8.0)
    assert width_first_ladder(1.0, 0.7, 2.0, 3) == (1.0, 2.0, 4.0)
    assert width_first_ladder(1.4, 0.7, 2.0, 2) == (1.4, 2.8)
    assert width_first_ladder(4.0, 0.7, 2.0, 1) == (4.0,)


@pytest.mark.parametrize(("sigma", "size"), [(3.0, 21), (3.51, 21), (3.67, 23), (4.0, 25), (9.0, 35)])
def test_size_is_odd_and_within_the_limits(sigma, size):
    assert kernel_size_for(sigma, UPSTREAM) == size


@pytest.mark.parametrize("fwhm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_fwhm_must_be_positive(fwhm):
    with pytest.raises(UsageError, match=r"FWHM of the image to (convolve|match) must be a number of pixels"):
        basis_spec(fwhm, 3.0, KernelConfig())
    with pytest.raises(UsageError, match=r"FWHM of the image to (convolve|match) must be a number of pixels"):
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


def test_no_richer_basis_is_tried_beside_another_number_of_gaussians():
    config = KernelConfig(scale_by_fwhm=False, alard_sig_gauss=[1.0, 2.0], alard_deg_gauss=[3, 1])
    (only,) = basis_specs(3.4, 4.6, config)
    assert only.sigmas == (1.0, 2.0, 4.0)
    assert only.degrees == (3, 1, 0)
