"""README and guide are true: their sessions run and print what they say, and every command stands in them."""

import re
import subprocess
import sys
import tomllib

import pytest

from doc_pages import GUIDE, PAGES, README, ROOT, blocks, run_sessions, sessions, words
from psfmatch_cli import cli
from psfmatch_cli.cli import config
from psfmatch_cli.cli.exits import BAD_QUALITY, HANGUP, INTERRUPTED, TERMINATED
from psfmatch_cli.errors import InputError, NoCandidatesError, UsageError
from psfmatch_cli.settings import load_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory, environment):
    """Folder in which the sessions of all pages have been run, and what each line printed."""
    where = tmp_path_factory.mktemp("pages")
    return where, run_sessions([README, *PAGES], where, environment)


def test_the_sessions_print_what_the_pages_say(folder):
    assert {README.name, "start.rst"} <= {said.page for said in folder[1]}
    for said in folder[1]:
        assert (said.status, said.err) == (0, ""), said
        assert words(said.out) == words(said.expected), said


def test_the_sessions_write_what_the_readme_says(folder):
    names = {path.name for path in (folder[0] / "demo").iterdir()}
    assert {"diff.fits", "diff_matched.fits", "diff_kernel.fits", "diff_metadata.json", "found.ecsv"} <= names
    assert {"matched.fits", "matched_kernel.fits", "candidates.ecsv", "candidates_metadata.json"} <= names
    assert "fainter.ecsv" in names
    assert "fainter_metadata.json" not in names


def run_python(code, where, environment):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


def test_the_python_of_the_readme_runs(folder, environment):
    (code,) = blocks(README, "python")
    done = run_python(code, folder[0], environment)
    assert (done.returncode, done.stderr) == (0, "")
    # 1 % for the kernel sum of a small field.
    assert abs(float(done.stdout.split()[0]) - 1.25) < 0.0125
    assert (folder[0] / "demo" / "diff_by_python.fits").exists()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, folder, environment):
    done = run_python("\n".join(blocks(page, "python")), folder[0], environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.stem)
def test_settings_files_of_a_page_are_read(page, tmp_path):
    for block in blocks(page, "toml"):
        path = tmp_path / "settings.toml"
        path.write_text(block)
        assert load_settings(path).model_fields_set == set(tomllib.loads(block))


def test_every_command_stands_in_the_readme_and_in_the_start_of_the_guide():
    for page in (README, GUIDE / "start.rst"):
        shown = {line.split()[1] for line, _ in sessions(page) if line.startswith("psfmatch")}
        assert shown == set(cli.COMMANDS), page


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_every_option_that_a_page_names_exists(page, psfmatch):
    names = [[name] for name in cli.COMMANDS] + [["config", name] for name in config.command.commands]
    helps = "".join(psfmatch(*name, "--help").out for name in names)
    of_dask = {"--nthreads", "--nworkers", "--memory-limit"}
    known = {"--help", "--version", *of_dask, *re.findall(r"--[a-z][a-z-]+", helps)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", page.read_text()))
    assert named <= known


def test_make_targets_and_exit_statuses_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    text = README.read_text()
    for target in re.findall(r"make (\w+)", "\n".join(blocks(README, "sh")) + text[text.index("## Development") :]):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE))
    assert set(table) == {
        "0",
        *(str(kind.exit_code) for kind in (InputError, UsageError, NoCandidatesError)),
        *map(str, (BAD_QUALITY, HANGUP, INTERRUPTED, TERMINATED)),
    }


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target
