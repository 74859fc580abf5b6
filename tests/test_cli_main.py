"""The group of commands and the one way out."""

import ast
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest

from conftest import FWHMS
from psfmatch_cli import cli
from psfmatch_cli.cli.exits import INTERRUPTED, outcome
from psfmatch_cli.cli.options import SETTING_OF, SectionedOption
from psfmatch_cli.errors import FitError, InputError, NoCandidatesError, OutputError, RegistrationError, UsageError
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.settings import Settings, value_of
from psfmatch_cli.version import __version__

ROOT = Path(__file__).parents[1]


def command_of(name):
    """The command of a name, or of a path of names such as "config show"."""
    first, *rest = name.split()
    command = import_module(f"psfmatch_cli.cli.{first}").command
    for step in rest:
        command = command.commands[step]
    return command


def all_commands():
    """Names of all commands, and paths of those inside them."""
    for name in cli.COMMANDS:
        yield name
        yield from (f"{name} {inner}" for inner in getattr(command_of(name), "commands", ()))


def test_version(psfmatch):
    ended = psfmatch("--version")
    assert (ended.status, ended.out) == (0, f"psfmatch {__version__}\n")


def test_the_list_of_commands(psfmatch):
    out = psfmatch("--help").out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)
    assert "Exit status" in out
    assert f"{INTERRUPTED}  interrupted (Ctrl-C); 129, 143: " in out


@pytest.mark.parametrize("name", list(all_commands()))
def test_the_help_of_a_command_shows_a_line_that_is_accepted(name, psfmatch):
    ended = psfmatch(*name.split(), "--help")
    assert ended.status == 0
    program, *arguments = ended.out.split("Example:")[1].split()
    assert program == "psfmatch"
    command = command_of(name)
    assert arguments[: len(name.split())] == name.split()
    command.make_context(name, arguments[len(name.split()) :])  # parses and checks, but does not run


@pytest.mark.parametrize("name", list(all_commands()))
def test_every_option_has_a_help_text_with_its_default(name):
    for option in command_of(name).params:
        if isinstance(option, SectionedOption) and not option.hidden and not option.is_flag and not option.count:
            assert option.required or "[default: " in option.help or "instead of" in option.help, option.name


@pytest.mark.parametrize("name", ["candidates", "subtract"])
def test_defaults_in_the_help_are_those_of_the_settings(name):
    settings = Settings()
    said = {"sigma": "10", "kernel_size": "from", "kernel_order": "auto", "background_order": "auto"}
    said["threads"] = "the cores"
    said |= {
        "fit_background": "fit",
        "normalize": "science",
        "adapt": "adapt",
        "strict": "no-strict",
        "allow_identical": "no-allow-identical",
        "decorrelate": "no-decorrelate",
        "quality": "fast",
    }
    said["register"] = settings.warp.registration
    said["bad_planes"] = ",".join(settings.candidates.bad_mask_planes)
    said["mask_policy"] = policy = settings.candidates.mask_policy
    values = {"from": None, "auto": None, "fit": True, "10": 10.0, "the cores": settings.threads, policy: policy}
    values |= {"science": "science", "fast": "fast", "adapt": True, "no-strict": False}
    values |= {"no-allow-identical": False, "no-decorrelate": False}
    for option in command_of(name).params:
        if option.name in SETTING_OF:
            text = said[option.name]
            assert f"[default: {text}" in option.help
            value = value_of(settings, SETTING_OF[option.name])
            assert value == (text if option.name == "register" else values.get(text, text.split(",")))


def test_help_and_usage_errors_come_before_any_heavy_import():
    code = (
        "import sys; from psfmatch_cli.cli import exit_status; "
        "[exit_status(line.split()) for line in ('--help', 'subtract --help', 'detect', 'config show --help')]; "
        "print(sorted({'numpy', 'scipy', 'astropy', 'pydantic', 'rich', 'sep'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing command"),
        (["config"], "Missing command"),
        (["nosuch"], "No such command 'nosuch'"),
        (["detect"], "Missing argument 'EXPOSURE'"),
        (["detect", "a.fits"], "Missing option '-o' / '--output'"),
        (["subtract", "a", "b", "-o", "c.fits", "--sgima", "4"], "No such option"),
        (["subtract", "a", "b", "-o", "c.fits", "--convolve", "both"], "'both' is not one of"),
        (["subtract", "a", "b", "-o", "c.fits", "--preset", "v24"], "'v24' is not one of 'default', 'v23', 'head'"),
        (["subtract", "a", "b", "-o", "c.fits", "--template-gain", "high"], "'high' is not a valid float"),
        (["subtract", "a", "b", "-o", "c.fits", "--template-fwhm", "0"], "0 is not from 0.5 to 100 pixels"),
        (["detect", "a", "-o", "c.fits", "--psf-sigma", "nan"], "nan is not from 0.212 to 42.5 pixels"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments, expected, psfmatch):
    ended = psfmatch(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("psfmatch: error: ")
    assert expected in ended.err
    assert "--help)" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("a.fits: no such file"), 1, "a.fits: no such file"),
        (RegistrationError("no overlap"), 1, "no overlap"),
        (OutputError("exists"), 1, "exists"),
        (UsageError("bad value"), 2, "bad value"),
        (NoCandidatesError("none", {"faint": 3}), 3, "none"),
        (FitError("singular"), 3, "singular"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (MemoryError(), 1, "not enough memory"),
        (PermissionError(13, "Permission denied", "x.fits"), 1, "Permission denied: x.fits"),
        (OSError("bare"), 1, "bare"),
        (ZeroDivisionError("two\nlines"), 1, "internal error, please report it: ZeroDivisionError: two lines"),
    ],
)
def test_every_exception_has_one_status_and_one_line(error, status, message):
    got_status, line = outcome(error)
    assert got_status == status
    assert line.startswith(message)
    assert "\n" not in line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("boom")])
def test_a_traceback_is_shown_only_on_request(error, psfmatch, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("psfmatch_cli.cli.products.check", fail)
    plain = psfmatch("detect", "a.fits", "-o", "b.fits")
    assert "Traceback" not in plain.err
    assert plain.err.splitlines()[-1].startswith("psfmatch: error: in")
    with_debug = psfmatch("detect", "a.fits", "-o", "b.fits", "--debug")
    assert "Traceback" in with_debug.err
    assert plain.status == with_debug.status == (130 if isinstance(error, KeyboardInterrupt) else 1)


def test_a_reader_that_goes_away_is_no_error(environment):
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; psfmatch subtract --help | exec 0<&-"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 1)  # 0 if all was written before the pipe closed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_product_and_no_temporary_file(number, status, tmp_path, pair_folder, environment):
    """The process is stopped while its temporary folder is there, which a slow write makes certain."""
    code = (
        "import os, signal, time, psfmatch_cli.fitswrite as fitswrite\n"
        # A shell starts its background jobs, and so these tests may run, with SIGINT ignored.
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"
        "fitswrite._write = lambda path, *a: (path.write_text('half'), os.write(1, b'go\\n'), time.sleep(5))\n"
        "from psfmatch_cli.cli import main; main()"
    )
    pair = [str(pair_folder / "template.fits"), str(pair_folder / "science.fits")]
    command = [sys.executable, "-c", code, "subtract", *pair, "-o", "diff.fits", *FWHMS, "--kernel-order", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "go\n"
        assert any(path.name.startswith(".psfmatch-") for path in tmp_path.iterdir())
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.startswith("psfmatch: error: ")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["diff_metadata.json"]
    run = TaskMetadata.from_json((tmp_path / "diff_metadata.json").read_text())["run"]
    assert (run["status"], run["exitCode"]) == ("failed", status)
    assert run["errorMessage"] in err


def test_main_ends_the_process_with_the_status(monkeypatch):
    monkeypatch.setattr("psfmatch_cli.cli.unwind_on_signals", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0


def test_the_installed_command_is_this_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, name = project["project"]["scripts"]["psfmatch"].partition(":")
    assert getattr(import_module(module), name) is import_module("psfmatch_cli.__main__").main
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "psfmatch_cli.version.__version__"}


def test_every_imported_package_is_a_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    # Libraries for images without world coordinates, clusters and plots are extras, asked for where they are missing.
    extras = project["project"]["optional-dependencies"]
    requirements = project["project"]["dependencies"] + extras["align"] + extras["cluster"] + extras["plot"]
    declared = {requirement.partition(">=")[0] for requirement in requirements}
    imported = set()
    for path in (ROOT / "psfmatch_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"psfmatch_cli"} == declared
