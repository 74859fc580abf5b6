"""Who may import whom: a command may import everything, the stages no files, the types only types."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "psfmatch_cli"
TYPES = {"errors", "exposure", "facts", "kernel", "psf", "config", "version", "metadata"} | {
    "psfex",
    "strict_json",
    "widths",
    "arrays",
}
FILES = {
    "io",
    "kernel_io",
    "kernel_files",
    "tables",
    "regions",
    "fitsfile",
    "fitsscan",
    "unpack",
    "fitswrite",
    "header_cards",
    "outputs",
    "layouts",
    "mosaic",
    "mosaic_file",
    "instruments",
    "masks",
    "quality_flags",
    "companions",
    "opened",
    "stated",
    "pixels",
    "completion",
    "read_options",
    "archive",
    "psf_file",
    "wcs_header",
    "provenance",
    "interrupts",
    "folder_lock",
    "staging",
    "publish",
    "transaction",
    "batch",
    "batch/cluster",
    "batch/journal",
    "batch/pool",
    "batch/resume",
}
#: What headers and arrays mean, and what makes up for what a file lacks.
AIDS = {
    "inputs",
    "memory",
    "noise",
    "defects",
    "detector",
    "keywords",
    "units",
    "asinh",
    "overlap",
    "sdss",
    "zero_points",
    "psfex",
    "psf_header",
    "grid_cards",
    "photometry",
}
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    """Full names of what a module imports, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith(("cli/", "__"))))
def test_imports_go_one_way(name):
    found = list(imports(MODULES[name]))
    ours = {other.split(".")[1] for other in found if other.startswith("psfmatch_cli.")}
    assert not [other for other in found if other.split(".")[0] in ("click", "rich")]
    assert "cli" not in ours
    if name in FILES:
        assert ours <= TYPES | FILES | AIDS
    else:
        assert ours <= TYPES if name in TYPES else not ours & FILES
        assert not [other for other in found if other.startswith("astropy.io")]
