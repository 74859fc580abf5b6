"""From the pairs as they are listed to jobs: the options of each, its chips, the names of its products."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.batch.job import Job, Outcome, failed
from psfmatch_cli.cli import saved, subtract
from psfmatch_cli.cli.batch_manifest import PAIR_COLUMNS, Row
from psfmatch_cli.cli.exits import outcome
from psfmatch_cli.cli.products import OFF
from psfmatch_cli.cli.run import settings_of
from psfmatch_cli.errors import PsfMatchError, UsageError

if TYPE_CHECKING:
    from psfmatch_cli.cli.extensions import Extensions

#: Products, whose names are made from that of the pair.
PRODUCTS = ("matched", "score", "diff_sources", "report", "kernel", "candidates", "warped", "regions", "metadata")
#: Options that name files to read.
_KINDS = ("mask", "variance", "noise", "weight", "psf")
_FILES = ("config", "sources", "use_kernel", *(f"{role}_{kind}" for role in ("template", "science") for kind in _KINDS))
#: Options of the batch, not of its pairs.
_OF_BATCH = ("output", "overwrite", "all_extensions", "as_json", "metadata_flat", "verbose", "quiet", *PAIR_COLUMNS)

_OPTIONS: dict[str, click.Parameter] = {
    param.name: param for param in subtract.command.params if param.name not in _OF_BATCH
}


@dataclass(frozen=True)
class Planned:
    """What a batch has to do.

    Parameters
    ----------
    jobs : tuple of Job
    failed : tuple of Outcome
        Pairs of which it is known already that nothing can be done.
    """

    jobs: tuple[Job, ...]
    failed: tuple[Outcome, ...]


def given_tokens(context: click.Context) -> list[str]:
    """The options of the command line of a batch that are for its pairs.

    Raises
    ------
    UsageError
        If one names a product so that all pairs would have the same.
    """
    tokens: list[str] = []
    for name, param in _OPTIONS.items():
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if name in PRODUCTS and value != OFF and "{name}" not in value:
            raise UsageError(
                f"{param.opts[0]} {value}: each pair needs a name of its own; give {{name}} for that of the pair, "
                f"such as {param.opts[0]} '{{name}}_{name}.fits', or {OFF}"
            )
        tokens += _tokens(param, value)
    return tokens


def _tokens(param: click.Parameter, value: Any) -> list[str]:
    """An option and its value as words of a command line."""
    if getattr(param, "is_flag", False):
        return [param.opts[0] if value else (param.secondary_opts or param.opts)[0]]
    if param.multiple:
        return [word for one in value for word in (param.opts[0], str(one))]
    return [param.opts[0], str(Path(value).absolute() if param.name in _FILES else value)]


def row_tokens(row: Row) -> list[str]:
    """The options and settings of a row as words of a command line.

    Raises
    ------
    UsageError
        If a column is neither, or its value is not of its kind.
    """
    from psfmatch_cli.setting_keys import keys

    tokens: list[str] = []
    for column, text in row.values.items():
        param = _OPTIONS.get(column.replace("-", "_"))
        if "." in column or (param is None and column in keys()):
            tokens += ["-c", f"{column}={text}"]
        elif param is None:
            raise UsageError(
                f"{row.where}: there is no option and no setting {column!r}; columns are {', '.join(PAIR_COLUMNS)}, "
                "the options of psfmatch subtract, such as template-mask, and the settings, such as "
                "kernel.spatial_kernel_order"
            )
        elif getattr(param, "is_flag", False):
            tokens += _flag(param, text, row)
        else:
            tokens += _tokens(param, text.split(";") if param.multiple else text)
    return tokens


def _flag(param: click.Parameter, text: str, row: Row) -> list[str]:
    try:
        on = click.BOOL.convert(text, param, None)
    except click.BadParameter as error:
        raise UsageError(f"{row.where}: {param.name} is true or false, got {text!r}") from error
    return _tokens(param, on) if on or param.secondary_opts else []


def plan(rows: Iterable[Row], folder: Path, tokens: list[str], *, all_extensions: bool) -> Planned:
    """The jobs of all pairs; one whose chips cannot be found has failed.

    Parameters
    ----------
    rows : iterable of Row
    folder : Path
        For the products.
    tokens : list of str
        Options of all pairs, as `given_tokens` has them.
    all_extensions : bool
        Whether each pair of files without a chip in its row means all of their chips.

    Raises
    ------
    UsageError
        If an option or setting is wrong, or two pairs would write, or write and read, the same file.
    """
    jobs: list[Job] = []
    bad: list[Outcome] = []
    finder = _Finder()
    for row in rows:
        words = [*tokens, *row_tokens(row)]
        try:
            jobs += _jobs_of(row, folder, words, finder, every=all_extensions and row.extension is None)
        except UsageError as error:
            raise error if str(error).startswith(row.where) else UsageError(f"{row.where}: {error}") from error
        except PsfMatchError as error:
            code, message = outcome(error)
            bad.append(failed(_name_of(row, folder, row.extension)[0], message, code))
    _check_names(jobs, bad)
    return Planned(tuple(jobs), tuple(bad))


class _Finder:
    """Finds the chips of files; those of the last are kept, as a manifest lists the chips of one pair in a row."""

    def __init__(self) -> None:
        self._key: Any = None
        self._found: Extensions | None = None

    def find(self, inputs: Mapping[str, Path], given: Mapping[str, Any], words: list[str]) -> Extensions:
        """Errors as `psfmatch_cli.cli.extensions.find_extensions`."""
        from psfmatch_cli.cli.extensions import find_extensions

        key = (inputs, words)
        if self._found is None or self._key != key:
            self._found, self._key = find_extensions(inputs, given), key
        return self._found


def _jobs_of(row: Row, folder: Path, words: list[str], finder: _Finder, *, every: bool) -> Iterator[Job]:
    """The jobs of a row: one, or one for each chip of its files."""
    inputs = {"template": row.template.absolute(), "science": row.science.absolute()}
    if not every and row.extension is None:
        yield _job(row, folder, words, inputs)
        return
    given = _parse(words, inputs, Path("any.fits"))
    chips = finder.find(inputs, given, words).chips
    if not every:
        chips = [chip for chip in chips if chip.label.upper() == row.extension.upper()] or _no_such_chip(row, chips)
    for chip in chips:
        own = [name for name in _FILES if chip.given.get(name) != given.get(name)]
        further = [word for name in own for word in (_OPTIONS[name].opts[0], str(chip.given[name]))]
        yield _job(row, folder, [*words, *further], chip.inputs, chip.label, several=every)


def _no_such_chip(row: Row, chips: Iterable[Any]) -> list[Any]:
    labels = ", ".join(chip.label for chip in chips)
    raise UsageError(f"{row.where}: both files have no extension {row.extension!r}; they share {labels}")


def _job(
    row: Row,
    folder: Path,
    words: list[str],
    inputs: Mapping[str, Path],
    label: str | None = None,
    *,
    several: bool = False,
) -> Job:
    name, output = _name_of(row, folder, label, several=several)
    words = [str(folder / word.replace("{name}", name)) if "{name}" in word else word for word in words]
    given = {**_parse(words, inputs, output), "extension": label, "overwrite": True}
    saved.check_options(given)
    line = ("subtract", *words, "-o", str(output), "--", *(str(path) for path in inputs.values()))
    return Job(name, line, dict(inputs), subtract.outputs_of(output, given), given, settings_of(given))


def _name_of(row: Row, folder: Path, label: str | None, *, several: bool = True) -> tuple[str, Path]:
    """Name of a pair, and of its difference."""
    chip = "" if label is None else "_" + re.sub(r"[^\w.+-]", "_", label)
    if row.output is None:
        name = _stem(re.sub(r"\[([^\[\]]*)\]$", r"_\1", row.science.name).replace(",", "_")) + chip
        return name, folder / f"{name}_diff.fits"
    path = (folder / row.output).absolute()
    stem = _stem(path.name)
    end = path.name[len(stem) :]
    name = stem + chip if several else stem
    return name, path.with_name(f"{name}{end}")


def _stem(name: str) -> str:
    """A file name without .fits, .fits.fz and so on; an HDU that follows is kept."""
    return re.sub(r"\.(fits|fit|fts)(\.gz|\.fz)?", "", name, flags=re.IGNORECASE)


def _parse(words: list[str], inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Values of all options of ``psfmatch subtract``.

    Raises
    ------
    UsageError
        If one is wrong.
    """
    line = [*words, "-o", str(output), "--", *(str(path) for path in inputs.values())]
    try:
        given = subtract.command.make_context("psfmatch batch", line).params
    except click.UsageError as error:
        raise UsageError(error.format_message()) from error
    return {name: value for name, value in given.items() if name not in ("template", "science", "output")}


def _check_names(jobs: list[Job], bad: list[Outcome]) -> None:
    """Raise `UsageError` unless the names of all pairs and products differ, and none is an input."""
    from psfmatch_cli.fitsfile import parse_path

    hint = "; name them apart in a column output of a manifest"
    for what, names in (
        ("pair", [job.name for job in jobs] + [entry.name for entry in bad]),
        ("file", [file for job in jobs for file in job.files]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UsageError(f"several pairs would make the {what} {twice[0]}{hint}")
    read = {str(parse_path(path).path) for job in jobs for path in job.inputs.values()}
    both = sorted(read & {file for job in jobs for file in job.files})
    if both:
        raise UsageError(f"{both[0]}: is the input of one pair, and would be written by another")
