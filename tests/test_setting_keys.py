"""Names of settings and what an unknown one may have meant."""

import pytest

from psfmatch_cli.errors import UsageError
from psfmatch_cli.setting_keys import (
    alike,
    checked_key,
    groups,
    key_of_variable,
    keys,
    variable_of,
)
from psfmatch_cli.setting_sources import FILE_VARIABLE, OTHER_VARIABLES, PRESET_VARIABLE


def test_groups_and_their_settings():
    assert keys()[0] == "threads"
    assert groups()[:3] == ["detection", "detection.background", "detection.temp_local_background"]
    assert all("." not in key or key.rpartition(".")[0] in groups() for key in keys())


def test_settings_of_a_group_stand_together():
    # A table of a TOML file can be opened only once.
    owners = [key.rpartition(".")[0] for key in keys()]
    assert list(dict.fromkeys(owners)) == [
        owner for owner, last in zip(owners, [None, *owners], strict=False) if owner != last
    ]


def test_every_setting_has_its_own_environment_variable():
    letters = [variable.replace("_", "") for variable in map(variable_of, keys())]
    assert len(set(letters)) == len(keys())
    assert not set(letters) & {v.replace("_", "") for v in (FILE_VARIABLE, PRESET_VARIABLE, *OTHER_VARIABLES)}
    assert [key_of_variable(variable_of(key)) for key in keys()] == keys()


@pytest.mark.parametrize("name", ["SPATIAL_KERNEL_ORDER", "SPATIALKERNELORDER", "spatialKernelOrder"])
def test_underscores_and_case_of_a_variable_do_not_count(name):
    assert key_of_variable(f"PSFMATCH_KERNEL_{name}") == "kernel.spatial_kernel_order"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("PSFMATCH_KERNEL_KERNEL_SIZ", "did you mean PSFMATCH_KERNEL_KERNEL_SIZE or"),
        ("PSFMATCH_KERNELSIZE", "did you mean PSFMATCH_KERNEL_KERNEL_SIZE or"),
        ("PSFMATCH_AL_SPATIALKERNELORDER", "AL.spatialKernelOrder is kernel.spatial_kernel_order here"),
        ("PSFMATCH_ZZZ", "unknown environment variable PSFMATCH_ZZZ; unset it"),
    ],
)
def test_an_unknown_variable_names_those_alike(variable, expected):
    with pytest.raises(UsageError, match=expected):
        key_of_variable(variable)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("detection.treshold_value", "did you mean detection.threshold_value"),
        ("thresholdValue", "did you mean detection.threshold_value"),
        ("detection.binSize", "detection.background.bin_size"),
        ("qqqqqq", "psfmatch config show"),
        ("detection", "unknown setting"),
        ("AL.spatialKernelOrder", "AL.spatialKernelOrder is kernel.spatial_kernel_order here$"),
        ("detectionConfig.badMaskPlanes", "detectionConfig.badMaskPlanes is candidates.bad_mask_planes here"),
        ("DF.badMaskPlanes", "DF.badMaskPlanes is kernel.bad_mask_planes here"),
        ("kernel", r"kernel is kernel.kernel_basis_set here \(AL: alard-lupton, DF: delta-function\)"),
        ("warpingConfig.cacheSize", "has no counterpart here: the Lanczos weights are evaluated as polynomials"),
    ],
)
def test_an_unknown_key_names_those_alike(key, expected):
    with pytest.raises(UsageError, match=expected):
        checked_key(key)


def test_names_alike_come_best_first():
    assert alike("kernel.kernel_siz")[0] == "kernel.kernel_size"
    assert alike("qqqqqq") == []
