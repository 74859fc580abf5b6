"""Who may import whom: a command may import everything, the stages no files, the types only types."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "psfmatch_cli"
TYPES = {"errors", "exposure", "kernel", "psf", "config", "version", "metadata"}
FILES = {"io", "layouts", "tables", "fitsfile"}
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    """Full names of what a module imports, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__", "__main__"}))
def test_imports_go_one_way(name):
    layer = name.split("/")[0]
    found = list(imports(MODULES[name]))
    ours = {other.split(".")[1] for other in found if other.startswith("psfmatch_cli.")}
    if layer != "cli":
        assert not ours & {"cli"}
        assert not [other for other in found if other.split(".")[0] in ("click", "rich")]
    if layer in TYPES:
        assert ours <= TYPES
    elif layer in FILES:
        assert ours <= TYPES | FILES
    elif layer != "cli":
        assert not ours & FILES
        assert not [other for other in found if other.startswith("astropy.io")]
