"""The user guide builds without a warning, fetches nothing, and has an entry for whatever can be called or set."""

import re
import subprocess
import sys
import zlib
from importlib import import_module

import pytest

import psfmatch_cli
from doc_pages import GUIDE, ROOT
from psfmatch_cli import cli
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import keys


@pytest.fixture(scope="module")
def built(tmp_path_factory, environment):
    """Folder of the HTML pages, and how their making ended."""
    where = tmp_path_factory.mktemp("guide")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html"]
    command += ["-d", str(where / "doctrees"), str(GUIDE), str(where / "html")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return where / "html", done


@pytest.fixture(scope="module")
def entries(built):
    """Names that the guide has an entry for, by kind."""
    data = (built[0] / "objects.inv").read_bytes()
    found = {}
    for line in zlib.decompress(data.split(b"\n", 4)[4]).decode().splitlines():
        name, kind = re.match(r"(.+?) (\S+:\S+) ", line).groups()
        found.setdefault(kind, set()).add(name)
    return found


def test_the_guide_builds_without_a_warning(built):
    done = built[1]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_pages_fetch_nothing(built):
    for page in built[0].rglob("*.html"):
        text = page.read_text()
        assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//[^\"]+", text) == [], page.name


def test_every_option_of_every_command_has_an_entry(entries):
    commands = {name: import_module(f"psfmatch_cli.cli.{name}").command for name in cli.COMMANDS}
    commands |= {f"config-{name}": command for name, command in commands["config"].commands.items()}
    for name, command in commands.items():
        options = {max(p.opts, key=len) for p in command.params if p.param_type_name == "option" and not p.hidden}
        assert options
        # click adds its own option for help where there is none.
        missing = {option for option in options if f"psfmatch-{name}.{option}" not in entries["std:cmdoption"]}
        assert missing - {"--help"} == set(), name


def test_every_setting_has_an_entry_and_no_other_is_named(entries):
    assert entries["std:confval"] == set(keys())


def test_every_public_name_has_an_entry(entries):
    known = set().union(*(names for kind, names in entries.items() if kind.startswith("py:")))
    assert {f"psfmatch_cli.{name}" for name in psfmatch_cli._HOMES} - known == set()
    methods = {name for name in dir(ImagePsfMatchTask) if not name.startswith("_")}
    methods = {name for name in methods if callable(getattr(ImagePsfMatchTask, name)) and name != "ConfigClass"}
    assert {f"psfmatch_cli.ImagePsfMatchTask.{name}" for name in methods} - known == set()
