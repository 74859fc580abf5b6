"""The unit of all commands: one image, or one pair of images, from its files and options to what the task makes of it.

Nothing is written here and nothing is printed, so that a command can do it once, or for every extension of two files,
or hand it to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli.products import is_wanted
from psfmatch_cli.cli.reading import read_options
from psfmatch_cli.cli.saved import subtract_with_kernel
from psfmatch_cli.errors import UsageError
from psfmatch_cli.provenance import WorkRecord

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.candidates import CandidateSet
    from psfmatch_cli.detect import Detection
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.fakes.trial import Trial
    from psfmatch_cli.image_psf_match import ImagePsfMatchTask
    from psfmatch_cli.results import MatchExposuresResult, SubtractExposuresResult
    from psfmatch_cli.score import Score
    from psfmatch_cli.settings import Settings
    from psfmatch_cli.source_list import SourceList


@dataclass(frozen=True)
class Matched:
    """What a pair of images gave.

    Parameters
    ----------
    result : MatchExposuresResult
        With a difference if it is a `SubtractExposuresResult`.
    score : Score or None
        Its score image, if one was wanted.
    sources : Table or None
        Sources of its difference, if they were wanted.
    science : Exposure or None
        The science exposure, if a report is wanted, which shows it.
    """

    result: MatchExposuresResult
    score: Score | None = None
    sources: Table | None = None
    science: Exposure | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What was found and chosen, by name."""
        more = {} if self.score is None else {"score_width": self.score.sky_width}
        if self.sources is not None:
            from psfmatch_cli.diff_columns import source_counts

            more |= source_counts(self.sources)
        return {**self.result.summary, **more}


@dataclass(frozen=True)
class Work:
    """Inputs, options and settings, and the stages that turn them into results.

    Parameters
    ----------
    inputs : mapping of str to Path
        Files by role: "template" and "science", or "exposure", or "image 1" and so on; an HDU in brackets if need be.
    given : mapping
        Values of the options of the command, by their names in Python.
    settings : Settings
    record : WorkRecord
        Takes what was learned: how the files were read, and the metadata of the task; also if it fails.
    outputs : collection of Path
        Files that will be written. That none of them lies beside an input and was read with it is checked.
    reader : callable, optional
        Reads an exposure, with the arguments and errors of `psfmatch_cli.io.read_exposure`, which it is without.
    """

    inputs: Mapping[str, Path]
    given: Mapping[str, Any]
    settings: Settings
    record: WorkRecord = field(default_factory=WorkRecord)
    outputs: Collection[Path] = ()
    reader: Callable[..., Exposure] | None = None

    def subtract(self) -> Matched:
        """The difference of the pair, and its score image and the table of its sources where they are wanted.

        Errors are those of `ImagePsfMatchTask.subtract_exposures`, `psfmatch_cli.score.score_exposure`,
        `psfmatch_cli.diff_context.sources_of_pair` and `read`.
        """
        with self._task() as task:
            template, science = self._read_pair()
            shown = science if is_wanted(self.given, "report") else None
            if self.given.get("use_kernel") is not None:
                result = subtract_with_kernel(task, template, science, self.given, self._match_arguments())
                return Matched(result, science=shown)
            result = task.subtract_exposures(template, science, **self._match_arguments())
            score = sources = None
            if is_wanted(self.given, "score"):
                from psfmatch_cli.score import score_exposure

                score = score_exposure(science, result, self.settings)
            if is_wanted(self.given, "diff_sources"):
                from psfmatch_cli.diff_context import sources_of_pair

                sources = sources_of_pair(result, science, self.settings)
            return Matched(result, score, sources, shown)

    def match(self) -> Matched:
        """The pair matched; errors as `ImagePsfMatchTask.match_exposures` and `read`."""
        with self._task() as task:
            return Matched(task.match_exposures(*self._read_pair(), **self._match_arguments()))

    def try_fakes(self) -> Trial:
        """What the subtraction of the pair finds of injected sources; errors as `run_trial` and `subtract`."""
        from psfmatch_cli.fakes.trial import run_trial

        template, science = self._read_pair()
        arguments = self._match_arguments()

        def subtraction(template: Exposure, science: Exposure, **own: Any) -> SubtractExposuresResult:
            with self._task() as task:
                return task.subtract_exposures(template, science, **arguments | own)

        return run_trial(template, science, subtraction, self.settings)

    def find_candidates(self) -> tuple[CandidateSet, tuple[int, int]]:
        """All sources with their fate before the fit, and the origin of the science image."""
        with self._task() as task:
            template, science = self._read_pair()
            return task.find_candidates(template, science, **self._match_arguments()), science.xy0

    def detect(self) -> Detection | Table:
        """The sources of the one exposure: of a difference, the table that `find_difference_sources` makes.

        Raises
        ------
        UsageError
            If options are given that are not for a difference, and it is one.
        """
        from psfmatch_cli.image_kind import is_difference

        with self._task() as task:
            image = self.read("exposure")
            if is_difference(image):
                return self._detect_on_difference(image)
            return task.get_select_sources(image, do_smooth=self.given["smooth"], psf_sigma=psf_sigma(self.given))

    def read(self, role: str) -> Exposure:
        """The exposure of a role, with the options for reading it.

        Raises
        ------
        InputError
            If it cannot be read.
        UsageError
            If an output is one of the files that lie beside the exposure and were read with it.
        """
        from psfmatch_cli.io import read_exposure
        from psfmatch_cli.outputs import check_distinct

        options = read_options(self.given, role if role in ("template", "science") else "")
        exposure = (self.reader or read_exposure)(self.inputs[role], options, role=role)
        self.record.add_reading(role, exposure)
        check_distinct(self.outputs, exposure.facts.files.values())
        return exposure

    def _detect_on_difference(self, image: Exposure) -> Table:
        from psfmatch_cli.diff_detect import find_difference_sources

        for name in ("psf_fwhm", "psf_sigma"):
            if self.given[name] is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for the search of an exposure; on a difference the PSF itself is "
                    "used: give it with --psf"
                )
        if not self.given["smooth"]:
            raise UsageError("--no-smooth is for the search of an exposure; a difference is searched with its PSF")
        config = self.settings.difference_sources
        if self.given["sigma"] is not None:
            config = config.model_copy(update={"threshold": self.settings.detection.threshold_value})
        return find_difference_sources(image, config)

    @contextmanager
    def _task(self) -> Iterator[ImagePsfMatchTask]:
        """The task with the settings; what it tells of itself goes to the record, however it ends."""
        from psfmatch_cli.image_psf_match import ImagePsfMatchTask

        task = ImagePsfMatchTask(self.settings, record_host=not self.given["no_host"])
        try:
            yield task
        finally:
            self.record.tasks = task.get_full_metadata()

    def _read_pair(self) -> tuple[Exposure, Exposure]:
        from psfmatch_cli.free_memory import release_freed
        from psfmatch_cli.overlap import beside

        with beside(self.settings.threads) as start:
            imported = start(_import_libraries)
            pair = self.read("template"), self.read("science")
            imported()
        release_freed()
        return pair

    def _match_arguments(self) -> dict[str, Any]:
        """Arguments of the task's match methods after the two exposures."""
        direction = {"auto": None, "template": True, "science": False}
        return {
            "template_fwhm_pix": self.given["template_fwhm"],
            "science_fwhm_pix": self.given["science_fwhm"],
            "candidate_list": read_sources(self.given),
            "do_warping": self.given["warp"],
            "convolve_template": direction[self.given["convolve"]],
        }


def read_sources(given: Mapping[str, Any]) -> SourceList | None:
    """The user's own sources and how to read their positions, or None.

    Raises
    ------
    InputError
        If the file cannot be read.
    UsageError
        If options are given that are for a file that is not.
    """
    path, columns, origin = (given[name] for name in ("sources", "sources_columns", "sources_origin"))
    if path is None:
        if columns is not None or origin is not None:
            raise UsageError("--sources-columns and --sources-origin are for the file of --sources, which is missing")
        return None
    from psfmatch_cli.regions import is_region_file, read_regions
    from psfmatch_cli.source_list import SourceList
    from psfmatch_cli.tables import read_table

    table = read_regions(path) if is_region_file(path) else read_table(path)
    if given.get("extension") is not None:
        table = sources_of(table, given["extension"], path, column_pair(columns))
    return SourceList(table, column_pair(columns), None if origin is None else int(origin), path)


def sources_of(table: Table, extension: str, path: str, columns: tuple[str, str] | None) -> Table:
    """The rows of a table of sources that are for one extension: all of them if their positions are on the sky.

    Raises
    ------
    UsageError
        If their positions are pixels, and no column ``extension`` tells of which image.
    """
    from psfmatch_cli.source_columns import choose, find_sky

    if "extension" in table.colnames:
        return table[[str(value).upper() == extension for value in table["extension"]]]
    if "ds9_system" in table.colnames:
        on_sky = not {"image", "physical"} & {str(system) for system in table["ds9_system"]}
    else:
        on_sky = find_sky(table) is not None if columns is None else choose(table, columns).is_sky
    if not on_sky:
        raise UsageError(
            f"{path}: pixels are those of one image; with --all-extensions a list of sources needs sky positions, or a "
            "column extension with the names of the chips"
        )
    return table


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


def psf_sigma(given: Mapping[str, Any]) -> float | None:
    """Gaussian sigma of the smoothing from --psf-fwhm or --psf-sigma, pixels.

    Raises
    ------
    UsageError
        If both are given.
    """
    from psfmatch_cli.psf import FWHM_PER_SIGMA

    fwhm, sigma = given["psf_fwhm"], given["psf_sigma"]
    if fwhm is not None and sigma is not None:
        raise UsageError("--psf-fwhm and --psf-sigma are the same thing; give one of them")
    return sigma if fwhm is None else fwhm / FWHM_PER_SIGMA


def _import_libraries() -> None:
    """Import what the match needs of libraries that do not depend on those that read files."""
    for name in ("scipy.ndimage", "scipy.spatial", "scipy.fft", "sep"):
        import_module(name)
