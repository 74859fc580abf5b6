"""Which HDUs of one file hold image, mask and variance: functions of header mappings only.

LSST's planes are found by EXTTYPE, then EXTNAME, then position. Elsewhere there is one image, perhaps with noise and
data quality images of the usual names beside it (SCI, ERR, DQ...). `psfmatch_cli.instruments` tells which is which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError

VarianceKind = Literal["variance", "noise", "weight"]

#: EXTNAMEs beside an image, in order of preference: what holds the noise, and as what.
NOISE_NAMES: dict[str, VarianceKind] = {
    "ERR": "noise",
    "VARIANCE": "variance",
    "VAR": "variance",
    "IVAR": "weight",
    "WGT": "weight",
    "WHT": "weight",
}
MASK_NAMES = ("DQ", "MASK", "BPM")
LSST_WORDS = ("IMAGE", "MASK", "VARIANCE")
#: What the names of the planes of a chip in a mosaic of ours have after the chip's own.
CHIP_PLANES = ("_MASK", "_VARIANCE", "_PSF")
#: Card PMFORMAT of such a file.
MOSAIC_FORMAT = "psfmatch-mosaic"


@dataclass(frozen=True)
class Hdu:
    """One HDU as the layouts see it.

    Parameters
    ----------
    index : int
        Number in the file, from 0.
    header : mapping
        Its cards.
    shape : tuple of int or None
        Shape of its image; None where it holds none.
    """

    index: int
    header: Mapping[str, Any]
    shape: tuple[int, ...] | None

    @property
    def name(self) -> str:
        """EXTNAME in upper case, or an empty string."""
        return str(self.header.get("EXTNAME", "")).strip().upper()

    @property
    def version(self) -> int:
        """EXTVER, or 1 where it is missing or no whole number."""
        version = self.header.get("EXTVER", 1)
        return version if type(version) is int else 1

    @property
    def kind(self) -> str:
        """EXTTYPE in upper case, or an empty string."""
        return str(self.header.get("EXTTYPE", "")).strip().upper()

    @property
    def is_image(self) -> bool:
        """Whether it holds one two-dimensional image (leading axes of length 1 do not count)."""
        return self.shape is not None and 0 not in self.shape and all(n == 1 for n in self.shape[:-2])


@dataclass(frozen=True)
class PlaneMap:
    """Numbers of the HDUs that hold the planes; None where there is none.

    Parameters
    ----------
    layout : str
        Name of the layout.
    image : int
    mask, variance : int or None
    variance_kind : {"variance", "noise", "weight"}
        What the HDU of the variance holds.
    psf : int or None
    coverage : int or None
        Image that is not positive where there is no data.
    """

    layout: str
    image: int
    mask: int | None = None
    variance: int | None = None
    variance_kind: VarianceKind = "variance"
    psf: int | None = None
    coverage: int | None = None


def is_lsst(hdus: Sequence[Hdu]) -> bool:
    """Whether the file says so by EXTTYPE, by EXTNAME, or by naming mask planes."""
    if any(hdu.kind in LSST_WORDS for hdu in hdus):
        return True
    names = {hdu.name for hdu in hdus}
    if "IMAGE" in names and names & {"MASK", "VARIANCE"}:
        return True
    return any(key.upper().startswith("MP_") for hdu in hdus if hdu.is_image for key in hdu.header)


def locate_lsst(hdus: Sequence[Hdu], where: str) -> PlaneMap:
    """The planes of an LSST exposure.

    Raises
    ------
    InputError
        If there is no image, or a plane's EXTTYPE contradicts its place.
    """
    first = 0 if hdus[0].is_image else 1
    image, mask, variance = (_lsst_plane(hdus, word, first + n, where) for n, word in enumerate(LSST_WORDS))
    if image is None:
        raise InputError(f"{where}: no IMAGE plane, though the file has the LSST layout")
    if not hdus[image].is_image:
        raise InputError(f"{where}: HDU {image}, the IMAGE plane, holds no two-dimensional image")
    return PlaneMap("lsst", image, mask, variance, "variance", _psf_extension(hdus))


def lsst_images(hdus: Sequence[Hdu]) -> list[Hdu]:
    """The IMAGE planes, by EXTTYPE or EXTNAME; several in a file of several exposures."""
    return [hdu for hdu in hdus if hdu.is_image and (hdu.kind or hdu.name) == "IMAGE"]


def locate_lsst_chip(hdus: Sequence[Hdu], image: int) -> PlaneMap:
    """The planes of one of several LSST exposures in a file: those of its EXTVER, else those that follow it.

    Parameters
    ----------
    hdus : sequence of Hdu
    image : int
        Number of one of `lsst_images`.
    """
    images = lsst_images(hdus)
    if len({hdu.version for hdu in images}) == len(images):
        own = [hdu for hdu in hdus if hdu.version == hdus[image].version]
    else:
        end = min((hdu.index for hdu in images if hdu.index > image), default=len(hdus))
        own = list(hdus[image:end])
    planes = (next((hdu.index for hdu in own if (hdu.kind or hdu.name) == word), None) for word in LSST_WORDS[1:])
    return PlaneMap("lsst", image, *planes, "variance", _psf_extension(own))


def is_mosaic(hdus: Sequence[Hdu]) -> bool:
    """Whether the file is a mosaic that this program wrote."""
    return hdus[0].header.get("PMFORMAT") == MOSAIC_FORMAT


def locate_mosaic(hdus: Sequence[Hdu], where: str, image: int | None = None) -> PlaneMap:
    """The planes of one chip of a mosaic: those of its name and EXTVER; default: the first chip.

    Raises
    ------
    InputError
        If there is no chip.
    """
    named = {(hdu.name, hdu.version): hdu.index for hdu in hdus if hdu.is_image}
    if image is None:
        image = next((n for (name, _), n in named.items() if not name.endswith(CHIP_PLANES)), None)
        if image is None:
            raise InputError(f"{where}: no two-dimensional image in the file")
    name, version = hdus[image].name, hdus[image].version
    mask, variance, psf = (named.get((name + plane, version)) for plane in CHIP_PLANES)
    return PlaneMap("mosaic", image, mask, variance, "variance", psf)


def _lsst_plane(hdus: Sequence[Hdu], word: str, position: int, where: str) -> int | None:
    """HDU of one plane by EXTTYPE, else by EXTNAME, else by position."""
    typed = [hdu for hdu in hdus if hdu.kind == word]
    named = [hdu for hdu in hdus if hdu.name == word and hdu.is_image]
    placed = [hdu for hdu in hdus if hdu.index == position and hdu.is_image and hdu.name in ("", word)]
    for hdu in (*typed, *named, *placed):
        if hdu.kind in ("", word):
            return hdu.index
        if hdu.kind not in LSST_WORDS:
            raise InputError(f"{where}: HDU {hdu.index} has EXTTYPE {hdu.kind!r}, expected {word!r}")
    return None


def locate_named(hdus: Sequence[Hdu], where: str, image: int | None = None, layout: str = "plain") -> PlaneMap:
    """One image and the planes of the usual names that share its EXTVER.

    Parameters
    ----------
    hdus : sequence of Hdu
        All HDUs of the file.
    where : str
        Name of the file, for messages.
    image : int, optional
        The HDU that the user asked for; default: the first SCI, else the first image.
    layout : str, optional
        Name of the layout, for the result.

    Raises
    ------
    InputError
        If there is no two-dimensional image.
    """
    if image is None:
        pictures = [hdu for hdu in hdus if hdu.is_image]
        if not pictures:
            raise InputError(f"{where}: no two-dimensional image in the file")
        image = next((hdu.index for hdu in pictures if hdu.name == "SCI"), pictures[0].index)
    chosen = hdus[image]
    if chosen.name in (*NOISE_NAMES, *MASK_NAMES):
        # Such a plane was asked for by name: it is the picture, not the companion of one.
        return PlaneMap(layout, image)
    beside = {
        hdu.name: hdu.index
        for hdu in reversed(hdus)
        if hdu.is_image and hdu.index != image and hdu.version == chosen.version
    }
    noise = next((name for name in NOISE_NAMES if name in beside), None)
    return PlaneMap(
        layout,
        image,
        mask=next((beside[name] for name in MASK_NAMES if name in beside), None),
        variance=beside[noise] if noise else None,
        variance_kind=NOISE_NAMES[noise] if noise else "variance",
        psf=_psf_extension(hdus),
        coverage=beside.get("WHT") if noise != "WHT" else None,
    )


def _psf_extension(hdus: Sequence[Hdu]) -> int | None:
    return next((hdu.index for hdu in hdus if hdu.name == "PSF" and hdu.is_image), None)


def origin_from_header(header: Mapping[str, Any], where: str = "the header") -> tuple[int, int]:
    """Parent position of the first stored pixel: the WCS "A", where both its reference pixels are 1.

    Raises
    ------
    InputError
        If it is no number, or beyond what pixels are counted with.
    """
    if header.get("CRPIX1A") != 1 or header.get("CRPIX2A") != 1:
        return 0, 0
    return tuple(_whole_position(header, f"CRVAL{axis}A", where) for axis in (1, 2))


def _whole_position(header: Mapping[str, Any], name: str, where: str) -> int:
    value = header.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 2**31:
        raise InputError(
            f"{where}: the card {name} (origin of the pixels) is {value!r}, allowed are whole numbers to 2**31"
        )
    return int(np.floor(value + 0.5))


def as_variance(values: NDArray, kind: VarianceKind) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Variance from a variance, noise (sigma) or weight (inverse variance) plane.

    A noise that is not positive becomes the variance NaN, so that it cannot pass as valid.

    Returns
    -------
    variance : ndarray, (H, W), float32
    no_data : ndarray, (H, W), bool
        Pixels without information: the weight is not positive.
    """
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    no_data = np.zeros(values.shape, bool)
    with np.errstate(all="ignore"):
        if kind == "noise":
            values = np.where(values > 0, values**2, np.nan)
        elif kind == "weight":
            no_data = ~(values > 0)
            values = np.where(no_data, np.inf, 1.0 / values)
        return values.astype(np.float32, copy=False), no_data
