"""psfmatch: PSF-match two astronomical images of the same field and subtract them.

Conventions
-----------
Arrays are indexed ``[y, x]``; the centre of pixel (0, 0) is x = y = 0. Positions are parent pixels: those
of an exposure start at its ``xy0``. Sides of kernels and stamps are odd. "Convolve" means convolution, not
correlation. sigma and fwhm are both in pixels; variance is in counts squared. Mask planes go by name.
*template*, *science* and *difference* say which image it is; *target* and *convolved* are roles in a match.

The flow
--------
What `ImagePsfMatchTask.subtract_exposures` does between reading and writing::

    read_exposure(path)                                  -> Exposure
    register(template, science, config)                  -> Registered    template on the science grid
    detect(exposure, config)                             -> Detection     sources, footprints
    source_table(candidate_list, science)                -> Table         the caller's sources instead
    select_candidates(sources, template, science, ...)   -> CandidateSet  each source kept, or refused and why
    make_plan(direction, basis, candidates, ...)         -> Plan          orders, candidates cleaned
    match(pool, kernel_order, background_order)          -> MatchResult   kernel, background, fate of candidates
    diagnose(fit, condition_limit)                       -> Diagnosis     whether the candidates hold the models
    build_difference(plan, fit, template, science, ...)  -> Difference    convolved, subtracted, sky refined
    write_exposure(path, exposure)

The names below are imported when they are first used, so that ``import psfmatch_cli`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from psfmatch_cli.version import __version__

#: Module of each public name.
_HOMES = {
    "Box": "exposure",
    "Exposure": "exposure",
    "Footprint": "source_entries",
    "MaskedImage": "exposure",
    "ImagePsfMatchTask": "image_psf_match",
    "MatchingKernel": "kernel",
    "BackgroundModel": "kernel",
    "Psf": "psf",
    "ReadOptions": "read_options",
    "Settings": "settings",
    "SourceList": "source_list",
    "TaskMetadata": "metadata",
    "find_difference_sources": "diff_detect",
    "load_kernel": "kernel_io",
    "load_settings": "settings",
    "read_exposure": "io",
    "read_regions": "regions",
    "read_table": "tables",
    "save_kernel": "kernel_io",
    "source_table": "source_list",
    "write_exposure": "io",
    "write_regions": "regions",
    "write_table": "tables",
    **dict.fromkeys(
        (
            "PsfMatchError",
            "InputError",
            "RegistrationError",
            "NoOverlapError",
            "DifferentGridsError",
            "BoxMismatchError",
            "ImageTooSmallError",
            "MissingPsfError",
            "IdenticalImagesError",
            "OutputError",
            "UsageError",
            "FwhmError",
            "SourceTypeError",
            "NoCandidatesError",
            "EmptySourceListError",
            "NoSourcesError",
            "AllRefusedError",
            "NobodyTookPartError",
            "AllRejectedError",
            "SingleFitsFailedError",
            "DisagreementError",
            "TooFewCandidatesError",
            "FitError",
            "KernelSumError",
            "SingularSystemError",
            "NotFiniteError",
            "UnderconstrainedError",
            "IllConditionedError",
        ),
        "errors",
    ),
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
