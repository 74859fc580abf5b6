"""DS9 region files: read as positions of sources, written to show the fate of candidates.

Of the format of DS9 4.1 those shapes are read that have a centre; sizes, angles and properties do not matter. Without
a coordinate system the coordinates are physical, as DS9 takes them. An excluded region (with a minus) is no source.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.inputs import check_regular
from psfmatch_cli.outputs import Card, atomic_path, printable

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

SUFFIX = ".reg"
#: Coordinate systems and how they are called here, as astropy's frames where they are sky.
SYSTEMS = {
    "image": "image",
    "physical": "physical",
    "icrs": "icrs",
    "fk5": "fk5",
    "j2000": "fk5",
    "fk4": "fk4",
    "b1950": "fk4",
    "galactic": "galactic",
}
#: Shapes that have a centre, and their least number of arguments.
SHAPES = {"point": 2, "circle": 3, "ellipse": 4, "box": 4, "annulus": 4, "polygon": 6}
#: Colour of each status; of candidates that were not needed, or not fitted yet, that of "unused".
COLORS = {"used": "green", "rejected": "red", "refused": "grey", "unused": "cyan"}

#: What follows a "#": it ends at a semicolon that is not within braces or quotes.
_PROPERTIES = re.compile(r"""#(?:\{[^}]*\}|"[^"]*"|'[^']*'|[^;])*""")
_REGION = re.compile(r"([-+!]?)\s*((?:[A-Za-z]+\s+)?[A-Za-z]+)\s*(?:\(\s*([^()]*?)\s*\)|([^()]*))\s*(?:\|\|)?")
_COLONS = re.compile(r"([-+]?)(\d+):(\d+):(\d+(?:\.\d*)?)")
_UNITS = re.compile(r"([-+]?)(\d+)([hd])(\d+)m(\d+(?:\.\d*)?)s")


def is_region_file(path: str | Path) -> bool:
    """Whether a file is one of regions, by its suffix."""
    return Path(path).name.lower().endswith(SUFFIX)


def check_region_suffix(path: str | Path) -> None:
    """Refuse a name that would not be read back.

    Raises
    ------
    UsageError
        If it has another suffix.
    """
    if not is_region_file(path):
        raise UsageError(f"{path}: a file of regions must end in {SUFFIX}")


def read_regions(path: str | Path) -> Table:
    """Centres of the regions of a DS9 file.

    Returns
    -------
    Table
        ``ds9_system`` (a value of `SYSTEMS`) and ``ds9_first``, ``ds9_second``: degrees, or pixels from 1.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is not understood; the message has its number.
    """
    from astropy.table import Table

    check_regular(Path(path), "a region file")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable region file ({error})") from error
    system, rows, n_excluded = "physical", [], 0
    for number, line in enumerate(lines, start=1):
        try:
            for command in _commands(line):
                if command.lower() in SYSTEMS:
                    system = SYSTEMS[command.lower()]
                    continue
                included, first, second = _parse(command, system)
                n_excluded += not included
                rows += [(system, first, second)] if included else []
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    log.info("%s: %d regions; %d excluded ones are left out", path, len(rows), n_excluded)
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return Table(dict(zip(("ds9_system", "ds9_first", "ds9_second"), map(list, columns), strict=True)))


def _commands(line: str) -> Iterator[str]:
    """The commands of a line, without their properties; of a comment and of global properties there are none."""
    if line.lstrip().startswith("#"):
        return
    for part in _PROPERTIES.sub("", line).split(";"):
        command = part.strip()
        if command and command.split()[0].lower() != "global":
            yield command


def _parse(command: str, system: str) -> tuple[bool, float, float]:
    """Whether a region is included, and its centre.

    Raises
    ------
    ValueError
        If the command is not a region that can be read.
    """
    found = _REGION.fullmatch(command)
    if found is None:
        raise ValueError(f"{command!r} is no region")
    sign, shape, in_parentheses, bare = found.groups()
    # An old way to write the kind of a point is "cross point".
    name = "point" if shape.lower().endswith(" point") else shape.lower()
    if name not in SHAPES:
        raise ValueError(
            f"{command!r} is neither a shape with a centre ({', '.join(SHAPES)}) nor a coordinate system that is known "
            f"({', '.join(SYSTEMS)})"
        )
    arguments = re.split(r"[\s,]+", in_parentheses if in_parentheses is not None else bare.strip())
    n = len(arguments)
    if n < SHAPES[name] or (name == "polygon" and n % 2):
        raise ValueError(f"{command!r} has {n} arguments; a {name} has at least {SHAPES[name]}")
    positions = arguments if name == "polygon" else arguments[:2]
    pairs = [_position(*pair, system) for pair in zip(positions[::2], positions[1::2], strict=True)]
    return sign not in ("-", "!"), *(_centroid(pairs, system) if name == "polygon" else pairs[0])


def _position(first: str, second: str, system: str) -> tuple[float, float]:
    """Two coordinates as numbers, degrees for the sky."""
    if system in ("image", "physical"):
        return _number(first), _number(second)
    latitude = _angle(second, in_hours=False)
    if abs(latitude) > 90:
        raise ValueError(f"the latitude {second!r} is beyond the pole")
    return _angle(first, in_hours=system != "galactic"), latitude


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{text!r} is no coordinate")
    return value


def _angle(text: str, *, in_hours: bool) -> float:
    """Degrees of an angle: a number (with d: degrees, with r: radians), 1:2:3 (hours if so asked), 1h2m3s or 1d2m3s."""
    if found := _COLONS.fullmatch(text):
        sign, *parts = found.groups()
    elif found := _UNITS.fullmatch(text):
        sign, whole, unit, *rest = found.groups()
        parts, in_hours = [whole, *rest], unit == "h"
    elif text.endswith("r"):
        return float(np.rad2deg(_number(text[:-1])))
    else:
        return _number(text.removesuffix("d"))
    whole, minutes, seconds = map(float, parts)
    if minutes >= 60 or seconds >= 60:
        raise ValueError(f"{text!r} has 60 or more minutes or seconds")
    return (-1.0 if sign == "-" else 1.0) * (whole + minutes / 60 + seconds / 3600) * (15.0 if in_hours else 1.0)


def _centroid(vertices: Sequence[tuple[float, float]], system: str) -> tuple[float, float]:
    """Centre of gravity of a polygon; of one without an area, the mean of its vertices."""
    points = np.array(vertices)
    start = points[0].copy()
    # From the first vertex, so that a polygon across right ascension 0 stays in one piece.
    points -= start
    if system not in ("image", "physical"):
        points[:, 0] = (points[:, 0] + 180.0) % 360.0 - 180.0
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = cross.sum() / 2
    if abs(area) > 1e-12 * np.ptp(points, axis=0).max() ** 2:
        middle = ((points + following) * cross[:, None]).sum(axis=0) / (6 * area)
    else:
        middle = points.mean(axis=0)
    x, y = (start + middle).tolist()
    return x, y


def write_regions(
    path: str | Path,
    candidates: Table,
    xy0: tuple[int, int],
    radius: float,
    *,
    cards: Iterable[Card] = (),
    overwrite: bool = False,
) -> None:
    """Write candidates as circles in image coordinates, coloured by their status; see `COLORS`.

    Those that were refused are excluded regions, so that a list of the others is read back. Sources without a
    position are left out.

    Parameters
    ----------
    path : str or Path
    candidates : Table
        With ``x, y`` (parent pixels), ``status`` and ``reason``.
    xy0 : (int, int)
        Parent position of the image's first pixel.
    radius : float
        Of the circles, pixels.
    cards : iterable of (keyword, value, comment), optional
        How the table was made, for comments.
    overwrite : bool, optional

    Raises
    ------
    UsageError
        If the suffix is not ".reg".
    OutputError
        If the file cannot be written.
    """
    check_region_suffix(path)
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {keyword} = {printable(str(value))}" for keyword, value, _ in cards]
    lines += ["global width=1", "image"]
    x, y = (np.asarray(candidates[axis], float) - origin + 1 for axis, origin in zip("xy", xy0, strict=True))
    for row in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
        lines.append(_circle(x[row], y[row], radius, str(candidates["status"][row]), str(candidates["reason"][row])))
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _circle(x: float, y: float, radius: float, status: str, reason: str) -> str:
    """The line of one candidate."""
    sign = "-" if status == "refused" else ""
    text = f" text={{{reason}}}" if reason else ""
    return f"{sign}circle({x:.6f},{y:.6f},{radius:g}) # color={COLORS[status]} tag={{{status}}}{text}"
