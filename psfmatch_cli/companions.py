"""Files beside an image that hold its mask, noise or PSF, found by the names that their pipelines give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from psfmatch_cli.errors import InputError
from psfmatch_cli.fitsfile import FitsPath, describe_hdus, list_hdus, open_fits
from psfmatch_cli.instruments import CompanionRole, Layout, companion_names
from psfmatch_cli.layouts import Hdu, PlaneMap
from psfmatch_cli.read_options import ReadOptions

#: Roles that give the variance.
NOISE_ROLES = ("variance", "noise", "weight")


@dataclass(frozen=True)
class Companion:
    """One HDU of a file beside the image."""

    role: CompanionRole
    file: FitsPath

    def __str__(self) -> str:
        return f"HDU {self.file.hdu} of {self.file.path.name}"

    @property
    def told(self) -> str:
        """What it is and how to do without it."""
        return f"{self.role}: {self}, found beside it (--layout plain leaves it out)"


def find_companions(
    layout: Layout, path: Path, image: Hdu, found: PlaneMap, options: ReadOptions
) -> dict[CompanionRole, Companion]:
    """The companions that exist and that hold what neither the file itself nor the options give.

    Parameters
    ----------
    layout : Layout
    path : Path
        The file that the user named.
    image : Hdu
        Its image; the companion's HDU has its name, else its number, else is the only image.
    found : PlaneMap
        What the file itself holds.
    options : ReadOptions
        What the user gave.

    Raises
    ------
    InputError
        If a companion is not readable, or has no HDU for this image.
    """
    made: dict[CompanionRole, Companion] = {}
    for role, names in companion_names(layout, path.name).items():
        if _is_given(role, found, options):
            continue
        files = [path.with_name(name) for name in names]
        file = next((file for file in files if file.is_file() and file != path), None)
        if file is not None:
            made[role] = Companion(role, FitsPath(file, matching_hdu(file, image, " (--layout plain leaves it out)")))
    return made


def _is_given(role: CompanionRole, found: PlaneMap, options: ReadOptions) -> bool:
    if role in NOISE_ROLES:
        return options.noise_file is not None or found.variance is not None
    if role == "psf":
        named = "fwhm" in (options.keywords or {})
        return named or options.psf is not None or options.fwhm is not None or found.psf is not None
    if role == "mask":
        return options.mask is not None or found.mask is not None
    return False


def matching_hdu(file: Path, image: Hdu, advice: str = "") -> int:
    """Number of the HDU of another file that belongs to an image: of its name, else its place, else the only image.

    Raises
    ------
    InputError
        If the file is not readable or has no such HDU; the message ends with the advice.
    """
    with open_fits(file) as hdus:
        pictures = [hdu for hdu in list_hdus(hdus) if hdu.is_image]
        same_name = [hdu for hdu in pictures if image.name and hdu.name == image.name and hdu.version == image.version]
        same_place = [hdu for hdu in pictures if hdu.index == image.index and not (image.name and hdu.name)]
        for hdu in (*same_name, *same_place, *(pictures if len(pictures) == 1 else ())):
            return hdu.index
        name = image.name or f"number {image.index}"
        raise InputError(
            f"{file}: no image {name}, though it belongs to an image of this name; the file has "
            f"{describe_hdus(hdus)}{advice}"
        )
