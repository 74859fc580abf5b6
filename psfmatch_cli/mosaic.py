"""Files of several chips: which HDUs are chips, what they are called, and which belong together in two files.

Functions of header mappings only. A chip is told by its EXTNAME and EXTVER; where these tell nothing, by a card with
the number or name of the detector; where no card does either, by its place among as many chips in the other file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from psfmatch_cli.errors import InputError
from psfmatch_cli.instruments import layout_of
from psfmatch_cli.layouts import CHIP_PLANES, MASK_NAMES, NOISE_NAMES, Hdu, locate_lsst, lsst_images

#: Cards with the number or name of a chip, in the order in which they are tried.
CHIP_CARDS = ("CCDNUM", "DETECTOR", "CCDCHIP", "CHIPID", "CCDID", "DETID", "DET-ID", "CCDNAME", "DETPOS", "IMAGEID")
#: What `Pairing.by` calls the places in the file.
BY_NAME, BY_ORDER = "EXTNAME", "order"
#: Names that can stand in brackets after a file's name.
_PLAIN_NAME = re.compile(r"(?!\d+$)[A-Z0-9_.+-]+")


@dataclass(frozen=True)
class Chip:
    """One chip of a file.

    Parameters
    ----------
    name : str
        What it is called in the outputs; in capitals.
    version : int
        Tells chips of one name apart (EXTVER).
    hdu : Hdu
        The HDU of its image.
    key : str
        What names the HDU in brackets after the name of its file.
    """

    name: str
    version: int
    hdu: Hdu
    key: str

    @property
    def label(self) -> str:
        """Name, with the version unless it is 1, as it stands in brackets after the name of a file."""
        return self.name if self.version == 1 else f"{self.name},{self.version}"


@dataclass(frozen=True)
class Pairing:
    """Which chips of a template and a science file belong together.

    Parameters
    ----------
    pairs : tuple of (Chip, Chip)
        Template and science chip, in the order of the science file; both have the same label.
    only_template, only_science : tuple of str
        Labels of chips that the other file does not have.
    by : str
        What the chips were matched by: EXTNAME, the name of a card, or "order".
    """

    pairs: tuple[tuple[Chip, Chip], ...]
    only_template: tuple[str, ...]
    only_science: tuple[str, ...]
    by: str


def chip_hdus(hdus: Sequence[Hdu], where: str, layout: str | None = None) -> list[Hdu]:
    """The HDUs that hold the image of a chip, and not its noise, its mask or its PSF.

    Parameters
    ----------
    hdus : sequence of Hdu
        All HDUs of the file.
    where : str
        Name of the file, for messages.
    layout : str, optional
        The layout that the user asked for; default: recognised.

    Raises
    ------
    InputError
        If there is no two-dimensional image.
    """
    kind = layout or layout_of(hdus)
    pictures = [hdu for hdu in hdus if hdu.is_image]
    if kind == "lsst":
        found = lsst_images(hdus) or [hdus[locate_lsst(hdus, where).image]]
    elif kind == "mosaic":
        found = [hdu for hdu in pictures if not hdu.name.endswith(CHIP_PLANES)]
    else:
        planes = (*NOISE_NAMES, *MASK_NAMES, "PSF")
        science = [hdu for hdu in pictures if hdu.name == "SCI"]
        found = science or [hdu for hdu in pictures if hdu.name not in planes]
    if not found:
        raise InputError(f"{where}: no two-dimensional image in the file")
    return found


def name_chips(hdus: Sequence[Hdu], where: str, layout: str | None = None) -> tuple[str, list[Chip]]:
    """What tells the chips of one file apart, and the chips; parameters and errors are those of `chip_hdus`."""
    found = chip_hdus(hdus, where, layout)
    by = next((by for by in (BY_NAME, *CHIP_CARDS) if _tell_apart(_identities(found, by))), BY_ORDER)
    return by, _chips(found, by, hdus, where)


def match_chips(
    template: Sequence[Hdu],
    science: Sequence[Hdu],
    where: tuple[str, str],
    layouts: tuple[str | None, str | None] = (None, None),
) -> Pairing:
    """The chips of two files that belong together.

    Parameters
    ----------
    template, science : sequence of Hdu
        All HDUs of the files.
    where : (str, str)
        Their names, for messages.
    layouts : (str or None, str or None), optional
        The layouts that the user asked for.

    Raises
    ------
    InputError
        If a file has no image, nothing tells which chips belong together, or none do.
    """
    files = template, science
    found = [chip_hdus(*each) for each in zip(files, where, layouts, strict=True)]
    by = _common_identity(found, where)
    chips = [_chips(own, by, *each) for own, *each in zip(found, files, where, strict=True)]
    if by == BY_ORDER:
        named = [Chip(s.name, s.version, t.hdu, t.key) for t, s in zip(*chips, strict=True)]
        return Pairing(tuple(zip(named, chips[1], strict=True)), (), (), by)
    known = [{chip.label: chip for chip in own} for own in chips]
    pairs = tuple((known[0][label], chip) for label, chip in known[1].items() if label in known[0])
    only = [tuple(label for label in own if label not in other) for own, other in (known, known[::-1])]
    if not pairs:
        raise InputError(
            f"{where[0]} and {where[1]} have no extension in common: by {by} they have {_listed(only[0])} and "
            f"{_listed(only[1])}; single ones are named in brackets, without --all-extensions"
        )
    return Pairing(pairs, *only, by)


def _common_identity(found: list[list[Hdu]], where: tuple[str, str]) -> str:
    """What tells the chips of both files apart."""
    for by in (BY_NAME, *CHIP_CARDS):
        if all(_tell_apart(_identities(hdus, by)) for hdus in found):
            return by
    if len(found[0]) == len(found[1]) and all(len(set(_identities(hdus, BY_NAME))) == 1 for hdus in found):
        return BY_ORDER
    counts = " and ".join(f"{len(hdus)} of {name}" for hdus, name in zip(found, where, strict=True))
    doubles = [
        f"{name} has {count} extensions {identity[0]}"
        for hdus, name in zip(found, where, strict=True)
        for identity, count in Counter(_identities(hdus, BY_NAME)).items()
        if identity is not None and count > 1
    ]
    because = f" ({'; '.join(doubles)})" if doubles else ""
    raise InputError(
        f"nothing tells which of the extensions ({counts}) belong together{because}: all need names (EXTNAME), or "
        f"cards such as {CHIP_CARDS[0]} or {CHIP_CARDS[1]}, that differ; single ones are named in brackets"
    )


def _identities(hdus: Sequence[Hdu], by: str) -> list[tuple[str, int] | None]:
    """Name and version of each chip; None for one without."""
    if by == BY_NAME:
        return [(hdu.name, hdu.version) if hdu.name else None for hdu in hdus]
    values = [str(hdu.header.get(by, "")).strip().upper() for hdu in hdus]
    return [((f"{by}{value}" if value.isdecimal() else value), 1) if value else None for value in values]


def _tell_apart(identities: Sequence[tuple[str, int] | None]) -> bool:
    return None not in identities and len(set(identities)) == len(identities)


def _chips(found: Sequence[Hdu], by: str, hdus: Sequence[Hdu], where: str) -> list[Chip]:
    """The chips under their names; those told by their order are called by the number of the HDU.

    Raises
    ------
    InputError
        If a chip has the name of a plane of another, so that they could not be told apart in the outputs.
    """
    known = [(f"EXT{hdu.index}", 1) for hdu in found] if by == BY_ORDER else _identities(found, by)
    names = {name for name, _ in known}
    planes = sorted(name + plane for name in names for plane in CHIP_PLANES if name + plane in names)
    if planes:
        raise InputError(
            f"{where}: {_listed(planes)} may be a mask or a variance; name the images in brackets, one by one, and "
            "these with options such as --science-mask"
        )
    return [Chip(*identity, hdu, _key(hdu, hdus)) for hdu, identity in zip(found, known, strict=True)]


def _key(hdu: Hdu, hdus: Sequence[Hdu]) -> str:
    """The HDU's name where it is the only one of it, with its version if need be; else its number."""
    same = [other for other in hdus if other.name == hdu.name]
    if _PLAIN_NAME.fullmatch(hdu.name):
        if len(same) == 1:
            return hdu.name
        if sum(other.version == hdu.version for other in same) == 1:
            return f"{hdu.name},{hdu.version}"
    return str(hdu.index)


def _listed(labels: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + rest
