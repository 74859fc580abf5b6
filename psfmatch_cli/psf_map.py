"""How the FWHM changes over an image: the measured stars, summarised in a grid of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from psfmatch_cli.exposure import Box
from psfmatch_cli.psf_measure import MAD_TO_SIGMA, MeasuredPsf

if TYPE_CHECKING:
    from astropy.table import Table

#: Stars that a cell should have on the average, and cells along the longer side at most.
_STARS_PER_CELL, _MOST_CELLS = 8, 5


def fwhm_map(measured: MeasuredPsf, box: Box, cells: tuple[int, int] | None = None) -> Table:
    """FWHM of the stars of each cell, and of the smooth map through all of them.

    Parameters
    ----------
    measured : MeasuredPsf
    box : Box
        Of the image.
    cells : (int, int), optional
        Rows and columns of cells; default: as many nearly square ones as the number of stars supports.

    Returns
    -------
    astropy.table.Table
        One row per cell, from the lower left on: ``x, y`` (parent position of its middle), ``n_stars``, ``fwhm`` and
        ``fwhm_err`` (median of its stars and the standard error of that, pixels; NaN without stars, the error also
        with one) and ``fwhm_model`` (of the smooth map in its middle).
    """
    from astropy.table import Table

    rows, columns = cells or _cells(measured.n_stars, box)
    star_x, star_y, fwhm = (np.asarray(measured.stars[name]) for name in ("x", "y", "fwhm"))
    column = np.clip(np.floor((star_x - box.x_min + 0.5) / box.width * columns), 0, columns - 1).astype(int)
    row = np.clip(np.floor((star_y - box.y_min + 0.5) / box.height * rows), 0, rows - 1).astype(int)
    values = [fwhm[(row == j) & (column == i)] for j in range(rows) for i in range(columns)]
    j, i = (index.ravel() for index in np.indices((rows, columns)))
    x = box.x_min - 0.5 + (i + 0.5) * box.width / columns
    y = box.y_min - 0.5 + (j + 0.5) * box.height / rows
    return Table(
        {
            "x": x,
            "y": y,
            "n_stars": [len(stars) for stars in values],
            "fwhm": [float(np.median(stars)) if len(stars) else np.nan for stars in values],
            "fwhm_err": [_standard_error(stars) for stars in values],
            "fwhm_model": measured.fwhm_at(x, y),
        }
    )


def _cells(n_stars: int, box: Box) -> tuple[int, int]:
    """Rows and columns of nearly square cells, of enough stars each."""
    longer = max(box.width, box.height)
    across = (n_stars / _STARS_PER_CELL * longer**2 / (box.width * box.height)) ** 0.5
    most = int(np.clip(np.floor(across), 1, _MOST_CELLS))
    return tuple(max(1, round(most * side / longer)) for side in (box.height, box.width))


def _standard_error(values: np.ndarray) -> float:
    """Of the median, from the scatter."""
    if len(values) < 2:
        return float("nan")
    scatter = MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))
    # The median of Gaussian numbers has 1.2533 times the error of their mean.
    return float(1.2533 * scatter / np.sqrt(len(values)))
