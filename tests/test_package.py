"""The package: its public names come on demand, and its docstring tells the flow."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import psfmatch_cli


@pytest.mark.parametrize("name", sorted(set(psfmatch_cli.__all__) - {"__version__"}))
def test_a_public_name_is_that_of_its_module(name):
    value = getattr(psfmatch_cli, name)
    assert getattr(import_module(value.__module__), name) is value


def test_unknown_names_are_attribute_errors():
    assert set(psfmatch_cli.__all__) <= set(dir(psfmatch_cli))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = psfmatch_cli.nonsense


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, psfmatch_cli; print(sorted({'numpy', 'scipy', 'astropy', 'click'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True
    )
    assert done.stdout == "[]\n"
