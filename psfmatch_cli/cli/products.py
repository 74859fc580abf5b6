"""Where a command's products go, checked before the work and written all or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.provenance import is_failed_record

if TYPE_CHECKING:
    from psfmatch_cli.transaction import Transaction

OFF = "none"

#: Roles of products that are exposures, tables and regions; their file names need certain suffixes.
EXPOSURES = ("matched image", "warped template", "difference", "score")
TABLES = ("sources", "candidates", "difference sources", "light curve")
REGIONS = "regions"
REPORT = "report"
#: Suffixes of pages.
PAGES = (".html", ".htm")


def beside(main: Path, given: str | None, off: bool, suffix: str) -> Path | None:
    """Path of a further product.

    Parameters
    ----------
    main : Path
        The main product, such as ``diff.fits``.
    given : str or None
        What the user gave: a path, "none" for no such product, None for the usual name.
    off : bool
        Whether the user switched it off by its own option.
    suffix : str
        End of the usual name in place of the main product's, such as ``_kernel.fits``; empty for a product
        that is made only on request.
    """
    if off or given == OFF or (given is None and not suffix):
        return None
    if given is not None:
        return Path(given)
    if not main.name:
        raise OutputError(f"{main}: is a folder, expected a file name")
    stem = main.name.removesuffix(".gz").removesuffix(".fz")
    return main.with_name(stem.removesuffix(Path(stem).suffix) + suffix)


def is_wanted(given: Mapping[str, Any], name: str) -> bool:
    """Whether the options ask for a product that is made only on request."""
    return beside(Path(), given[name], given[f"no_{name}"], "") is not None


def check(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path], overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before any work is done.

    The record of a run that failed may always be replaced. What a killed run has left in the folders is removed, and
    files that it was just replacing are put back.

    Raises
    ------
    UsageError
        If two outputs are the same file, one is also an input, or a suffix is not known.
    OutputError
        If a file exists and is not to be overwritten, is no regular file, or its folder cannot be written.
    """
    from psfmatch_cli.fitswrite import check_suffix
    from psfmatch_cli.outputs import check_distinct, check_output
    from psfmatch_cli.publish import recover
    from psfmatch_cli.regions import check_region_suffix
    from psfmatch_cli.tables import table_format

    # The main product is last; its name is the one that the user typed, so it is complained of first.
    wanted = {role: path for role, path in reversed(outputs.items()) if path is not None}
    check_distinct(wanted.values(), inputs)
    for folder in {path.resolve().parent for path in wanted.values()}:
        recover(folder)
    for role, path in wanted.items():
        check_output(path, _may_replace(role, path, overwrite))
        if role in TABLES:
            table_format(path)
        if role in EXPOSURES:
            check_suffix(path)
        if role == REGIONS:
            check_region_suffix(path)
        if role == REPORT and path.suffix.lower() not in PAGES:
            raise UsageError(f"{path}: the name of a page must end in {' or '.join(PAGES)}")


def transaction(outputs: Mapping[str, Path | None], overwrite: bool) -> Transaction:
    """A block that writes a command's products; only after its success they become the real files, all or none.

    Parameters
    ----------
    outputs : mapping of str to Path or None
        Final path by role; the main product last. None: not written.
    overwrite : bool
        Whether existing files are replaced; the record of a run that failed always is.
    """
    from psfmatch_cli.transaction import Transaction

    return Transaction(outputs, lambda role, path: _may_replace(role, path, overwrite))


def _may_replace(role: str, path: Path, overwrite: bool) -> bool:
    return overwrite or (role == "metadata" and is_failed_record(path))
