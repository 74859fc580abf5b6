"""Stamps: equal cut-outs of both images around kernel candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.stacks import unfit_pixels


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
    template, science, template_variance, science_variance : ndarray, (N, S, S), float64
    template_usable, science_usable, template_judged, science_judged : ndarray, (N, S, S), bool
    """

    rows: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    template: NDArray[np.float64]
    science: NDArray[np.float64]
    template_variance: NDArray[np.float64]
    science_variance: NDArray[np.float64]
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
    shape = (len(rows), side, side)
    images = [np.zeros(shape), np.zeros(shape), np.ones(shape), np.ones(shape)]
    planes = [template.image, science.image, template.variance, science.variance]
    usable, judged = ([np.zeros(shape, bool), np.zeros(shape, bool)] for _ in range(2))
    for k, row in enumerate(rows):
        box = Box(*(int(table[f"box_{name}"][row]) for name in ("x0", "y0", "x1", "y1")))
        dy, dx = (side - box.height) // 2, (side - box.width) // 2
        into = (k, slice(dy, dy + box.height), slice(dx, dx + box.width))
        at = box.slices(science.xy0)
        for out, judge, image in zip(usable, judged, (template, science), strict=True):
            stamp = image.cutout(box)
            out[into] = ~unfit_pixels(stamp, bad_mask_planes)
            judge[into] = out[into] & ~stamp.flagged(unjudged_planes)
        for out, plane, good in zip(images, planes, 2 * usable, strict=True):
            out[into] = np.where(good[into], plane[at], out[into])
    positions = (np.asarray(table[k], float)[rows] for k in ("x", "y"))
    return Stamps(rows, *positions, *images, *usable, *judged)
