"""Where a command's products go, checked before the work and written all or none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from psfmatch_cli.errors import OutputError
from psfmatch_cli.provenance import is_failed_record

OFF = "none"

#: Roles of products that are exposures, tables and regions; their file names need certain suffixes.
EXPOSURES = ("matched image", "warped template", "difference", "score")
TABLES = ("sources", "candidates")
REGIONS = "regions"


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
    stem = main.name.removesuffix(".gz").removesuffix(".fz")
    return main.with_name(stem.removesuffix(Path(stem).suffix) + suffix)


def check(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path], overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before any work is done.

    The record of a run that failed may always be replaced.

    Raises
    ------
    UsageError
        If two outputs are the same file, one is also an input, or a suffix is not known.
    OutputError
        If a file exists and is not to be overwritten, is no regular file, or its folder cannot be written.
    """
    from psfmatch_cli.fitswrite import check_suffix
    from psfmatch_cli.outputs import check_distinct, check_output
    from psfmatch_cli.regions import check_region_suffix
    from psfmatch_cli.tables import table_format

    # The main product is last; its name is the one that the user typed, so it is complained of first.
    wanted = {role: path for role, path in reversed(outputs.items()) if path is not None}
    check_distinct(wanted.values(), inputs)
    for role, path in wanted.items():
        check_output(path, overwrite or (role == "metadata" and is_failed_record(path)))
        if role in TABLES:
            table_format(path)
        if role in EXPOSURES:
            check_suffix(path)
        if role == REGIONS:
            check_region_suffix(path)


@contextmanager
def transaction(outputs: Mapping[str, Path | None]) -> Iterator[dict[str, Path]]:
    """Names to write to in a block; only after its success they become the real files, in order.

    Parameters
    ----------
    outputs : mapping of str to Path or None
        Final path by role; the main product last. None: not written.

    Raises
    ------
    OutputError
        If the system refuses to write a file.
    """
    targets = {role: path.resolve() for role, path in outputs.items() if path is not None}
    try:
        with ExitStack() as stack:
            folders: dict[Path, Path] = {}
            for folder in {target.parent for target in targets.values()}:
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix=".psfmatch-", dir=folder))
                folders[folder] = Path(made)
            names = {role: folders[target.parent] / target.name for role, target in targets.items()}
            yield names
            for role, target in targets.items():
                names[role].replace(target)
    except OSError as error:
        raise OutputError(f"the results cannot be written: {error.strerror or error}") from error
