"""Noise of SDSS frames, whose headers tell neither gain nor read noise.

The gain and the variance of read noise and dark current belong to the CCD, i.e. the band and the camera column, and
to the time; the tables are those of the data model of the frames. A calibrated frame is in nanomaggies, its sky is
subtracted: calibration (nanomaggies per count, one value per column) and sky (counts) are in its HDUs 1 and 2. A raw
one (fpC) is in counts and holds a pedestal, SOFTBIAS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.detector import Claims

_BANDS = "ugriz"
#: e-/count, by camera column and band.
_GAIN = (
    (1.62, 3.32, 4.71, 5.165, 4.745),
    (1.825, 3.855, 4.6, 6.565, 5.155),
    (1.59, 3.845, 4.72, 4.86, 4.885),
    (1.6, 3.995, 4.76, 4.885, 4.775),
    (1.47, 4.05, 4.725, 4.64, 3.48),
    (2.17, 4.035, 4.895, 4.76, 4.69),
)
#: Counts squared.
_DARK_VARIANCE = (
    (9.61, 15.6025, 1.8225, 7.84, 0.81),
    (12.6025, 1.44, 1.0, 6.25, 1.0),
    (8.7025, 1.3225, 1.3225, 4.6225, 1.0),
    (12.6025, 1.96, 1.3225, 7.5625, 12.6025),
    (9.3025, 1.1025, 0.81, 7.84, 2.1025),
    (7.0225, 1.8225, 0.9025, 5.0625, 1.21),
)
#: What was different up to a run: (camera column, band) -> value.
_EARLY_GAIN, _LAST_EARLY_GAIN_RUN = {(2, "u"): 1.595}, 1100
_EARLY_DARK, _LAST_EARLY_DARK_RUN = {(2, "i"): 5.76, (4, "i"): 6.25, (4, "z"): 9.61, (5, "z"): 1.8225}, 1500


def ccd_noise(band: str, column: int, run: int) -> tuple[float, float] | None:
    """Gain (e-/count) and dark variance (counts squared) of a CCD; None where there is no such CCD."""
    if band not in _BANDS or len(band) != 1 or not 1 <= column <= 6:
        return None
    gain, dark = (table[column - 1][_BANDS.index(band)] for table in (_GAIN, _DARK_VARIANCE))
    if run <= _LAST_EARLY_GAIN_RUN:
        gain = _EARLY_GAIN.get((column, band), gain)
    if run <= _LAST_EARLY_DARK_RUN:
        dark = _EARLY_DARK.get((column, band), dark)
    return gain, dark


def frame_claims(header: Mapping[str, Any], calibration: NDArray | None = None, sky: NDArray | None = None) -> Claims:
    """Gain, dark variance, subtracted sky and pedestal of a frame, in the units of its image.

    Parameters
    ----------
    header : mapping
        Cards of the frame.
    calibration : ndarray, optional
        Nanomaggies per count of each column, of a calibrated frame.
    sky : ndarray, optional
        Counts of sky that were subtracted from it.
    """
    run, column = header.get("RUN"), header.get("CAMCOL")
    if not isinstance(run, int) or not isinstance(column, int):
        return {}
    noise = ccd_noise(str(header.get("FILTER", "")).strip(), column, run)
    if noise is None:
        return {}
    scale = 1.0 if calibration is None else float(np.median(calibration))
    if not 0 < scale < math.inf:
        return {}
    of = f"table of SDSS CCDs, column {column}"
    claims = {"gain": (noise[0] / scale, of), "dark_variance": (noise[1] * scale**2, of)}
    if sky is not None:
        claims["sky_level"] = (float(np.median(sky)) * scale, "HDU 2")
    pedestal = header.get("SOFTBIAS")
    if calibration is None and isinstance(pedestal, (int, float)):
        claims["pedestal"] = (float(pedestal), "header SOFTBIAS")
    return claims
