"""One command at work: its settings, inputs, outputs and record."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import products
from psfmatch_cli.cli.console import reporting, say
from psfmatch_cli.cli.exits import BAD_QUALITY, arguments, outcome
from psfmatch_cli.cli.memory_check import check_memory
from psfmatch_cli.cli.options import SETTING_OF
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.cli.work import Work
from psfmatch_cli.errors import OutputError
from psfmatch_cli.provenance import RunRecord, failure, failure_path, is_failed_record
from psfmatch_cli.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.candidates import CandidateSet
    from psfmatch_cli.settings import LoadedSettings, Settings
    from psfmatch_cli.transaction import Transaction

log = logging.getLogger(__name__)

_FILES = ("mask", "variance", "noise", "weight", "psf")


@contextmanager
def running(
    command: str,
    given: Mapping[str, Any],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path | None],
    *,
    line: Sequence[str] | None = None,
    loaded: LoadedSettings | None = None,
) -> Iterator[Run]:
    """A run whose settings are loaded and whose outputs are checked; its record is kept if it fails.

    Parameters
    ----------
    command : str
        Name of the command.
    given : mapping
        Values of the shared options.
    inputs : mapping of str to Path
        Exposures by role.
    outputs : mapping of str to Path or None
        Products by role, the main one last; "metadata" is the record.
    line : sequence of str, optional
        The command line for the record, instead of that of this process.
    loaded : LoadedSettings, optional
        Instead of those that the options, the environment and a file say.
    """
    record = RunRecord(command, arguments() if line is None else list(line))
    with reporting(given["verbose"], given["quiet"], record.warnings):
        run = Run(given, record, dict(inputs), dict(outputs))
        may_write_record = False
        try:
            files = {**inputs, **_further_inputs(given, inputs)}
            products.check(outputs, files.values(), given["overwrite"])
            may_write_record = True
            loaded = settings_of(given) if loaded is None else loaded
            record.settings = run.settings = loaded.settings
            record.setting_sources = loaded.sources
            for role, path in files.items():
                record.add_input(role, path)
            check_memory(inputs.values(), given["max_memory"], run.settings)
            yield run
        except BaseException as error:
            # After the publication the record says how the run ended; what failed then is a line on the screen.
            if may_write_record and not run.published:
                run.write_failure(error)
            raise
        finally:
            record.close()


class Run:
    """What the commands call; made by `running`.

    Parameters
    ----------
    given : mapping
        Values of the shared options.
    record : RunRecord
    inputs : dict of str to Path
    outputs : dict of str to Path or None
    """

    #: Loaded by `running`, when a failure to do so can be recorded.
    settings: Settings

    def __init__(
        self, given: Mapping[str, Any], record: RunRecord, inputs: dict[str, Path], outputs: dict[str, Path | None]
    ):
        self.given = given
        self.record = record
        self.inputs = inputs
        self.outputs = outputs
        self._transaction: Transaction | None = None
        #: How the run ends, unless an exception ends it.
        self.ending: dict[str, Any] = {"status": "ok", "exitCode": 0}

    @property
    def published(self) -> bool:
        """Whether the products are complete under their names."""
        return self._transaction is not None and self._transaction.published

    @property
    def work(self) -> Work:
        """The one image or pair of the run."""
        return Work(self.inputs, self.given, self.settings, self.record, self.written)

    @property
    def written(self) -> list[Path]:
        """All files that the run makes."""
        return [path for path in self.outputs.values() if path is not None]

    @contextmanager
    def writing(self, summary: Mapping[str, Any]) -> Iterator[dict[str, Path]]:
        """Names to write the products to in a block; the record is added, then all become real files."""
        self.record.summary = dict(summary)
        self.record.outputs = {role: str(path) for role, path in self.outputs.items() if path is not None}
        self._transaction = products.transaction(self.outputs, self.given["overwrite"])
        with self._transaction as names:
            yield names
            self._judge()
            if "metadata" in names:
                names["metadata"].write_text(self.record.document(self.ending).to_json(), "utf-8")
        path = self.outputs.get("metadata")
        if path is not None and is_failed_record(failure_path(path)):
            failure_path(path).unlink(missing_ok=True)

    def _judge(self) -> None:
        """Let a bad difference count as a failure, where that is wanted."""
        made = [self.record.summary, *(extension.summary for extension in self.record.extensions.values())]
        is_bad = any(summary.get("quality") == "bad" for summary in made)
        if is_bad and self.given.get("fail_on_quality") and self.ending["exitCode"] == 0:
            self.ending = {"status": "bad quality", "exitCode": BAD_QUALITY}
            log.error("the quality of the difference is bad (--fail-on-quality)")

    def write_table(self, path: Path, table: Table) -> None:
        """Write a table with the cards that say how it was made."""
        from psfmatch_cli.tables import write_table

        write_table(path, table, cards=self.cards())

    def write_regions(self, path: Path, candidates: CandidateSet, xy0: tuple[int, int]) -> None:
        """Write the candidates as circles of the kernel's size, with comments that say how they were made."""
        from psfmatch_cli.regions import write_regions

        write_regions(path, candidates.table, xy0, candidates.kernel_size / 2, cards=self.cards())

    def cards(self) -> list[Any]:
        """Header cards that say which program made a file, of what, and with which settings."""
        from psfmatch_cli.outputs import provenance_cards, run_card

        cards = provenance_cards(__version__, self.inputs, self.settings.model_dump())
        return [*cards, run_card(self.record.id)]

    def write_failure(self, error: BaseException) -> None:
        """Write the record of a run that failed, but not in place of any other file than such a record."""
        path = self._path_of_failure()
        if path is None:
            return
        self.record.outputs = {}  # none of them was written
        text = self.record.document(failure(error, *outcome(error))).to_json()
        try:
            with products.transaction({"metadata": path}, overwrite=False) as names:
                names["metadata"].write_text(text, "utf-8")
        except OutputError as second:
            log.warning("the record of this failed run is lost: %s", second)

    def _path_of_failure(self) -> Path | None:
        """Where the record of a failed run goes: beside that of an earlier run that succeeded.

        Nowhere, if another run has written the products meanwhile and they were not to be replaced.
        """
        path = self.outputs.get("metadata")
        if path is None or not path.exists() or is_failed_record(path):
            return path
        return failure_path(path) if self.given["overwrite"] else None

    def tell(self, line: str) -> None:
        """Print a line about a part of the work, where lines are wanted."""
        if not (self.given["as_json"] or self.given["metadata_flat"] or self.given["quiet"]):
            say(one_line(line))

    def say(self, line: str) -> None:
        """Print the summary: one line, or on request JSON or the whole record."""
        if self.given["as_json"]:
            from psfmatch_cli.strict_json import to_json

            parts = {
                label: {"status": part.ending["status"], "error": part.ending.get("errorMessage", ""), **part.summary}
                for label, part in self.record.extensions.items()
            }
            say(to_json({**self.record.summary, **({"extensions": parts} if parts else {})}, indent=2))
        elif self.given["metadata_flat"]:
            from psfmatch_cli.strict_json import to_json

            for key, value in self.record.document(self.ending).flat().items():
                say(f"{one_line(key)} = {to_json(value)}")
        else:
            self.tell(line)


def settings_of(given: Mapping[str, Any]) -> LoadedSettings:
    """Settings from preset, file, environment, assignments and the options that stand for settings.

    Parameters
    ----------
    given : mapping
        Values of the options, None for one that was not given.
    """
    from psfmatch_cli.setting_sources import PRESET
    from psfmatch_cli.settings import load_with_sources

    options = {key: given[name] for name, key in SETTING_OF.items() if given.get(name) is not None}
    labels = {key: _label(name, given.get(name)) for name, key in SETTING_OF.items()}
    return load_with_sources(
        given["config"],
        given["assignments"],
        options,
        preset=given["preset"],
        environment=os.environ,
        labels=labels | {PRESET: "option --preset"},
    )


def _label(name: str, value: Any) -> str:
    """An option as the user writes it, for the source of a setting."""
    return f"option --{'no-' if value is False else ''}{name.replace('_', '-')}"


def _further_inputs(given: Mapping[str, Any], exposures: Mapping[str, Path]) -> dict[str, Path]:
    """Files besides the exposures that the options name, by role; the settings file may be the environment's."""
    from psfmatch_cli.setting_sources import settings_file

    names = ["sources", "use_kernel"]
    for role in exposures:
        names += [f"{role}_{kind}" if f"{role}_{kind}" in given else kind for kind in _FILES]
    files = {"config": settings_file(given["config"], os.environ)}
    files |= {name: Path(given[name]) for name in names if given.get(name) is not None}
    return {name: path for name, path in files.items() if path is not None}
