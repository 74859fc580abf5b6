"""The pipelines of the examples for a night: they run, also side by side, and repeat only what is needed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from astropy.table import Table

from conftest import FWHMS
from psfmatch_cli.cli import COMMANDS

EXAMPLES = Path(__file__).parents[1] / "examples"
OPTIONS = " ".join((*FWHMS, "--kernel-size", "15"))
PRODUCTS = ("sources.ecsv", "candidates.ecsv", "matched.fits", "diff.fits", "found.ecsv")


def run(arguments, where, environment):
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def night(tmp_path, pair_folder):
    """Folder with template.fits and a folder night of two science images."""
    (tmp_path / "night").mkdir()
    shutil.copy(pair_folder / "template.fits", tmp_path)
    for name in ("v1", "v2"):
        shutil.copy(pair_folder / "science.fits", tmp_path / "night" / f"{name}.fits")
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_does_a_night_side_by_side_and_then_only_what_has_changed(night, environment):
    command = ["make", "-j", "4", "-f", EXAMPLES / "Makefile", f"OPTIONS={OPTIONS}"]
    first = run(command, night, environment)
    assert first.returncode == 0, first.stderr
    assert all((night / "results" / f"{name}_{end}").exists() for name in ("v1", "v2") for end in PRODUCTS)
    assert "Nothing to be done" in run(command, night, environment).stdout
    (night / "night" / "v2.fits").touch()
    again = run(command, night, environment)
    assert again.returncode == 0, again.stderr
    steps = re.findall(r"^psfmatch (\w+) .*/(v\d)", again.stdout, re.MULTILINE)
    expected = ["candidates", "detect", "detect", "match", "subtract"]
    assert sorted(steps) == [(step, "v2") for step in expected]
    (night / "template.fits").touch()
    wanted = run([*command, "-n"], night, environment).stdout
    assert len(re.findall(r"^psfmatch (?:candidates|match|subtract)", wanted, re.MULTILINE)) == 6


def test_the_shell_script_goes_on(night, environment):
    command = ["bash", EXAMPLES / "night.sh", "template.fits", "night", "out", *OPTIONS.split(), "--jobs", 1]
    first = run(command, night, environment)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("batch: 2 of 2 pairs done -> ")
    assert all(len(Table.read(night / "out" / f"{name}_found.ecsv")) for name in ("v1", "v2"))
    (night / "night" / "v3.fits").write_bytes(b"no image")
    again = run(command, night, environment)
    assert (again.returncode, again.stdout) == (
        1, "batch: 2 of 3 pairs done, 2 of them before, 1 failed -> out/batch_summary.ecsv\n"
    )  # fmt: skip
    assert run([*command, "--no-such-option"], night, environment).returncode == 2


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="snakemake is not installed")
def test_snakemake_does_a_night(night, environment):
    command = ["snakemake", "-s", EXAMPLES / "Snakefile", "--cores", "2", "--config", f"options={OPTIONS}"]
    done = run(command, night, environment)
    assert done.returncode == 0, done.stderr
    assert all((night / "results" / f"{name}_{end}").exists() for name in ("v1", "v2") for end in PRODUCTS)


def test_every_command_prints_json_for_scripts(psfmatch, pair_folder, tmp_path):
    (tmp_path / "my.toml").write_text("adapt = false\n")
    pair = (pair_folder / "template.fits", pair_folder / "science.fits", *OPTIONS.split())
    lines = {
        "info": (pair[1], "--quick"),
        "detect": (pair[1], "-o", "found.csv", "--psf-fwhm", "4.6"),
        "candidates": (*pair, "-o", "candidates.csv"),
        "match": (*pair, "-o", "matched.fits"),
        "subtract": (*pair, "-o", "diff.fits"),
        "batch": (*pair, "-o", "out", "--jobs", 1),
        "fakes": (*pair, "-o", "fakes.ecsv"),
        "kernel": ("diff_kernel.fits",),
        "measure": ("diff.fits", "--at", "150,2.2", "-o", "curve.ecsv"),
        "demo": ("demo", "--size", 64),
        "config show": (),
        "config dump": (),
        "config validate": ("my.toml",),
    }
    assert {line.split()[0] for line in lines} == set(COMMANDS) - {"report"}, "whose result is a page to look at"
    for name, arguments in lines.items():
        ended = psfmatch(*name.split(), *arguments, "--json")
        assert ended.out, (name, ended)
        assert (ended.status, bool(json.loads(ended.out))) == (0, True), name


def complete(environment, where, shell, words):
    """What click offers for the last of some words, in the form that it has for a shell."""
    number = len(words) - 1
    asked = {"_PSFMATCH_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(number)}
    if shell == "fish":
        asked["COMP_CWORD"] = words[-1]
    return run(["psfmatch"], where, {**environment, **asked}).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_options(environment, tmp_path, shell):
    source = run(["psfmatch"], tmp_path, {**environment, "_PSFMATCH_COMPLETE": f"{shell}_source"})
    assert (source.returncode, "_psfmatch_completion" in source.stdout) == (0, True)
    assert "batch" in complete(environment, tmp_path, shell, ["psfmatch", "ba"])
    assert "--retry-failed" in complete(environment, tmp_path, shell, ["psfmatch", "batch", "--retry"])
    assert "asterisms" in complete(environment, tmp_path, shell, ["psfmatch", "subtract", "--register", "ast"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes(environment, tmp_path):
    script = """
    eval "$(_PSFMATCH_COMPLETE=bash_source psfmatch)"
    COMP_WORDS=(psfmatch batch --retry) COMP_CWORD=2
    _psfmatch_completion psfmatch
    echo "${COMPREPLY[@]}"
    """
    done = run(["bash", "-c", script], tmp_path, environment)
    assert (done.stdout.strip(), done.returncode) == ("--retry-failed", 0), done.stderr
