"""Alignment of two images by the triangles that their stars make, without any WCS.

The triangles are matched by the package astroalign (Beroiz, Cabral & Sanchez 2020, Astronomy and Computing 32,
100384), which is installed on request. It finds turns, shifts and changes of scale; a mirrored image is mirrored
before. What it finds is a start: all stars refine it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from psfmatch_cli.errors import RegistrationError
from psfmatch_cli.pixel_map import AffineMap
from psfmatch_cli.star_list import StarList

EXTRA = "pip install 'psfmatch[align]'"
#: Brightest stars of each image whose triangles are matched: few first, then more. Where nothing agrees, the time grows
#: with a power of their number of more than two: it is two seconds at 50, and minutes at 150.
CONTROL_POINTS = (25, 50)
#: Triangles need stars.
MIN_STARS = 4


def is_available() -> bool:
    """Whether the package that matches triangles is installed."""
    return find_spec("astroalign") is not None


def match_asterisms(science: StarList, template: StarList, names: tuple[str, str]) -> AffineMap:
    """From science to template pixels.

    Parameters
    ----------
    science, template : StarList
        Each in the pixels of its image.
    names : (str, str)
        Of template and science image, for messages.

    Raises
    ------
    RegistrationError
        If the package is missing, an image has too few stars, or no triangles agree.
    """
    if not is_available():
        raise RegistrationError(
            f"aligning {names[0]} with {names[1]} by asterisms needs the package astroalign; install it with {EXTRA}"
        )
    if min(len(science), len(template)) < MIN_STARS:
        raise RegistrationError(
            f"too few stars for asterisms: {len(template)} in {names[0]} and {len(science)} in {names[1]}, at least "
            f"{MIN_STARS} each are needed; solve the images astrometrically"
        )
    for n_points in CONTROL_POINTS:
        for parity in (1.0, -1.0):
            found = _transform(science.positions * [parity, 1.0], template.positions, n_points)
            if found is not None:
                return AffineMap(found[:2, :2] * [parity, 1.0], found[:2, 2])
    raise RegistrationError(
        f"no asterisms of {names[0]} ({len(template)} stars) and {names[1]} ({len(science)} stars) agree; check that "
        "they show the same field, or solve them astrometrically"
    )


def _transform(source: Any, target: Any, n_points: int) -> np.ndarray | None:
    """Matrix (3, 3) of the similarity transform that most triangles agree on; None if they do not."""
    import astroalign

    try:
        transform, _ = astroalign.find_transform(source, target, max_control_points=n_points)
    except (astroalign.MaxIterError, ValueError):
        return None
    matrix = np.asarray(transform.params, np.float64)
    return matrix if np.isfinite(matrix).all() else None
