"""The options that tell how to read an exposure, by its role."""

from __future__ import annotations

from typing import Any

from psfmatch_cli.cli.options import Decorator, Width, chain, option
from psfmatch_cli.widths import FWHM_RANGE

_FILE = {"metavar": "FILE"}
_NUMBER = {"type": float, "metavar": "NUMBER"}

#: Name, click attributes and help of the options that tell how to read an exposure.
_READING: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "layout",
        {"metavar": "NAME"},
        "Layout of the file: mosaic, lsst, jwst, hst, decam, ztf, panstarrs, sdss, swarp or plain. "
        "[default: recognised by its content]",
    ),
    (
        "keyword",
        {"metavar": "QUANTITY=CARD", "multiple": True},
        "Header card of a quantity, such as gain=EGAIN; repeatable. Quantities: gain, read-noise, dark-variance, "
        "sky-level, saturation, exposure-time, zero-point, fwhm, filter, date, unit. [default: the usual cards]",
    ),
    ("mask", _FILE, "Mask image; see --{0}mask-map. [default: in the exposure's file or beside it, if any]"),
    (
        "mask-map",
        {"metavar": "TEXT"},
        'Meaning of the mask\'s values as "VALUE=PLANE,...", such as "1=INTRP,2=SAT". '
        "[default: as the file or its layout says; else all but 0 is BAD]",
    ),
    (
        "variance",
        _FILE,
        "Image of the variance, counts squared. [default: in the exposure's file or beside it, if any]",
    ),
    ("noise", _FILE, "Image of the noise sigma, counts, instead of a variance."),
    ("weight", _FILE, "Image of the inverse variance instead of a variance."),
    (
        "gain",
        _NUMBER,
        "Electrons per count; makes a variance where none is given. [default: from the header and the sky noise]",
    ),
    ("read-noise", _NUMBER, "Read noise, electrons. [default: from the header, else 0]"),
    ("saturation", _NUMBER, "Counts from which a pixel is saturated. [default: from the header, else from the image]"),
    (
        "sky-level",
        _NUMBER,
        "Counts of sky that were subtracted before; needed for the noise. [default: from the header, else 0]",
    ),
    ("pedestal", _NUMBER, "Counts of the image that are not light, such as a bias. [default: 0]"),
    ("exposure-time", _NUMBER, "Exposure time, seconds. [default: from the header]"),
    ("zero-point", _NUMBER, "Magnitude of a source of one count. [default: from the header, if it tells]"),
    ("band", {"metavar": "NAME"}, "Name of the filter. [default: from the header]"),
    ("psf", _FILE, "Image of the PSF, or a PSFEx model. [default: in the exposure's file or beside it, if any]"),
)

#: The same names as Python spells them.
READING = tuple(name.replace("-", "_") for name, _, _ in _READING)


def reading(role: str) -> Decorator:
    """Options on how to read an exposure: --template-mask and so on; without the prefix for the role ""."""
    prefix = f"{role}-" if role else ""
    section = f"Reading the {role} exposure" if role else "Reading the exposure"
    made = [
        option(f"--{prefix}{name}", section=section, help=text.format(prefix), **attributes)
        for name, attributes, text in _READING
    ]
    if role:
        made.append(
            option(
                f"--{prefix}fwhm",
                type=Width(),
                metavar="PIXELS",
                section=section,
                help=f"FWHM of the PSF on the science grid, {FWHM_RANGE}: nothing looks narrower, "
                "and a wider PSF cannot be matched. [default: from the PSF, else measured on stars]",
            )
        )
    return chain(*made)
