"""One command at work: its settings, inputs, outputs and record."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.cli import products
from psfmatch_cli.cli.console import reporting
from psfmatch_cli.cli.exits import BAD_QUALITY, outcome
from psfmatch_cli.cli.options import SETTING_OF
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.cli.reading import read_options
from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.provenance import RunRecord, failure
from psfmatch_cli.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.candidates import CandidateSet
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.image_psf_match import ImagePsfMatchTask
    from psfmatch_cli.metadata import TaskMetadata
    from psfmatch_cli.settings import LoadedSettings, Settings
    from psfmatch_cli.source_list import SourceList

log = logging.getLogger(__name__)

_FILES = ("mask", "variance", "noise", "weight", "psf")


@contextmanager
def running(
    command: str, given: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Mapping[str, Path | None]
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
    """
    arguments = click.get_current_context().find_root().obj or []
    record = RunRecord(command, arguments)
    with reporting(given["verbose"], given["quiet"], record.warnings):
        run = Run(given, record, dict(inputs), dict(outputs))
        may_write_record = False
        try:
            files = {**inputs, **_further_inputs(given, inputs)}
            products.check(outputs, files.values(), given["overwrite"])
            may_write_record = True
            loaded = settings_of(given)
            record.settings = run.settings = loaded.settings
            record.setting_sources = loaded.sources
            for role, path in files.items():
                record.add_input(role, path)
            yield run
        except BaseException as error:
            if may_write_record:
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
        self._task: ImagePsfMatchTask | None = None

    @property
    def task(self) -> ImagePsfMatchTask:
        """The task with the run's settings."""
        if self._task is None:
            from psfmatch_cli.image_psf_match import ImagePsfMatchTask

            self._task = ImagePsfMatchTask(self.settings, record_host=not self.given["no_host"])
        return self._task

    def read(self, path: Path, role: str = "") -> Exposure:
        """The exposure of a role, with the options for reading it.

        Raises
        ------
        UsageError
            If an output is one of the files that lie beside the exposure and were read with it.
        """
        from psfmatch_cli.io import read_exposure
        from psfmatch_cli.outputs import check_distinct

        exposure = read_exposure(path, read_options(self.given, role), role=role or "exposure")
        self.record.add_reading(role or "exposure", exposure)
        check_distinct([path for path in self.outputs.values() if path is not None], exposure.facts.files.values())
        return exposure

    def read_pair(self) -> tuple[Exposure, Exposure]:
        """Template and science exposure."""
        return self.read(self.inputs["template"], "template"), self.read(self.inputs["science"], "science")

    def read_sources(self) -> SourceList | None:
        """The user's own sources and how to read their positions, or None."""
        path, columns, origin = (self.given[name] for name in ("sources", "sources_columns", "sources_origin"))
        if path is None:
            if columns is not None or origin is not None:
                raise UsageError(
                    "--sources-columns and --sources-origin are for the file of --sources, which is missing"
                )
            return None
        from psfmatch_cli.regions import is_region_file, read_regions
        from psfmatch_cli.source_list import SourceList
        from psfmatch_cli.tables import read_table

        table = read_regions(path) if is_region_file(path) else read_table(path)
        return SourceList(table, column_pair(columns), None if origin is None else int(origin), path)

    def match_arguments(self) -> dict[str, Any]:
        """Arguments of the task's match methods after the two exposures."""
        direction = {"auto": None, "template": True, "science": False}
        return {
            "template_fwhm_pix": self.given["template_fwhm"],
            "science_fwhm_pix": self.given["science_fwhm"],
            "candidate_list": self.read_sources(),
            "do_warping": self.given["warp"],
            "convolve_template": direction[self.given["convolve"]],
        }

    @contextmanager
    def writing(self, summary: Mapping[str, Any]) -> Iterator[dict[str, Path]]:
        """Names to write the products to in a block; the record is added, then all become real files."""
        self.record.summary = dict(summary)
        self.record.outputs = {role: str(path) for role, path in self.outputs.items() if path is not None}
        with products.transaction(self.outputs) as names:
            yield names
            if "metadata" in names:
                names["metadata"].write_text(self.document(self.ending).to_json(), "utf-8")

    @property
    def ending(self) -> dict[str, Any]:
        """How a run ended that wrote its products: well, or with a difference so bad that it counts as a failure."""
        is_bad = self.record.summary.get("quality") == "bad" and self.given.get("fail_on_quality")
        return {"status": "bad quality", "exitCode": BAD_QUALITY} if is_bad else {"status": "ok", "exitCode": 0}

    def document(self, ending: Mapping[str, Any]) -> TaskMetadata:
        """The whole record as it stands."""
        if self._task is not None:
            self.record.tasks = self._task.get_full_metadata()
        return self.record.document(ending)

    def write_table(self, path: Path, table: Table) -> None:
        """Write a table with the cards that say how it was made."""
        from psfmatch_cli.tables import write_table

        write_table(path, table, cards=self._cards())

    def write_regions(self, path: Path, candidates: CandidateSet, xy0: tuple[int, int]) -> None:
        """Write the candidates as circles of the kernel's size, with comments that say how they were made."""
        from psfmatch_cli.regions import write_regions

        write_regions(path, candidates.table, xy0, candidates.kernel_size / 2, cards=self._cards())

    def _cards(self) -> list[Any]:
        from psfmatch_cli.outputs import provenance_cards

        return provenance_cards(__version__, self.inputs, self.settings.model_dump())

    def write_failure(self, error: BaseException) -> None:
        """Write the record of a run that failed."""
        path = self.outputs.get("metadata")
        if path is None:
            return
        text = self.document(failure(error, *outcome(error))).to_json()
        try:
            with products.transaction({"metadata": path}) as names:
                names["metadata"].write_text(text, "utf-8")
        except OutputError as second:
            log.warning("the record of this failed run is lost: %s", second)

    def say(self, line: str) -> int:
        """Print the summary: one line, or on request JSON or the whole record; the exit status of the command."""
        if self.given["as_json"]:
            from psfmatch_cli.outputs import to_json

            click.echo(to_json(self.record.summary, indent=2))
        elif self.given["metadata_flat"]:
            for key, value in self.document(self.ending).flat().items():
                click.echo(f"{one_line(key)} = {json.dumps(value)}")
        elif not self.given["quiet"]:
            click.echo(one_line(line))
        if self.ending["exitCode"]:
            click.echo("psfmatch: error: the quality of the difference is bad (--fail-on-quality)", err=True)
        return self.ending["exitCode"]


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


def column_pair(text: str | None) -> tuple[str, str] | None:
    """Names of two columns, from a text such as "X_IMAGE,Y_IMAGE".

    Raises
    ------
    UsageError
        If these are not two names.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != 2 or not all(names):
        raise UsageError(f'two columns are given as "X,Y", such as "X_IMAGE,Y_IMAGE", got {text!r}')
    return names


def _further_inputs(given: Mapping[str, Any], exposures: Mapping[str, Path]) -> dict[str, Path]:
    """Files besides the exposures that the options name, by role; the settings file may be the environment's."""
    from psfmatch_cli.setting_sources import settings_file

    names = ["sources", "use_kernel"]
    for role in exposures:
        names += [f"{role}_{kind}" if f"{role}_{kind}" in given else kind for kind in _FILES]
    files = {"config": settings_file(given["config"], os.environ)}
    files |= {name: Path(given[name]) for name in names if given.get(name) is not None}
    return {name: path for name, path in files.items() if path is not None}
