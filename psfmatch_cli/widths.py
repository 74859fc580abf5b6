"""Which FWHMs a PSF can have."""

from __future__ import annotations

import math

from psfmatch_cli.errors import FwhmError

#: FWHMs of PSFs, pixels. A pixel itself is a box of 1 pixel, so nothing looks much narrower; matching a PSF wider than
#: a hundred pixels would take a kernel of several hundred, larger than what stars stand apart.
FWHM_LIMITS = (0.5, 100.0)
SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
#: The same for the reader of a message.
FWHM_RANGE = f"{FWHM_LIMITS[0]:g} to {FWHM_LIMITS[1]:g}"


def is_width(fwhm: float) -> bool:
    """Whether a number of pixels can be the FWHM of a PSF; NaN cannot."""
    return FWHM_LIMITS[0] <= fwhm <= FWHM_LIMITS[1]


def check_fwhms(fwhms: dict[str, float | None], advice: str = "") -> None:
    """Refuse FWHMs that were given and that no PSF has; all that are wrong in one message.

    Parameters
    ----------
    fwhms : dict of str to float or None
        Pixels, by what they are of; None for one that was not given.
    advice : str
        What to try.

    Raises
    ------
    FwhmError
        If one is outside of `FWHM_LIMITS`.
    """
    wrong = {name: fwhm for name, fwhm in fwhms.items() if fwhm is not None and not is_width(fwhm)}
    if not wrong:
        return
    names, values = " and the ".join(wrong), " and ".join(str(fwhm) for fwhm in wrong.values())
    numbers = "numbers" if len(wrong) > 1 else "a number"
    raise FwhmError(f"the FWHM of the {names} must be {numbers} of pixels from {FWHM_RANGE}, got {values}{advice}")
