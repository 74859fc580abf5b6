"""How the HDUs of a file map to image, mask and variance: functions of arrays and header mappings only.

Two layouts are known. LSST: image, mask and variance planes found by EXTTYPE, then EXTNAME, then position,
with the mask planes named by ``MP_`` cards and the origin in the WCS "A". Plain: one image, perhaps with
noise and data quality images of the usual names beside it (SCI, ERR, DQ...).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, free_bit

log = logging.getLogger(__name__)

VarianceKind = Literal["variance", "noise", "weight"]

#: EXTNAMEs beside a plain image, in order of preference: what holds the noise, and as what.
NOISE_NAMES: dict[str, VarianceKind] = {"ERR": "noise", "VARIANCE": "variance", "VAR": "variance", "WHT": "weight"}
MASK_NAMES = ("DQ", "MASK")
LSST_WORDS = ("IMAGE", "MASK", "VARIANCE")
PLANE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


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
        return int(self.header.get("EXTVER", 1))

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
    """Numbers of the HDUs that hold the planes; None where there is none."""

    layout: Literal["lsst", "plain"]
    image: int
    mask: int | None = None
    variance: int | None = None
    variance_kind: VarianceKind = "variance"
    psf: int | None = None


def locate_planes(hdus: Sequence[Hdu], where: str, image: int | None = None) -> PlaneMap:
    """Which HDUs hold image, mask, variance and PSF.

    Parameters
    ----------
    hdus : sequence of Hdu
        All HDUs of the file.
    where : str
        Name of the file, for messages.
    image : int, optional
        The HDU that the user asked for.

    Raises
    ------
    InputError
        If there is no two-dimensional image, or a plane's EXTTYPE contradicts its place.
    """
    if image is not None and not hdus[image].is_image:
        raise InputError(f"{where}: HDU {image} holds no two-dimensional image")
    if _is_lsst(hdus):
        planes = _locate_lsst(hdus, where)
        if image in (None, planes.image):
            return planes
    return _locate_plain(hdus, where, image)


def _is_lsst(hdus: Sequence[Hdu]) -> bool:
    """Whether the file says so by EXTTYPE, by EXTNAME, or by naming mask planes."""
    if any(hdu.kind in LSST_WORDS for hdu in hdus):
        return True
    names = {hdu.name for hdu in hdus}
    if "IMAGE" in names and names & {"MASK", "VARIANCE"}:
        return True
    return any(key.upper().startswith("MP_") for hdu in hdus if hdu.is_image for key in hdu.header)


def _locate_lsst(hdus: Sequence[Hdu], where: str) -> PlaneMap:
    first = 0 if hdus[0].is_image else 1
    image, mask, variance = (_lsst_plane(hdus, word, first + n, where) for n, word in enumerate(LSST_WORDS))
    if image is None:
        raise InputError(f"{where}: no IMAGE plane, though the file has the LSST layout")
    return PlaneMap("lsst", image, mask, variance, "variance", _psf_extension(hdus))


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


def _locate_plain(hdus: Sequence[Hdu], where: str, image: int | None) -> PlaneMap:
    if image is None:
        pictures = [hdu for hdu in hdus if hdu.is_image]
        if not pictures:
            raise InputError(f"{where}: no two-dimensional image in the file")
        image = next((hdu.index for hdu in pictures if hdu.name == "SCI"), pictures[0].index)
    chosen = hdus[image]
    beside = {
        hdu.name: hdu.index
        for hdu in reversed(hdus)
        if hdu.is_image and hdu.index != image and hdu.version == chosen.version
    }
    if chosen.name in (*NOISE_NAMES, *MASK_NAMES):
        # Such a plane was asked for by name: it is the picture, not the companion of one.
        return PlaneMap("plain", image)
    noise = next((name for name in NOISE_NAMES if name in beside), None)
    mask = next((beside[name] for name in MASK_NAMES if name in beside), None)
    kind = NOISE_NAMES[noise] if noise else "variance"
    return PlaneMap("plain", image, mask, beside[noise] if noise else None, kind, _psf_extension(hdus))


def _psf_extension(hdus: Sequence[Hdu]) -> int | None:
    return next((hdu.index for hdu in hdus if hdu.name == "PSF" and hdu.is_image), None)


def origin_from_header(header: Mapping[str, Any]) -> tuple[int, int]:
    """Parent position of the first stored pixel: the WCS "A", where both its reference pixels are 1."""
    if header.get("CRPIX1A") != 1 or header.get("CRPIX2A") != 1:
        return 0, 0
    return tuple(int(np.floor(float(header.get(f"CRVAL{axis}A", 0)) + 0.5)) for axis in (1, 2))


def mask_planes_from_header(header: Mapping[str, Any], where: str) -> dict[str, int]:
    """Bit of each mask plane from the cards ``MP_<NAME> = bit``.

    Raises
    ------
    InputError
        If a name appears twice, two names share a bit, or a bit is not within 0..31.
    """
    planes: dict[str, int] = {}
    for key in header:
        if not key.upper().startswith("MP_"):
            continue
        name = key[3:].strip().upper()
        if name in planes:
            raise InputError(f"{where}: mask plane {name} is given twice")
        bit = header[key]
        if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit < 32:
            raise InputError(f"{where}: mask plane {name} has bit {bit!r}, allowed are 0 to 31")
        if bit in planes.values():
            other = next(known for known, used in planes.items() if used == bit)
            raise InputError(f"{where}: mask planes {other} and {name} share bit {bit}")
        planes[name] = bit
    return planes


def integer_mask(values: NDArray, where: str) -> NDArray:
    """Mask values as integers; a mask stored as whole floating point numbers is accepted.

    Raises
    ------
    InputError
        If there are other values.
    """
    if values.dtype.kind in "iu":
        return values
    whole = np.nan_to_num(values, nan=0.5, posinf=0.5, neginf=0.5)
    if (whole != np.floor(whole)).any() or np.abs(whole).max() >= 2**31:
        raise InputError(f"{where}: a mask must hold whole numbers below 2**31")
    return whole.astype(np.int64)


def lsst_mask(values: NDArray, planes: Mapping[str, int], where: str) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Mask as int32 with all its set bits named.

    Set bits that have no card are kept as planes ``UNNAMED<bit>``, with a warning.

    Raises
    ------
    InputError
        If a value needs more than 32 bits.
    """
    values = integer_mask(values, where)
    if values.dtype.itemsize > 4 and ((values < -(2**31)) | (values >= 2**32)).any():
        raise InputError(f"{where}: mask values need more than 32 bits")
    mask = values.astype(np.uint32).view(np.int32)
    used = int(np.bitwise_or.reduce(mask, axis=None).view(np.uint32))
    planes = dict(planes)
    for bit in sorted(set(range(32)) - set(planes.values())):
        if used >> bit & 1:
            name = f"UNNAMED{bit}"
            while name in planes:
                name += "_"
            log.warning("%s: mask bit %d is set but has no name; kept as %s", where, bit, name)
            planes[name] = bit
    return mask, planes


def mapped_mask(
    values: NDArray, mask_map: Mapping[int, str] | None, where: str
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Mask from quality flags: pixels that share a bit with a key of the map get its plane.

    Parameters
    ----------
    values : ndarray, (H, W)
        Flags.
    mask_map : mapping of int to str, optional
        Plane of each flag *value* (4 is bit 2). Without it every value but 0 means BAD.
    where : str
        Name of the file, for messages.

    Returns
    -------
    mask : ndarray, (H, W), int32
    planes : dict of str to int

    Raises
    ------
    InputError
        If the values are not whole numbers.
    """
    values = integer_mask(values, where).astype(np.int64)
    planes = dict(DEFAULT_PLANES)
    mask = np.zeros(values.shape, np.uint32)
    if mask_map is None:
        flagged = values != 0
        mask[flagged] = 1 << planes["BAD"]
        log.info("%s: no mask plane names and no mask map: %d pixels that are not 0 are BAD", where, flagged.sum())
        return mask.view(np.int32), planes
    known = 0
    for flag, name in mask_map.items():
        if name not in planes:
            planes[name] = free_bit(planes)
        mask[(values & flag) != 0] |= np.uint32(1 << planes[name])
        known |= flag
    ignored = np.count_nonzero(values & ~known)
    if ignored:
        log.info("%s: %d pixels have mask bits that are not in the mask map; those bits are ignored", where, ignored)
    return mask.view(np.int32), planes


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
        return values.astype(np.float32), no_data
