"""The products of --all-extensions: each file holds those of all chips, and grows as the chips are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from psfmatch_cli.cli.extension_loop import totals, work_through
from psfmatch_cli.cli.extensions import Extension, find_extensions

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table

    from psfmatch_cli.cli.run import Run
    from psfmatch_cli.cli.work import Matched, Work

Result = TypeVar("Result")


def match_extensions(run: Run, do: Callable[[Work], Matched]) -> int:
    """Match, or subtract, every pair of chips of the run's files; the exit status."""
    found = find_extensions(run.inputs, run.given)
    with run.writing({}) as names, PairFiles(run, names, found.headers) as files:
        extensions = work_through(run, found, do, files.keep)
        files.finish(extensions)
    run.say(f"{run.record.command}: {totals(run, extensions)} -> {run.written[-1]}")
    return run.ending["exitCode"]


def tabulate_extensions(
    run: Run, do: Callable[[Work], Result], told: Callable[[Result], tuple[Table, dict[str, Any], str]]
) -> int:
    """Make one table, the last product of the run, of every chip of its files; the exit status.

    Parameters
    ----------
    run : Run
    do : callable
        The work on one chip.
    told : callable
        Table, summary and line of a result.
    """
    from psfmatch_cli.tables import stack_tables

    tables: dict[str, Table] = {}

    def keep(extension: Extension, result: Result) -> str:
        tables[extension.label], run.record.extensions[extension.label].summary, line = told(result)
        return line

    found = find_extensions(run.inputs, run.given)
    with run.writing({}) as names:
        extensions = work_through(run, found, do, keep)
        run.write_table(names[list(run.outputs)[-1]], stack_tables(tables, "extension"))
    run.say(f"{run.record.command}: {totals(run, extensions)} -> {run.written[-1]}")
    return run.ending["exitCode"]


class PairFiles:
    """The files of all matched pairs; used in a ``with`` statement.

    Parameters
    ----------
    run : Run
    names : mapping of str to Path
        Names to write to, by role.
    headers : mapping of str to Header
        Primary headers of the template and the science file.
    """

    def __init__(self, run: Run, names: Mapping[str, Path], headers: Mapping[str, Header]):
        from psfmatch_cli.cli.cards import history
        from psfmatch_cli.mosaic_file import MosaicWriter

        self._run, self._names, self._stack = run, names, ExitStack()
        self._tables: dict[str, dict[str, Table]] = {"candidates": {}, "difference sources": {}}
        lines = history(run.record.command, run.record.arguments, run.settings)
        sources = {"kernel": None, "warped template": "template"}
        sources |= dict.fromkeys(("matched image", "difference", "score"), "science")
        self._writers = {
            role: self._stack.enter_context(
                MosaicWriter(names[role], cards=run.cards(), history=lines, common=headers[source] if source else None)
            )
            for role, source in sources.items()
            if role in names
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def keep(self, extension: Extension, made: Matched) -> str:
        """Append the products of one chip; a line about it."""
        from psfmatch_cli.cli.matching import describe, products_of

        run = self._run
        run.record.extensions[extension.label].summary = made.summary
        products = products_of(made, extension.inputs, run.settings, run.outputs.get("difference"))
        for role, writer in self._writers.items():
            product = products[role]
            add = writer.add_kernel if role == "kernel" else writer.add_exposure
            add(extension.chip, product.content, product.cards, product.history)
        self._tables["candidates"][extension.label] = made.result.kernel_cell_set.table
        if made.sources is not None:
            self._tables["difference sources"][extension.label] = made.sources
        return describe(made)

    def finish(self, extensions: Table) -> None:
        """Append what is known of all chips."""
        from psfmatch_cli.tables import stack_tables

        for writer in self._writers.values():
            writer.finish(extensions)
        for role, tables in self._tables.items():
            if role in self._names:
                self._run.write_table(self._names[role], stack_tables(tables, "extension"))
