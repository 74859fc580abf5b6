"""The layouts: how the files of a survey or an instrument are recognised, and what lies beside them.

A layout is recognised by the content of the file alone. Names matter only for companions: files beside the image,
under the name that their pipeline gives them, derived from the path that the user typed. No header leads to a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psfmatch_cli.errors import InputError
from psfmatch_cli.layouts import (
    Hdu,
    PlaneMap,
    is_lsst,
    is_mosaic,
    locate_lsst,
    locate_lsst_chip,
    locate_mosaic,
    locate_named,
    lsst_images,
)
from psfmatch_cli.quality_flags import JWST, PANSTARRS, ZTF, FlagTable, decam_flags, hst_flags

CompanionRole = Literal["mask", "variance", "noise", "weight", "coverage", "psf"]

_JWST_CAMERAS = ("NIRCAM", "NIRISS", "MIRI", "NIRSPEC", "FGS")


@dataclass(frozen=True)
class CompanionRule:
    """How the name of a companion follows from that of the image.

    Parameters
    ----------
    role : str
        What it holds.
    pattern, name : str
        Regular expression of the image's name without its ending, and the companion's name.
    """

    role: CompanionRole
    pattern: str
    name: str


@dataclass(frozen=True)
class Layout:
    """One layout.

    Parameters
    ----------
    name : str
        What the option calls it.
    described : str
        What it is, in a few words.
    matches : callable
        Whether the HDUs of a file have it.
    flags : callable or None
        Meaning of the quality image for the image's header.
    companions : tuple of CompanionRule
    relative_weights : bool
        Whether weights may have any scale and leave out the light of the sources.
    ours : bool
        Whether the mask names its planes (``MP_`` cards) and the WCS "A" holds the origin, as LSST and this program
        write them.
    """

    name: str
    described: str
    matches: Callable[[Sequence[Hdu]], bool]
    flags: Callable[[Mapping[str, Any]], FlagTable] | None = None
    companions: tuple[CompanionRule, ...] = ()
    relative_weights: bool = False
    ours: bool = False


def _cards(hdus: Sequence[Hdu], name: str) -> set[str]:
    """Values of a card in all HDUs, in upper case."""
    return {str(hdu.header[name]).strip().upper() for hdu in hdus if name in hdu.header}


def _is_jwst(hdus: Sequence[Hdu]) -> bool:
    named = any(hdu.name == "SCI" for hdu in hdus)
    return "JWST" in _cards(hdus, "TELESCOP") or (named and bool(_cards(hdus, "INSTRUME") & {*_JWST_CAMERAS}))


def _is_hst(hdus: Sequence[Hdu]) -> bool:
    return "HST" in _cards(hdus, "TELESCOP")


def _is_decam(hdus: Sequence[Hdu]) -> bool:
    types = _cards(hdus, "PROCTYPE")
    return bool(types & {"INSTCAL", "RESAMPLED", "STACKED"}) and "IMAGE" in _cards(hdus, "PRODTYPE")


def _is_ztf(hdus: Sequence[Hdu]) -> bool:
    return any(name.startswith("ZTF") for name in _cards(hdus, "INSTRUME")) or any(
        "ZWICKY" in name for name in _cards(hdus, "ORIGIN")
    )


def _is_panstarrs(hdus: Sequence[Hdu]) -> bool:
    headers = [hdu.header for hdu in hdus]
    scaled = any("BSOFTEN" in header and "BOFFSET" in header for header in headers)
    return scaled or any(key.upper().startswith(("FPA.", "CELL.")) for header in headers for key in header)


def _is_sdss(hdus: Sequence[Hdu]) -> bool:
    header = hdus[0].header
    return "SDSS" in _cards(hdus[:1], "ORIGIN") and all(name in header for name in ("RUN", "CAMCOL"))


def _is_swarp(hdus: Sequence[Hdu]) -> bool:
    return "SWARP" in _cards(hdus, "SOFTNAME") or any(
        "COMBINET" in hdu.header and "RESAMPT1" in hdu.header for hdu in hdus
    )


#: By name, in the order in which they are tried.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("mosaic", "chips in one file, by psfmatch", is_mosaic, ours=True),
        Layout("lsst", "LSST or HSC exposure", is_lsst, ours=True),
        Layout("jwst", "JWST pipeline product", _is_jwst, lambda header: JWST, relative_weights=True),
        Layout("hst", "HST pipeline product", _is_hst, hst_flags, relative_weights=True),
        Layout(
            "decam",
            "DECam community pipeline product",
            _is_decam,
            decam_flags,
            (
                CompanionRule("mask", r"(.*_o[a-z])i(_.*)", r"\1d\2"),
                CompanionRule("weight", r"(.*_o[a-z])i(_.*)", r"\1w\2"),
            ),
        ),
        Layout(
            "ztf",
            "ZTF image",
            _is_ztf,
            lambda header: ZTF,
            (
                CompanionRule("mask", r"(.*_)sciimg(.*)", r"\1mskimg\2"),
                CompanionRule("psf", r"(.*_)sciimg(.*)", r"\1sciimgdaopsfcent\2"),
                CompanionRule("noise", r"(.*_)refimg(.*)", r"\1refunc\2"),
                CompanionRule("coverage", r"(.*_)refimg(.*)", r"\1refcov\2"),
            ),
        ),
        Layout(
            "panstarrs",
            "Pan-STARRS stack or warp",
            _is_panstarrs,
            lambda header: PANSTARRS,
            (
                CompanionRule("mask", r"(.*)(?<!\.mask)(?<!\.wt)", r"\1.mask"),
                CompanionRule("variance", r"(.*)(?<!\.mask)(?<!\.wt)", r"\1.wt"),
            ),
        ),
        Layout("sdss", "SDSS frame", _is_sdss),
        Layout(
            "swarp",
            "SWarp coadd",
            _is_swarp,
            companions=(CompanionRule("weight", r"(.*)(?<!\.weight)", r"\1.weight"),),
            relative_weights=True,
        ),
        Layout("plain", "image", lambda hdus: True, relative_weights=True),
    )
}


def locate_planes(hdus: Sequence[Hdu], where: str, image: int | None = None, layout: str | None = None) -> PlaneMap:
    """The layout of a file, and which of its HDUs hold image, mask, variance and PSF.

    Parameters
    ----------
    hdus : sequence of Hdu
        All HDUs of the file.
    where : str
        Name of the file, for messages.
    image : int, optional
        The HDU that the user asked for.
    layout : str, optional
        The layout that the user asked for; default: the first that matches.

    Raises
    ------
    InputError
        If there is no two-dimensional image, or a plane's EXTTYPE contradicts its place.
    """
    if image is not None and not hdus[image].is_image:
        raise InputError(f"{where}: HDU {image} holds no two-dimensional image")
    name = layout or layout_of(hdus)
    if name == "mosaic":
        return locate_mosaic(hdus, where, image)
    if name != "lsst":
        return locate_named(hdus, where, image, name)
    images = [hdu.index for hdu in lsst_images(hdus)]
    if image in images and len(images) > 1:
        return locate_lsst_chip(hdus, image)
    planes = locate_lsst(hdus, where)
    return planes if image in (None, planes.image) else locate_named(hdus, where, image)


def layout_of(hdus: Sequence[Hdu]) -> str:
    """Name of the first layout that the file has."""
    return next(known.name for known in LAYOUTS.values() if known.matches(hdus))


def companion_names(layout: Layout, name: str) -> dict[CompanionRole, list[str]]:
    """Names that a companion of a file may have, by role, the likeliest first.

    The ending (``.fits.fz`` and the like) is the image's own, or another one.
    """
    stem, ending = re.fullmatch(r"(.*?)((?:\.fits?|\.FITS?)?(?:\.fz|\.gz)?)", name, re.DOTALL).groups()
    endings = dict.fromkeys((ending, ".fits", ".fits.fz", ".fits.gz"))
    found: dict[CompanionRole, list[str]] = {}
    for rule in layout.companions:
        match = re.fullmatch(rule.pattern, stem, re.DOTALL)
        if match is not None:
            found[rule.role] = [match.expand(rule.name) + other for other in endings]
    return found
