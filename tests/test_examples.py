"""The examples run and do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.table import Table

from conftest import FWHMS

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(arguments, where, environment):
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shell_script(tmp_path, environment, pair_folder):
    files = pair_folder / "template.fits", pair_folder / "science.fits"
    done = run(["bash", EXAMPLES / "run_pair.sh", *files, "out"], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert len(Table.read(tmp_path / "out" / "found.ecsv")) > 0
    assert (tmp_path / "out" / "diff.fits").exists()
    failed = run(["bash", EXAMPLES / "run_pair.sh", "missing.fits", files[1], "bad"], tmp_path, environment)
    assert failed.returncode == 1
    assert not (tmp_path / "bad" / "found.ecsv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_pipeline_repeats_only_what_is_needed(tmp_path, environment, pair_folder):
    for role in ("template", "science"):
        shutil.copy(pair_folder / f"{role}.fits", tmp_path)
    command = ["make", "-f", EXAMPLES / "pipeline.mk", "TEMPLATE=template.fits", "SCIENCE=science.fits"]
    command += ["OUT=out", f"OPTIONS={' '.join(FWHMS)}"]
    first = run(command, tmp_path, environment)
    assert first.returncode == 0, first.stderr
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"sources.ecsv", "candidates.ecsv", "matched.fits", "diff.fits", "found.ecsv"} <= made
    assert "Nothing to be done" in run(command, tmp_path, environment).stdout
    (tmp_path / "out" / "diff.fits").touch()
    again = run(command, tmp_path, environment).stdout
    assert re.findall(r"^psfmatch (\w+)", again, re.MULTILINE) == ["detect"]


def test_the_python_script_recovers_the_fluxes(tmp_path, environment):
    done = run([sys.executable, "-W", "error", EXAMPLES / "match_in_python.py", "1"], tmp_path, environment)
    assert (done.returncode, done.stderr) == (0, "")
    kernel_sum = float(re.search(r"kernel sum ([\d.]+)", done.stdout)[1])
    assert abs(kernel_sum - 1.25) < 0.0125  # 1 %, as some 80 stars give
    rows = re.findall(r"flux +(-?\d+) counts, true +(-?\d+)", done.stdout)
    assert len(rows) >= 3
    for measured, true in rows:
        # The box of 2 FWHM to each side holds all but 5 % of a Moffat profile; the noise of its sum is 400 counts.
        assert abs(float(measured) - float(true)) < 0.08 * abs(float(true)) + 1600


def test_the_comparison_tells_true_sources_from_others(tmp_path, environment):
    truth = Table({"x": [10.0, 50.0], "y": [20.0, 60.0], "snr": [12.0, 8.0]})
    truth.write(tmp_path / "truth.ecsv")
    found = Table({"x": [10.5, 11.0, 90.0], "y": [20.0, 20.0, 90.0], "snr": [11.0, 9.0, 30.0]})
    found["flag_bad"] = [False, False, True]
    found.write(tmp_path / "found.ecsv")
    done = run([sys.executable, EXAMPLES / "compare_with_truth.py", "found.ecsv", "truth.ecsv"], tmp_path, environment)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1:4] == [
        ["10.5", "20.0", "11.0", "12.0"],
        ["11.0", "20.0", "9.0", "12.0"],
        ["90.0", "90.0", "30.0", "-", "bad"],
    ]
    assert done.stdout.splitlines()[-1] == "1 of 2 changed sources found, 1 other detections"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_names_files_and_options_that_exist(psfmatch, environment):
    root = EXAMPLES.parent
    shown = run(["make", "-n", "-C", root, "demo"], root, environment).stdout
    commands = re.findall(r"bin/psfmatch (\w+) (.*)", shown)
    assert [name for name, _ in commands] == ["demo", "subtract", "detect"]
    helps = {name: psfmatch(name, "--help").out for name, _ in commands}
    for name, arguments in commands:
        assert all(option in helps[name] for option in re.findall(r"--[a-z-]+", arguments))
    assert all((root / path).exists() for path in re.findall(r"examples/\S+", shown))
