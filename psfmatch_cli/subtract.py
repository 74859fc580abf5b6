"""The difference image: science - (matched template + background), with mask and variance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from psfmatch_cli.errors import BoxMismatchError
from psfmatch_cli.exposure import MaskedImage, remap_mask
from psfmatch_cli.kernel import BackgroundModel


def subtract(target: MaskedImage, convolved: MaskedImage, background: BackgroundModel) -> MaskedImage:
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

    Raises
    ------
    BoxMismatchError
        If the two do not cover the same pixels.
    """
    if target.box != convolved.box:
        raise BoxMismatchError(f"cannot subtract: the target covers {target.box}, the convolved image {convolved.box}")
    planes = dict(target.with_planes(["NO_DATA"]).planes)
    mask = remap_mask(convolved.mask, convolved.planes, planes) | target.mask
    with np.errstate(invalid="ignore"):
        image = target.image - (convolved.image + background.image(target.box))
        variance = target.variance + convolved.variance
    made = MaskedImage(image, mask, variance, planes, target.xy0)
    mask[~np.isfinite(image)] |= np.int32(made.bits(["NO_DATA"]))
    return made


def rescaled(difference: MaskedImage, factor: float) -> MaskedImage:
    """The difference times a factor, its variance times the factor squared."""
    scale = np.float32(factor)
    return replace(difference, image=difference.image * scale, variance=difference.variance * scale**2)
