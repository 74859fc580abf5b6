"""Files, environment variables and assignments as sources of settings."""

import pytest

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.setting_sources import Given, in_assignments, in_environment, in_file, settings_file


def test_a_file_gives_its_leaves(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('preset = "v23"\nthreads = 2\n[kernel]\nsizeCellX = 64\nspatial_kernel_order = "none"\n')
    source = f"file {file}"
    assert in_file(file) == (
        [
            Given("preset", "v23", source),
            Given("threads", 2, source),
            Given("kernel.size_cell_x", 64, source),
            Given("kernel.spatial_kernel_order", None, source),
        ],
        [],
    )


def test_all_wrong_names_of_a_file_are_told(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("tread = 2\n[AL]\nkernelSize = 21\n[kernel]\nsizeCellX = 64\nsize_cell_x = 65\n")
    given, lines = in_file(file, " in a.toml")
    assert [each.key for each in given] == ["kernel.size_cell_x"] * 2
    assert lines == [
        "unknown setting 'tread' in a.toml; did you mean threads?",
        "unknown setting 'AL.kernelSize' in a.toml; AL.kernelSize is kernel.kernel_size here",
        "setting kernel.size_cell_x is given twice in a.toml: as kernel.sizeCellX and as kernel.size_cell_x",
    ]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"missing\.toml: no such file"):
        in_file(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(InputError, match=r"is not TOML: .*line 1"):
        in_file(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        in_file(tmp_path / "binary.toml")


def test_variables_of_the_environment():
    environment = {
        "PSFMATCH_PRESET": "head",
        "PSFMATCH_KERNEL_SPATIAL_KERNEL_ORDER": "1",
        "PSFMATCH_DETECTION_STATSMASK": "SAT,BAD",
        "PSFMATCH_CONFIG": "a.toml",
        "PSFMATCH_DATA": "/data",
        "PATH": "/bin",
        "MY_PSFMATCH_X": "1",
    }
    assert in_environment(environment) == [
        Given("preset", "head", "environment PSFMATCH_PRESET"),
        Given("kernel.spatial_kernel_order", 1, "environment PSFMATCH_KERNEL_SPATIAL_KERNEL_ORDER"),
        Given("detection.stats_mask", ["SAT", "BAD"], "environment PSFMATCH_DETECTION_STATSMASK"),
    ]


def test_variables_that_are_empty_name_no_file_and_no_preset():
    environment = {"PSFMATCH_PRESET": "", "PSFMATCH_CONFIG": ""}
    assert in_environment(environment) == []
    assert settings_file(None, environment) is None


def test_a_given_file_wins_over_that_of_the_environment(tmp_path):
    environment = {"PSFMATCH_CONFIG": "of_environment.toml"}
    assert settings_file(None, environment).name == "of_environment.toml"
    assert settings_file(tmp_path / "given.toml", environment).name == "given.toml"
    assert settings_file("given.toml", {}).name == "given.toml"


def test_two_variables_of_one_setting_are_refused():
    with pytest.raises(
        UsageError, match="threads is given twice: environment PSFMATCH_THREADS and environment PSFMATCH_T"
    ):
        in_environment({"PSFMATCH_THREADS": "1", "PSFMATCH_THREAD_S": "2"})


def test_assignments():
    assert in_assignments(
        ["threads = 2", "warp.maskWarpingKernelName=", "preset=v23", "kernel.lambda_type=relative"]
    ) == [
        Given("threads", 2, "option -c"),
        Given("warp.mask_warping_kernel_name", "", "option -c"),
        Given("preset", "v23", "option -c"),
        Given("kernel.lambda_type", "relative", "option -c"),
    ]
    with pytest.raises(UsageError, match="a setting is given as KEY=VALUE, got 'threads'"):
        in_assignments(["threads"])
