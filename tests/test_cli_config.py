"""psfmatch config: show, dump and validate settings."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from psfmatch_cli.cli.config import COLUMNS
from psfmatch_cli.setting_keys import fields, keys, value_of
from psfmatch_cli.settings import Settings, load_settings


def table(out):
    """Lines of a table by key: value, default, source, allowed, meaning."""
    head, *lines = out.splitlines()
    starts = [head.index(column) for column in COLUMNS]
    ends = [*starts[1:], None]
    cells = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]
    return {key: tuple(rest) for key, *rest in cells}


def test_all_settings_are_listed_a_line_each(psfmatch):
    ended = psfmatch("config", "show")
    assert (ended.status, ended.err) == (0, "")
    shown = table(ended.out)
    assert list(shown) == keys()
    assert all(line[:3] == (line[1], line[1], "default") for line in shown.values())
    assert shown["kernel.kernel_size"][:4] == ("none", "none", "default", ">= 3, or none")
    assert shown["adapt"][3:] == ("true or false", fields()["adapt"].description)


def test_values_and_sources_of_what_was_asked_for(psfmatch, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("[warp]\ninterp_length = 4\n")
    monkeypatch.setenv("PSFMATCH_WARP_GROWFULLMASK", "EDGE,SAT")
    options = ("--config", "a.toml", "--preset", "v23", "-c", "warp.max_lost_weight=0.1")
    shown = table(psfmatch("config", "show", "warp", "kernel.kernelSizeMin", *options).out)
    assert {key: line[:3] for key, line in shown.items()} == {
        "warp.registration": ("wcs", "auto", "preset v23"),
        "warp.warping_kernel_name": ("lanczos3", "kriging4", "preset v23"),
        "warp.mask_warping_kernel_name": ("bilinear", "bilinear", "preset v23"),
        "warp.grow_full_mask": ("EDGE,SAT", "EDGE", "environment PSFMATCH_WARP_GROWFULLMASK"),
        "warp.max_lost_weight": ("0.1", "0.005", "option -c"),
        "warp.interp_length": ("4", "16", "file a.toml"),
        "warp.registration_tolerance": ("0.001", "0.001", "default"),
        "kernel.kernel_size_min": ("21", "27", "preset v23"),
    }


def test_a_group_has_the_groups_inside_it(psfmatch):
    inner = table(psfmatch("config", "show", "detection.background").out)
    assert set(inner) == {key for key in keys() if key.startswith("detection.background.")}
    assert set(inner) < set(table(psfmatch("config", "show", "detection").out))


def test_only_what_is_changed(psfmatch):
    shown = table(psfmatch("config", "show", "--changed", "-c", "strict=true", "-c", "adapt=true").out)
    assert {key: line[:3] for key, line in shown.items()} == {"strict": ("true", "false", "option -c")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kernel.kernelsiz", "did you mean kernel.kernel_size or"),
        ("warping", "unknown setting 'warping'"),
        ("DF.lambdaValue", "DF.lambdaValue is kernel.lambda_value here"),
    ],
)
def test_an_unknown_name_is_a_usage_error(name, expected, psfmatch):
    ended = psfmatch("config", "show", name)
    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err


def test_json_for_scripts(psfmatch):
    ended = psfmatch("config", "show", "kernel", "--json", "-c", "kernel.spatial_kernel_order=1")
    entries = {entry["key"]: entry for entry in json.loads(ended.out)}
    assert list(entries) == [key for key in keys() if key.startswith("kernel.")]
    assert entries["kernel.spatial_kernel_order"] == {
        "key": "kernel.spatial_kernel_order",
        "value": 1,
        "default": None,
        "source": "option -c",
        "variable": "PSFMATCH_KERNEL_SPATIAL_KERNEL_ORDER",
        "type": "integer, or none",
        "allowed": "0 to 20, or none",
        "help": fields()["kernel.spatial_kernel_order"].description,
        "upstream": ["AL.spatialKernelOrder", "DF.spatialKernelOrder"],
        "upstreamDefault": {"v23": "2", "head": "1"},
        "note": "none: candidates that are left out of the fit choose it",
    }
    assert entries["kernel.alard_deg_gauss"]["value"] == value_of(Settings(), "kernel.alard_deg_gauss")


def test_on_a_terminal_no_line_is_wider_than_it_and_no_name_is_cut(environment):
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "psfmatch_cli", "config", "show", "detection.temp_wide_background"]
    wide = {**environment, "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run(command, stdout=child, stdin=child, stderr=subprocess.PIPE, env=wide, check=True, timeout=60)
    os.close(child)
    out = b""
    try:
        while part := os.read(parent, 65536):
            out += part
    except OSError:  # Linux reports the closed end of a terminal as an error
        pass
    os.close(parent)
    lines = [line.rstrip() for line in out.decode().splitlines()]
    assert done.stderr == b""
    assert lines[0].split() == list(COLUMNS)
    assert max(map(len, lines)) <= 100
    assert "…" not in out.decode()
    first = "".join(line[: lines[0].index("value")].strip() for line in lines[1:])
    assert first == "".join(key for key in keys() if key.startswith("detection.temp_wide_background."))


def test_a_dump_is_what_dump_config_prints_and_gives_the_same_settings(psfmatch, tmp_path, monkeypatch):
    monkeypatch.setenv("PSFMATCH_THREADS", "2")
    options = ("--preset", "head", "-c", "warp.interp_length=0")
    ended = psfmatch("config", "dump", *options)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == psfmatch("subtract", "--dump-config", *options).out
    (tmp_path / "all.toml").write_text(ended.out)
    expected = load_settings(None, ["warp.interp_length=0", "threads=2"], preset="head")
    assert load_settings(tmp_path / "all.toml") == expected
    assert psfmatch("config", "validate", "all.toml").out == "all.toml: ok\n"


def test_files_that_are_right(psfmatch, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("threads = 2\n")
    (tmp_path / "b.toml").write_text('preset = "head"\n')
    monkeypatch.setenv("PSFMATCH_NONSENSE", "1")  # says nothing about a file
    ended = psfmatch("config", "validate", "a.toml", "b.toml")
    assert (ended.status, ended.out, ended.err) == (0, "a.toml: ok\nb.toml: ok\n", "")


def test_all_complaints_of_files_a_line_each(psfmatch, tmp_path):
    (tmp_path / "a.toml").write_text("threads = 2\n")
    (tmp_path / "b.toml").write_text("threads = 0\ntread = 3\n[AL]\nkernelSize = 3\n[kernel]\nkernel_size = 20\n")
    ended = psfmatch("config", "validate", "b.toml", "a.toml")
    assert ended.status == 2
    assert ended.out.splitlines() == [
        "b.toml: unknown setting 'tread'; did you mean threads?",
        "b.toml: unknown setting 'AL.kernelSize'; AL.kernelSize is kernel.kernel_size here",
        "b.toml: setting threads = 0 is refused: input should be greater than or equal to 1",
        "b.toml: setting kernel.kernel_size = 20 is refused: kernel_size must be odd, got 20",
        "a.toml: ok",
    ]
    assert ended.err == "psfmatch: error: 1 of 2 settings files cannot be used\n"


def test_a_file_that_cannot_be_read_is_exit_1(psfmatch, tmp_path):
    (tmp_path / "a.toml").write_text("threads = 0\n")
    (tmp_path / "b.toml").write_text("a = = b")
    ended = psfmatch("config", "validate", "a.toml", "b.toml", "missing.toml")
    assert ended.status == 1
    assert "b.toml: the settings file b.toml is not TOML" in ended.out
    assert "missing.toml: missing.toml: no such file" in ended.out
    assert "3 of 3 settings files" in ended.err


def test_nothing_heavy_is_imported_to_show_settings():
    code = (
        "import sys; from psfmatch_cli.cli import exit_status; exit_status(['config', 'show', '--json']); "
        "print(sorted({'numpy', 'scipy', 'astropy', 'rich'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
