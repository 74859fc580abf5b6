"""Docstrings have the form of numpydoc, and the parameters that they describe are those that there are."""

import inspect
import pkgutil
from importlib import import_module

import pytest
from numpydoc.validate import validate

import psfmatch_cli

MODULES = sorted(name for _, name, _ in pkgutil.walk_packages(psfmatch_cli.__path__, "psfmatch_cli."))
#: Of numpydoc's checks: sections in order, known and not twice; a summary on one line with a full stop; parameters that
#: exist, in order, with types and a space before the colon.
CHECKS = {"GL06", "GL07", "SS03", "SS06", "PR02", "PR03", "PR05", "PR06", "PR10", "RT05"}


def described(name):
    """Full names of the functions, classes and methods of a module that have a docstring."""
    module = import_module(name)
    for own, value in vars(module).items():
        if getattr(value, "__module__", None) != name or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        yield from (f"{name}.{own}",) if value.__doc__ else ()
        if inspect.isclass(value):
            methods = {key: method for key, method in vars(value).items() if inspect.isfunction(method)}
            yield from (f"{name}.{own}.{key}" for key, method in methods.items() if method.__doc__)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith(".__main__")])
def test_docstrings_are_in_order(module):
    found = {name: [error for error in validate(name)["errors"] if error[0] in CHECKS] for name in described(module)}
    assert {name: errors for name, errors in found.items() if errors} == {}
