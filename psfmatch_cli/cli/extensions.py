"""--all-extensions: the chips of the files of a command, and what its options say about each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli.products import OFF
from psfmatch_cli.cli.reading import read_options
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from psfmatch_cli.layouts import Hdu
    from psfmatch_cli.mosaic import Chip

log = logging.getLogger(__name__)

#: Options that name files with an image for each chip.
_IMAGE_FILES = ("mask", "variance", "noise", "weight", "psf")


@dataclass(frozen=True)
class Extension:
    """One chip of the input, or of both inputs.

    Parameters
    ----------
    chip : Chip
        Of the science image; it gives the name.
    inputs : mapping of str to Path
        The files by role, with the HDU in brackets.
    given : mapping
        The options, with the HDU in brackets of the files that they name.
    """

    chip: Chip
    inputs: Mapping[str, Path]
    given: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What the chip is called."""
        return self.chip.label


@dataclass(frozen=True)
class Extensions:
    """The chips of a run.

    Parameters
    ----------
    chips : tuple of Extension
    by : str
        What tells them apart: EXTNAME, the name of a card, or "order".
    skipped : mapping of str to str
        Chips that only one file has, and which one.
    headers : mapping of str to Header
        Primary header of each input.
    """

    chips: tuple[Extension, ...]
    by: str
    skipped: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, Header] = field(default_factory=dict)


def find_extensions(inputs: Mapping[str, Path], given: Mapping[str, Any]) -> Extensions:
    """The chips of the files, matched where there are two; what is said about it goes to the log.

    Raises
    ------
    UsageError
        If a file is given with an HDU in brackets, or an option does not go with several chips.
    InputError
        If a file cannot be read, or nothing tells which chips belong together.
    """
    from psfmatch_cli.mosaic import BY_ORDER, match_chips, name_chips

    _check_options(inputs, given)
    files = {role: _structure(path) for role, path in inputs.items()}
    listed = [hdus for hdus, _ in files.values()]
    where = [path.name for path in inputs.values()]
    layouts = [read_options(given, _prefix(role)).layout for role in inputs]
    skipped: dict[str, str] = {}
    if len(inputs) == 1:
        by, chips = name_chips(listed[0], where[0], layouts[0])
        rows = [(chip,) for chip in chips]
    else:
        pairing = match_chips(*listed, tuple(where), tuple(layouts))
        by, rows = pairing.by, list(pairing.pairs)
        for file, labels in zip(where, (pairing.only_template, pairing.only_science), strict=True):
            skipped |= dict.fromkeys(labels, f"only in {file}")
        if by == BY_ORDER and len(rows) > 1:
            log.warning("no names and no cards tell the extensions apart; they are matched by their order")
    for label, reason in skipped.items():
        log.warning("extension %s is %s; it is skipped", label, reason)
    roles = tuple(inputs)
    made = tuple(_extension(dict(zip(roles, row, strict=True)), inputs, given) for row in rows)
    return Extensions(made, by, skipped, {role: header for role, (_, header) in files.items()})


def _check_options(inputs: Mapping[str, Path], given: Mapping[str, Any]) -> None:
    from psfmatch_cli.fitsfile import parse_path

    for path in inputs.values():
        if parse_path(path).hdu is not None:
            raise UsageError(f"{path}: --all-extensions takes files without an HDU in brackets; it takes all of them")
    for role in inputs:
        for kind in _IMAGE_FILES:
            name = f"{_prefix(role)}_{kind}".strip("_")
            if given.get(name) is not None and parse_path(given[name]).hdu is not None:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{option} {given[name]}: with --all-extensions the file is given without an HDU in brackets"
                )
    if given.get("regions") not in (None, OFF):
        raise UsageError("--regions are of one image, so they do not go with --all-extensions")
    if given.get("report") not in (None, OFF):
        raise UsageError("--report is of one image, so it does not go with --all-extensions")


def _prefix(role: str) -> str:
    return "" if role == "exposure" else role


def _structure(path: Path) -> tuple[list[Hdu], Header]:
    """The HDUs of a file as the layouts see them, and the primary header."""
    from psfmatch_cli.fitsfile import list_hdus, open_fits, readable_cards

    with open_fits(path) as hdus:
        return list_hdus(hdus), readable_cards(hdus[0].header)


def _extension(chips: Mapping[str, Chip], inputs: Mapping[str, Path], given: Mapping[str, Any]) -> Extension:
    *_, named = chips.values()
    paths = {role: Path(f"{inputs[role]}[{chip.key}]") for role, chip in chips.items()}
    return Extension(named, paths, {**given, "extension": named.label, **_own_files(chips, given)})


def _own_files(chips: Mapping[str, Chip], given: Mapping[str, Any]) -> dict[str, str]:
    """The options that name files of images, with the HDU of this chip in brackets."""
    from psfmatch_cli.companions import matching_hdu
    from psfmatch_cli.psf_file import matching_psf

    names = {f"{_prefix(role)}_{kind}".strip("_"): chip for role, chip in chips.items() for kind in _IMAGE_FILES}
    own = {}
    for name, chip in names.items():
        if given.get(name) is not None:
            find = matching_psf if name.endswith("psf") else matching_hdu
            own[name] = f"{given[name]}[{find(Path(given[name]), chip.hdu)}]"
    return own
