"""Presets: exactly the differences that upstream's two versions have from the defaults."""

import pytest

from psfmatch_cli.errors import UsageError
from psfmatch_cli.presets import OWN, PRESETS, preset_values
from psfmatch_cli.setting_keys import keys, value_of
from psfmatch_cli.settings import Settings, load_settings
from psfmatch_cli.upstream import UPSTREAM, VERSIONS

#: What both versions have in common, and what each has of its own.
COMMON = {
    "adapt": False,
    "detection.do_temp_local_background": True,
    "detection.exclude_mask_planes": ["EDGE"],
    "detection.deblend": False,
    "detection.background.is_nan_safe": False,
    "detection.temp_local_background.is_nan_safe": False,
    "detection.temp_wide_background.is_nan_safe": False,
    "warp.registration": "wcs",
    "warp.warping_kernel_name": "lanczos3",
    "warp.max_lost_weight": 0.0,
    "warp.interp_length": 10,
    "candidates.mask_policy": "reject",
    "kernel.alard_n_gauss": 3,
    "kernel.richer_deg_gauss": [],
    "kernel.wing_gaussian": False,
    "kernel.kernel_size_per_fwhm": 0.0,
    "kernel.kernel_size_min": 21,
    "kernel.refine_background": False,
    "kernel.correct_noise_bias": False,
    "kernel.bad_mask_planes": ["NO_DATA", "EDGE", "SAT"],
    "kernel.kernel_sum_errors": False,
    "kernel.max_spatial_condition_number": 1e10,
    "candidates.fp_grow_kernel_scaling": 1.0,
}
DIFFERENCES = {
    "default": {},
    "v23": COMMON
    | {
        "detection.threshold_type": "stdev",
        "candidates.bad_mask_planes": ["NO_DATA", "EDGE", "SAT"],
        "candidates.min_snr": 0.0,
        "kernel.alard_sigma_rule": "v23",
        "kernel.spatial_kernel_order": 2,
        "kernel.spatial_bg_order": 1,
        "kernel.fit_for_background": False,
        "kernel.n_star_per_cell": 3,
        "kernel.max_candidates": 1_000_000,
        "subtraction.scale_variance": False,
    },
    "head": COMMON
    | {
        "detection.threshold_type": "pixel_stdev",
        "detection.isotropic_grow": True,
        "candidates.bad_mask_planes": ["NO_DATA", "BAD", "SAT", "EDGE"],
        "kernel.spatial_kernel_order": 1,
        "kernel.spatial_bg_order": 2,
        "kernel.max_candidates": 1000,
        "subtraction.decorrelate": True,
    },
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_differs_from_the_defaults_by_what_upstream_does_otherwise(name):
    made, default = load_settings(preset=name), Settings()
    changed = {key: value_of(made, key) for key in keys() if value_of(made, key) != value_of(default, key)}
    assert changed == DIFFERENCES[name]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_setting_is_upstreams_or_stands_in_the_list_of_our_own(version):
    upstream = {field.key for field in UPSTREAM} - {None}
    assert upstream | set(OWN) == set(keys())
    left_alone = {key for key, own in OWN.items() if own.default(version) is None}
    assert set(preset_values(version)) == set(keys()) - left_alone
    assert not left_alone & upstream


def test_an_unknown_preset_is_refused():
    with pytest.raises(UsageError, match="unknown preset 'v24'; known are default, v23, head"):
        preset_values("v24")
