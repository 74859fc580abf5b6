"""The difference image: science - (matched template + background), with mask and variance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from psfmatch_cli.blocks import each, row_bands
from psfmatch_cli.errors import BoxMismatchError
from psfmatch_cli.exposure import Box, MaskedImage, remap_mask
from psfmatch_cli.kernel import BackgroundModel


def subtract(
    target: MaskedImage,
    convolved: MaskedImage,
    background: BackgroundModel,
    *,
    without: Iterable[str] = (),
    threads: int = 1,
) -> MaskedImage:
    """``target - (convolved + background)``; variances add, masks are OR-ed by plane name.

    Pixels without a value are NO_DATA.

    Parameters
    ----------
    target : MaskedImage
        The image that was matched to.
    convolved : MaskedImage
        The other image, convolved with the matching kernel.
    background : BackgroundModel
        Differential background at parent positions.
    without : iterable of str, optional
        Planes of the target to leave out.
    threads : int
        Bands of rows worked on at a time.

    Raises
    ------
    BoxMismatchError
        If the two do not cover the same pixels.
    """
    if target.box != convolved.box:
        raise BoxMismatchError(f"cannot subtract: the target covers {target.box}, the convolved image {convolved.box}")
    planes = dict(target.with_planes(["NO_DATA"]).planes)
    # Names the planes of both; the bands then find them there.
    remap_mask(convolved.mask[:0], convolved.planes, planes)
    arrays = (np.empty(target.shape, dtype) for dtype in (np.float32, np.int32, np.float32))
    made = MaskedImage(*arrays, planes, target.xy0)
    no_data, kept = np.int32(made.bits(["NO_DATA"])), ~np.int32(target.bits(without))

    def fill(rows: slice) -> None:
        image, mask = made.image[rows], remap_mask(convolved.mask[rows], convolved.planes, planes)
        mask |= target.mask[rows] & kept
        with np.errstate(invalid="ignore"):
            np.add(convolved.image[rows], background.image(band(target, rows)), out=image)
            np.subtract(target.image[rows], image, out=image)
            np.add(target.variance[rows], convolved.variance[rows], out=made.variance[rows])
        mask[~np.isfinite(image)] |= no_data
        made.mask[rows] = mask

    each(fill, row_bands(target.shape), threads)
    return made


def band(pixels: MaskedImage, rows: slice) -> Box:
    """Parent pixels of some rows."""
    x0, y0 = pixels.xy0
    return Box(x0, y0 + rows.start, x0 + pixels.shape[1] - 1, y0 + rows.stop - 1)


def join_planes(difference: MaskedImage, other: MaskedImage, names: Iterable[str], threads: int = 1) -> MaskedImage:
    """The difference with these planes of another image OR-ed into its mask, which is changed, by name."""
    source = {name: other.planes[name] for name in names if name in other.planes}
    planes, bits = dict(difference.planes), np.int32(other.bits(source))
    remap_mask(other.mask[:0], source, planes)

    def join(rows: slice) -> None:
        difference.mask[rows] |= remap_mask(other.mask[rows] & bits, source, planes)

    each(join, row_bands(difference.shape), threads)
    return replace(difference, planes=planes)


def less_background(difference: MaskedImage, background: BackgroundModel, threads: int = 1) -> MaskedImage:
    """The difference, whose image is changed, less a background."""

    def reduce(rows: slice) -> None:
        difference.image[rows] -= background.image(band(difference, rows))

    each(reduce, row_bands(difference.shape), threads)
    return difference


def rescaled(difference: MaskedImage, factor: float, variance_factor: float = 1.0) -> MaskedImage:
    """The difference, which is changed, times a factor; its variance times the factor squared and one of its own."""
    if factor != 1.0:
        np.multiply(difference.image, np.float32(factor), out=difference.image)
    if factor**2 * variance_factor != 1.0:
        np.multiply(difference.variance, np.float32(factor**2 * variance_factor), out=difference.variance)
    return difference
