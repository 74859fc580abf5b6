"""Stamps: equal cut-outs of both images around kernel candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.stacks import unfit_pixels

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class Stamps:
    """Equal cut-outs of both images around N candidates.

    Pixels that are bad, or beyond a cut box, are unusable; their values are 0 and their variance 1. Of the
    others those are judged that residual statistics count.

    Parameters
    ----------
    rows : ndarray, (N,)
        Row of each candidate in the table.
    x, y : ndarray, (N,)
        Parent positions of the candidates.
    template, science, template_variance, science_variance : ndarray, (N, S, S), float32 or float64
        In the precision of the images.
    template_usable, science_usable, template_judged, science_judged : ndarray, (N, S, S), bool
    """

    rows: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    template: NDArray
    science: NDArray
    template_variance: NDArray
    science_variance: NDArray
    template_usable: NDArray[np.bool_]
    science_usable: NDArray[np.bool_]
    template_judged: NDArray[np.bool_]
    science_judged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Stamps:
        return Stamps(*(getattr(self, f.name)[index] for f in fields(self)))


def cut_stamps(
    candidates: CandidateSet,
    rows: NDArray[np.intp],
    template: MaskedImage,
    science: MaskedImage,
    bad_mask_planes: Iterable[str],
    unjudged_planes: Iterable[str] = (),
) -> Stamps:
    """Cut-outs of both images around the given rows of the candidate table.

    Parameters
    ----------
    candidates : CandidateSet
    rows : ndarray, (N,)
    template, science : MaskedImage
    bad_mask_planes : iterable of str
        Planes of unusable pixels.
    unjudged_planes : iterable of str
        Further planes that residual statistics leave out.
    """
    table, side = candidates.table, 2 * candidates.half_size + 1
    cuts = [_Cut.of(*corners, side, science.xy0) for corners in _corners(table, rows)]
    inside = np.zeros((len(rows), side, side), bool)
    for k, cut in enumerate(cuts):
        inside[k][cut.into] = True
    images, variances, usable, judged = zip(
        *(_pixels(image, cuts, inside, bad_mask_planes, unjudged_planes) for image in (template, science)), strict=True
    )
    positions = (np.asarray(table[k], float)[rows] for k in ("x", "y"))
    return Stamps(rows, *positions, *images, *variances, *usable, *judged)


@dataclass(frozen=True)
class _Cut:
    """Where the box of a candidate is in the images, and where in its stamp: in the middle."""

    at: tuple[slice, slice]
    into: tuple[slice, slice]

    @classmethod
    def of(cls, x0: int, y0: int, x1: int, y1: int, side: int, xy0: tuple[int, int]) -> _Cut:
        box = Box(x0, y0, x1, y1)
        dy, dx = (side - box.height) // 2, (side - box.width) // 2
        return cls(box.slices(xy0), (slice(dy, dy + box.height), slice(dx, dx + box.width)))


def _corners(table: Table, rows: NDArray[np.intp]) -> list[list[int]]:
    """Corners (x0, y0, x1, y1) of the boxes in these rows."""
    return np.column_stack([np.asarray(table[f"box_{name}"])[rows] for name in ("x0", "y0", "x1", "y1")]).tolist()


def _pixels(
    image: MaskedImage,
    cuts: list[_Cut],
    inside: NDArray[np.bool_],
    bad_mask_planes: Iterable[str],
    unjudged_planes: Iterable[str],
) -> tuple[NDArray, NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Image, variance, usable and judged pixels of the stamps of one image; all stamps as one tall image."""
    tall = (inside.size // inside.shape[2], inside.shape[2])
    planes = []
    for plane in (image.image, image.mask, image.variance):
        out = np.zeros(inside.shape, plane.dtype)
        for k, cut in enumerate(cuts):
            out[k][cut.into] = plane[cut.at]
        planes.append(out.reshape(tall))
    stamps = replace(image, image=planes[0], mask=planes[1], variance=planes[2])
    usable = inside & ~unfit_pixels(stamps, bad_mask_planes).reshape(inside.shape)
    judged = usable & ~stamps.flagged(unjudged_planes).reshape(inside.shape)
    values = np.where(usable, stamps.image.reshape(inside.shape), 0.0)
    variance = np.where(usable, stamps.variance.reshape(inside.shape), 1.0)
    return values, variance, usable, judged
