"""The README is true: its sessions run and print what it says, and every command and file stands in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from psfmatch_cli import cli
from psfmatch_cli.cli import config
from psfmatch_cli.cli.exits import INTERRUPTED, TERMINATED
from psfmatch_cli.errors import InputError, NoCandidatesError, UsageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def sessions():
    """Pairs of a command line and the lines printed after it."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, printed = part.partition("\n")
            yield line, printed


def without_numbers(text):
    # The numbers depend a little on the versions of the libraries, the words do not.
    return re.sub(r"\d+(\.\d+)?", "N", text)


def words(text):
    """Reasons of refusal may come and go with the numbers; the rest has to agree."""
    return re.sub(r" \(N [^)]*too-small\)", " (reasons)", without_numbers(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, environment):
    """Folder in which all sessions of the README have been run, and what each printed."""
    where = tmp_path_factory.mktemp("readme")
    printed = []
    for line, expected in sessions():
        done = subprocess.run(line, shell=True, cwd=where, env=environment, capture_output=True, text=True, check=False)
        printed.append((line, expected, done.returncode, done.stdout, done.stderr))
    return where, printed


def test_the_sessions_print_what_the_readme_says(folder):
    for line, expected, status, out, err in folder[1]:
        assert (status, err) == (0, ""), line
        assert words(out) == words(expected), line


def test_the_sessions_write_what_the_readme_says(folder):
    names = {path.name for path in (folder[0] / "demo").iterdir()}
    assert {"diff.fits", "diff_matched.fits", "diff_kernel.fits", "diff_metadata.json", "found.ecsv"} <= names
    assert {"matched.fits", "matched_kernel.fits", "candidates.ecsv", "candidates_metadata.json"} <= names
    assert "fainter.ecsv" in names
    assert "fainter_metadata.json" not in names


def test_the_python_of_the_readme_runs(folder, environment):
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder[0],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # 1 % for the kernel sum of a small field.
    assert abs(float(done.stdout.split()[0]) - 1.25) < 0.0125
    assert (folder[0] / "demo" / "diff_by_python.fits").exists()


def test_every_command_stands_in_the_readme():
    shown = {line.split()[1] for line, _ in sessions()}
    assert shown == set(cli.COMMANDS)


def test_every_option_that_the_readme_names_exists(psfmatch):
    names = [[name] for name in cli.COMMANDS] + [["config", name] for name in config.command.commands]
    helps = "".join(psfmatch(*name, "--help").out for name in names)
    for option in set(re.findall(r"--[a-z][a-z-]+", README)) - {"--help"}:
        assert option in helps, option


def test_make_targets_and_exit_statuses_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", "\n".join(blocks("sh")) + README[README.index("## Development") :]):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE))
    assert set(table) == {
        "0",
        *(str(kind.exit_code) for kind in (InputError, UsageError, NoCandidatesError)),
        str(INTERRUPTED),
        str(TERMINATED),
    }


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
