"""Masked images and exposures: what every stage takes and returns.

Conventions, used everywhere: arrays are ``[y, x]``; the centre of the first stored pixel is at the
parent position ``xy0 = (x0, y0)``, so that parent = array index + xy0; pixel centres lie at integers.
Mask planes are known by name, their bit is local to one masked image. Variance is in image units
squared. The celestial WCS refers to array indices (0-based), not to parent positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.arrays import bits_of, can_be_used, counts_of, is_variance
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.facts import FileFacts

if TYPE_CHECKING:
    from psfmatch_cli.psf import Psf

#: The planes that are always known, and the bits that new masks use.
DEFAULT_PLANES: dict[str, int] = {
    "BAD": 0,
    "SAT": 1,
    "INTRP": 2,
    "CR": 3,
    "EDGE": 4,
    "DETECTED": 5,
    "DETECTED_NEGATIVE": 6,
    "SUSPECT": 7,
    "NO_DATA": 8,
}
#: Rows looked at together where a whole plane would not fit into the processor's cache.
STRIP_ROWS = 64
#: What a search marks: sources brighter and darker than the sky.
DETECTED_PLANES = ("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True)
class Box:
    """An integer box of parent pixels; both ends belong to it."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def width(self) -> int:
        return self.x_max - self.x_min + 1

    @property
    def height(self) -> int:
        return self.y_max - self.y_min + 1

    @property
    def center(self) -> tuple[float, float]:
        """Parent position (x, y) of the middle."""
        return 0.5 * (self.x_min + self.x_max), 0.5 * (self.y_min + self.y_max)

    def contains(self, x: float, y: float) -> bool:
        """Whether the pixel nearest to (x, y) lies in the box."""
        ix, iy = nearest_pixel(x), nearest_pixel(y)
        return self.x_min <= ix <= self.x_max and self.y_min <= iy <= self.y_max

    def slices(self, xy0: tuple[int, int]) -> tuple[slice, slice]:
        """Index expression ``[y, x]`` of the box in an array whose first pixel is at xy0."""
        x0, y0 = xy0
        return (
            slice(self.y_min - y0, self.y_max - y0 + 1),
            slice(self.x_min - x0, self.x_max - x0 + 1),
        )


def nearest_pixel(value: float) -> int:
    """Pixel whose centre is nearest to a position; halves go up."""
    return int(np.floor(value + 0.5))


@dataclass(frozen=True)
class MaskedImage:
    """Image, mask and variance of one shape.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    mask : ndarray, (H, W), int32
        Bit field; plane ``name`` is bit ``planes[name]``.
    variance : ndarray, (H, W), float32
        Variance of each pixel, counts squared.
    planes : mapping of str to int
        Bit of each mask plane.
    xy0 : (int, int)
        Parent position (x0, y0) of the first stored pixel.

    Raises
    ------
    InputError
        If the three planes differ in shape or are not two-dimensional.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.int32]
    variance: NDArray[np.float32]
    planes: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_PLANES))
    xy0: tuple[int, int] = (0, 0)

    def __post_init__(self):
        shape = np.shape(self.image)
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"an image must have two dimensions of at least 1 pixel, got shape {shape}")
        for name, plane in (("mask", self.mask), ("variance", self.variance)):
            if np.shape(plane) != shape:
                raise InputError(f"{name} has shape {np.shape(plane)}, the image {shape}; they must be equal")

    @classmethod
    def from_arrays(
        cls,
        image,
        mask=None,
        variance=None,
        planes: Mapping[str, int] | None = None,
        xy0: tuple[int, int] = (0, 0),
    ) -> MaskedImage:
        """Masked image of the package's types from any arrays.

        A missing mask is empty, a missing variance zero (which no fit accepts). Pixels that are not finite, are
        masked in a masked array, or hold more than `psfmatch_cli.arrays.LARGEST_COUNTS` get NO_DATA and are NaN; a
        variance that is not positive, not finite or beyond the square of that gets BAD where the image has counts.

        Raises
        ------
        InputError
            If an array holds something else than real numbers, a mask other values than whole numbers of 32 bits, or
            the shapes differ.
        """
        planes = dict(planes or DEFAULT_PLANES)
        for name in ("NO_DATA", "BAD"):
            if name not in planes:
                planes[name] = free_bit(planes)
        image = counts_of(image, "an image")
        mask = np.zeros(image.shape, np.int32) if mask is None else bits_of(mask)
        variance = np.zeros(image.shape, np.float32) if variance is None else counts_of(variance, "a variance")
        made = cls(image, mask, variance, planes, xy0)
        known = can_be_used(image)
        mask[~known] |= made.bits(["NO_DATA"])
        image[~known] = np.nan
        mask[known & ~is_variance(variance)] |= made.bits(["BAD"])
        return made

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape

    @property
    def box(self) -> Box:
        """The parent pixels that are stored."""
        (x0, y0), (height, width) = self.xy0, self.shape
        return Box(x0, y0, x0 + width - 1, y0 + height - 1)

    def bits(self, names: Iterable[str]) -> int:
        """Bits of the named planes, OR-ed; a standard plane that this mask does not have counts 0.

        Raises
        ------
        UsageError
            If a name is neither here nor one of `DEFAULT_PLANES`.
        """
        value = 0
        for name in names:
            if name in self.planes:
                value |= 1 << self.planes[name]
            elif name not in DEFAULT_PLANES:
                known = ", ".join(sorted({*self.planes, *DEFAULT_PLANES}))
                raise UsageError(f"unknown mask plane {name!r}; known are {known}")
        # Bit 31 is the sign of an int32: hand out the signed value, so that `mask & bits` works.
        return value - (1 << 32) if value >= 1 << 31 else value

    def flagged(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Pixels with any of the named planes, (H, W)."""
        return (self.mask & self.bits(names)) != 0

    def unusable(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Pixels with any of the named planes, (H, W), where interpolation repairs BAD and CR.

        A pixel that is BAD or CR but also INTRP holds an interpolated value and counts as usable.
        """
        names = list(names)
        repaired = self.bits(name for name in names if name in ("BAD", "CR"))
        hard = self.bits(name for name in names if name not in ("BAD", "CR"))
        interpolated = self.bits(["INTRP"])
        bad = np.empty(self.shape, bool)
        # In strips that stay in the processor's cache: a third of the time of whole planes, and no memory.
        for top in range(0, len(bad), STRIP_ROWS):
            strip = slice(top, top + STRIP_ROWS)
            mask = self.mask[strip]
            np.not_equal(mask & hard, 0, out=bad[strip])
            bad[strip] |= ((mask & repaired) != 0) & ((mask & interpolated) == 0)
        return bad

    def with_planes(self, names: Iterable[str]) -> MaskedImage:
        """The same pixels with bits given to the named planes where they had none."""
        planes = dict(self.planes)
        for name in names:
            if name not in planes:
                planes[name] = free_bit(planes)
        return replace(self, planes=planes)

    def without_planes(self, names: Iterable[str]) -> MaskedImage:
        """The same pixels with nothing in the named planes, which stay known; itself if nothing was."""
        bits = np.int32(self.bits(names))
        return replace(self, mask=self.mask & ~bits) if (self.mask & bits).any() else self

    def cutout(self, box: Box) -> MaskedImage:
        """View on the box; no copy.

        Raises
        ------
        InputError
            If the box is not inside the image.
        """
        here = self.box
        if not (
            here.x_min <= box.x_min <= box.x_max <= here.x_max and here.y_min <= box.y_min <= box.y_max <= here.y_max
        ):
            raise InputError(f"{box} is not inside the image, {here}")
        at = box.slices(self.xy0)
        return replace(
            self,
            image=self.image[at],
            mask=self.mask[at],
            variance=self.variance[at],
            xy0=(box.x_min, box.y_min),
        )

    def copy(self) -> MaskedImage:
        """Deep copy of the three planes."""
        return replace(self, image=self.image.copy(), mask=self.mask.copy(), variance=self.variance.copy())


def free_bit(planes: Mapping[str, int]) -> int:
    """Lowest bit below 32 that no plane uses."""
    used = set(planes.values())
    for bit in range(32):
        if bit not in used:
            return bit
    raise InputError("all 32 mask bits are in use; no plane can be added")


def remap_mask(mask: NDArray[np.int32], source: Mapping[str, int], target: dict[str, int]) -> NDArray[np.int32]:
    """Mask with the bits of `source` moved, by name, to those of `target`.

    Planes that `target` lacks are added to it (in place) at its lowest free bits.
    """
    for name in source:
        if name not in target:
            target[name] = free_bit(target)
    if all(target[name] == bit for name, bit in source.items()):
        return mask.copy()
    bits = mask.view(np.uint32)
    out = np.zeros(mask.shape, np.uint32)
    for name, bit in source.items():
        out |= ((bits >> np.uint32(bit)) & np.uint32(1)) << np.uint32(target[name])
    return out.view(np.int32)


@dataclass(frozen=True)
class NoiseModel:
    """Where the variance plane came from, for the log and the metadata.

    Parameters
    ----------
    origin : str
        ``"plane"``, ``"variance file"``, ``"noise file"``, ``"weight file"``, ``"gain"``, ``"sky"``, ``"none"``.
    gain, read_noise, sky_level, saturation : float or None
        In e-/count, e-, counts, counts; None where not used or not known.
    sources : mapping of str to str
        For each of these quantities, where its value came from (a header card, an option, a measurement).
    """

    origin: str = "none"
    gain: float | None = None
    read_noise: float | None = None
    sky_level: float | None = None
    saturation: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exposure:
    """A masked image with what is known about it.

    Parameters
    ----------
    masked_image : MaskedImage
        The pixels.
    wcs : astropy.wcs.WCS or None
        Celestial, on 0-based array indices.
    psf : Psf or None
        Image of a point source.
    header : mapping-like (astropy.io.fits.Header) or None
        Header cards of the file (primary and image merged), copied through.
    fluxmag0 : float or None
        Counts of a magnitude 0 source.
    filter : str or None
        Filter name.
    noise : NoiseModel
        Where the variance came from.
    name : str
        For messages: the file's name, or a role.
    facts : FileFacts
        What the headers said, and where it stood.
    """

    masked_image: MaskedImage
    wcs: Any = None
    psf: Psf | None = None
    header: Any = None
    fluxmag0: float | None = None
    filter: str | None = None
    noise: NoiseModel = field(default_factory=NoiseModel)
    name: str = "exposure"
    facts: FileFacts = field(default_factory=FileFacts)

    @property
    def image(self) -> NDArray[np.float32]:
        return self.masked_image.image

    @property
    def mask(self) -> NDArray[np.int32]:
        return self.masked_image.mask

    @property
    def variance(self) -> NDArray[np.float32]:
        return self.masked_image.variance

    @property
    def planes(self) -> Mapping[str, int]:
        return self.masked_image.planes

    @property
    def xy0(self) -> tuple[int, int]:
        return self.masked_image.xy0

    @property
    def shape(self) -> tuple[int, int]:
        return self.masked_image.shape

    @property
    def box(self) -> Box:
        return self.masked_image.box

    def with_pixels(self, masked_image: MaskedImage, **changes) -> Exposure:
        """The same exposure with other pixels (and other attributes, by name)."""
        return replace(self, masked_image=masked_image, **changes)
