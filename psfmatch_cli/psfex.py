"""PSF models of PSFEx: a polynomial of the position whose coefficients are images.

PSF(x, y) = sum of x^i y^j times an image, the power i running fastest (i + j <= degree), with x and y shifted by
POLZERO and divided by POLSCAL (Bertin 2011, ASP Conf. 442, 435). One pixel of these images is PSF_SAMP image pixels;
its values are those of the PSF as the image's pixels see it, so that they are interpolated, not summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError

COLUMN = "PSF_MASK"
#: Pixels of the image per pixel of a PSF: beyond, one of the two scales is wrong.
SAMPLINGS = (0.01, 20.0)
#: Half the side, image pixels, that a resampled PSF has at most.
LARGEST_HALF = 250


@dataclass(frozen=True)
class PsfexModel:
    """A model as the file has it.

    Parameters
    ----------
    coefficients : ndarray, (n, h, w), float64
        Images of the polynomial's terms.
    degree : int
    zero, scale : (float, float)
        Of the positions x, y (FITS pixels, counted from 1).
    sampling : float
        Image pixels per pixel of the model.
    """

    coefficients: NDArray[np.float64]
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]
    sampling: float

    def image(self, x: float, y: float) -> NDArray[np.float64]:
        """PSF at a position (0-based pixels), on image pixels, odd sides, centred, sum 1.

        Parameters
        ----------
        x, y : float
            Array indices.
        """
        return resampled(self._fine(x, y), self.sampling)

    def _fine(self, x: float, y: float) -> NDArray[np.float64]:
        u, v = ((value + 1.0 - zero) / scale for value, zero, scale in zip((x, y), self.zero, self.scale, strict=True))
        terms = [u**i * v**j for j in range(self.degree + 1) for i in range(self.degree + 1 - j)]
        return np.tensordot(terms, self.coefficients, axes=1)


def psfex_model(header: Mapping[str, Any], masks: NDArray, where: str) -> PsfexModel:
    """Model from the header of the table and the first row of its column PSF_MASK.

    Raises
    ------
    InputError
        If the header and the column contradict each other, or the model depends on something else than the position.
    """
    coefficients = np.asarray(masks, np.float64)
    try:
        axes = int(header.get("POLNAXIS", 0))
        degree = int(header["POLDEG1"]) if axes else 0
        zero = tuple(float(header[f"POLZERO{n}"]) if axes else 0.0 for n in (1, 2))
        scale = tuple(float(header[f"POLSCAL{n}"]) if axes else 1.0 for n in (1, 2))
        sampling = float(header["PSF_SAMP"])
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: not a PSFEx model ({error} is missing or no number)") from error
    names = [str(header.get(f"POLNAME{n}", "")).strip().upper() for n in (1, 2)]
    if axes and not (axes == 2 and names[0].startswith("X") and names[1].startswith("Y")):
        raise InputError(f"{where}: the PSFEx model depends on {', '.join(names)}; expected the position on the image")
    n_terms = (degree + 1) * (degree + 2) // 2
    if coefficients.ndim != 3 or len(coefficients) != n_terms or sampling <= 0 or 0 in scale:
        raise InputError(
            f"{where}: a PSFEx model of degree {degree} has {n_terms} images and a positive sampling, "
            f"got shape {coefficients.shape} and PSF_SAMP {sampling:g}"
        )
    return PsfexModel(coefficients, degree, zero, scale, sampling)


def psfex_cards(model: PsfexModel) -> list[tuple[str, Any, str]]:
    """Header cards of the table of a model, as `psfex_model` reads them.

    Parameters
    ----------
    model : PsfexModel
    """
    n_terms, height, width = model.coefficients.shape
    cards: list[tuple[str, Any, str]] = [("POLNAXIS", 2, "parameters the PSF depends on")]
    for n, name in enumerate("XY", start=1):
        cards += [
            (f"POLGRP{n}", 1, "group of the parameter"),
            (f"POLNAME{n}", f"{name}_IMAGE", "parameter"),
            (f"POLZERO{n}", model.zero[n - 1], "[pix] its offset"),
            (f"POLSCAL{n}", model.scale[n - 1], "[pix] its scale"),
        ]
    cards += [("POLNGRP", 1, "groups of parameters"), ("POLDEG1", model.degree, "degree of the polynomial")]
    cards += [("PSF_SAMP", model.sampling, "[pix] sampling"), ("PSFNAXIS", 3, "axes of the PSF")]
    axes = enumerate((width, height, n_terms), start=1)
    return cards + [(f"PSFAXIS{n}", length, f"length of axis {n}") for n, length in axes]


def resampled(fine: NDArray[np.float64], sampling: float, *, average: bool = False) -> NDArray[np.float64]:
    """A PSF on pixels of another size: odd sides, centred on the same point, sum 1.

    Parameters
    ----------
    fine : ndarray, (h, w)
        The PSF, centred on the pixel ``(h // 2, w // 2)``.
    sampling : float
        Side of its pixels in new pixels.
    average : bool
        Average over the area of each new pixel: for values that are light per small pixel. Otherwise interpolate: for
        values that hold the response of a new pixel already. Both by cubic splines.

    Raises
    ------
    InputError
        If the pixels differ beyond `SAMPLINGS`.
    """
    if not SAMPLINGS[0] <= sampling <= SAMPLINGS[1]:
        raise InputError(
            f"one pixel of the PSF would be {sampling:.4g} pixels of the image, expected {SAMPLINGS[0]} to "
            f"{SAMPLINGS[1]:g}; check the pixel scales, or give the FWHM instead"
        )
    from scipy import ndimage

    middle = np.array(fine.shape) // 2
    half = min(max(1, int(np.floor(min(middle) * sampling))), LARGEST_HALF)
    n = max(1, int(np.ceil(2.0 / sampling))) if average else 1
    within = (np.arange(n) + 0.5) / n - 0.5
    offsets = (np.arange(-half, half + 1)[:, None] + within).ravel() / sampling
    y, x = np.meshgrid(middle[0] + offsets, middle[1] + offsets, indexing="ij")
    values = ndimage.map_coordinates(fine, [y, x], order=3, mode="constant")
    side = 2 * half + 1
    image = values.reshape(side, n, side, n).mean(axis=(1, 3))
    return image / image.sum()
