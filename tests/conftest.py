"""What several test files share: a small simulated pair, in memory and in files, and the command line."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from psfmatch_cli import cli
from psfmatch_cli.setting_keys import PREFIX
from psfmatch_cli.setting_sources import OTHER_VARIABLES

#: The simulated FWHMs, given to save the time of measuring them.
FWHMS = ("--template-fwhm", "3.4", "--science-fwhm", "4.6")


@pytest.fixture(scope="session")
def pair():
    """Pair of 320 x 320 pixels with 1.25 science counts per template count; not to be changed.

    The PSFs do not vary and the defects are few, so that a kernel of order 0 is right and most stars can be used.
    """
    from psfmatch_cli.simulate import preset, simulate_pair

    few = {"n_stars": 60, "faintest_snr": 20, "n_galaxies": 3, "n_transients": 4}
    clean = {"bad_columns": 0, "dead_pixels": 2, "cosmic_rays": 2, "psf_variation": 0}
    return simulate_pair(preset("demo", width=320, height=320, seed=6, **few, **clean))


@pytest.fixture(scope="session")
def pair_folder(pair, tmp_path_factory):
    """Folder with template.fits and science.fits of the pair; not to be written to."""
    from psfmatch_cli.io import write_exposure

    folder = tmp_path_factory.mktemp("pair")
    write_exposure(folder / "template.fits", pair.template)
    write_exposure(folder / "science.fits", pair.science)
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_settings_in_the_environment():
    """Tests, and the processes they start, know nothing of the settings of the one who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in list(os.environ):
            if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
                patch.delenv(variable)
        yield


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def psfmatch(tmp_path, monkeypatch, capsys):
    """Function that runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = cli.exit_status([str(argument) for argument in arguments])
        for name in ("psfmatch_cli", "timer.psfmatch_cli"):
            assert logging.getLogger(name).handlers == [], "a command has to take its handlers away again"
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment of a process that finds the command psfmatch, installed or not."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "psfmatch"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m psfmatch_cli "$@"\n')
    script.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    # What a make that runs the tests tells its children is not for the make of a test.
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[1]), "LC_ALL": "C"}
