"""What the values of data quality images mean, instrument by instrument.

Sources: the data quality tables of the ACS, WFC3 and WFPC2 data handbooks; the JWST pipeline's documentation; the
NOAO data handbook and the notes on the DECam community pipeline; the ZTF explanatory supplement (section 10.3); the
PS1 archive's table of pixel flags (Waters et al. 2020, ApJS 251, 4). Where a flag says that a pixel was found to be
affected *and corrected*, or only that a source is there, the pixel is as good as any other.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import DEFAULT_PLANES, free_bit
from psfmatch_cli.masks import integer_mask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlagTable:
    """Mask planes of the values of a quality image.

    Parameters
    ----------
    name : str
        For the log.
    planes : mapping of int to str or None
        Plane of each value; None for one that does no harm.
    kind : {"bits", "codes"}
        Whether a value is a sum of the flags, powers of two, or one code per pixel. A code that the table lacks means
        BAD; a bit that it lacks is ignored.
    """

    name: str
    planes: Mapping[int, str | None]
    kind: Literal["bits", "codes"] = "bits"

    @property
    def knows_saturation(self) -> bool:
        return "SAT" in self.planes.values()


def _bits(*planes: str | None) -> dict[int, str | None]:
    """Planes of the bits 0, 1, 2..."""
    return {1 << bit: plane for bit, plane in enumerate(planes)}


_CCD = {
    1: "NO_DATA",  # lost
    2: "NO_DATA",  # filled
    4: "BAD",  # bad detector pixel
    8: "NO_DATA",  # masked by an aperture feature
    16: "BAD",  # hot
    32: "SUSPECT",  # unstable, or tail of charge
    64: "SUSPECT",  # warm
    128: "BAD",  # bias structure, bad column
    256: "SAT",  # full well
    512: "BAD",  # bad in a reference file
    1024: "SUSPECT",  # charge trap
    2048: "SAT",  # converter
    4096: "CR",  # found by drizzling
    8192: "CR",  # found in the combination of exposures
    16384: "BAD",  # flagged by hand, ghost, cross talk
}
#: ACS, and STIS, whose values mean the same or nearly so.
ACS = FlagTable("ACS", _CCD)
WFC3_UVIS = FlagTable("WFC3/UVIS", {**_CCD, 8: None})
WFC3_IR = FlagTable(
    "WFC3/IR",
    {
        1: "NO_DATA",  # lost
        2: "NO_DATA",  # filled
        4: "BAD",  # bad detector pixel
        8: "BAD",  # deviant zero read
        16: "BAD",  # hot
        32: "SUSPECT",  # unstable
        64: "SUSPECT",  # warm
        128: "BAD",  # bad reference pixel
        256: "SAT",  # full well
        512: "SUSPECT",  # blob
        1024: None,
        2048: None,  # signal in the zero read, corrected
        4096: "CR",  # found by drizzling
        8192: None,  # found in the ramp, corrected
        16384: "SUSPECT",  # ghost
    },
)
WFPC2 = FlagTable(
    "WFPC2",
    {
        1: "NO_DATA",  # lost
        2: "BAD",  # bad in a reference file
        4: "BAD",  # permanent defect
        8: "SAT",  # converter
        16: "NO_DATA",  # missing
        32: "BAD",  # other
        128: "SUSPECT",  # charge trap
        256: "SUSPECT",  # above a charge trap
        512: "BAD",  # warm, not repaired
        1024: None,  # warm, repaired
        2048: "NO_DATA",  # whole chip
    },
)
JWST = FlagTable(
    "JWST",
    _bits(
        "BAD",  # DO_NOT_USE
        "SAT",  # SATURATED
        None,  # JUMP_DET: found in the ramp, corrected
        "NO_DATA",  # DROPOUT
        "CR",  # OUTLIER
        "SUSPECT",  # PERSISTENCE
        "BAD",  # AD_FLOOR
        "SUSPECT",  # CHARGELOSS
        "SUSPECT",  # UNRELIABLE_ERROR
        "NO_DATA",  # NON_SCIENCE
        "BAD",  # DEAD
        "BAD",  # HOT
        "SUSPECT",  # WARM
        "SUSPECT",  # LOW_QE
        "SUSPECT",  # RC
        "SUSPECT",  # TELEGRAPH
        "SUSPECT",  # NONLINEAR
        "BAD",  # BAD_REF_PIXEL
        "BAD",  # NO_FLAT_FIELD
        *["SUSPECT"] * 7,  # NO_GAIN_VALUE, NO_LIN_CORR, NO_SAT_CHECK, UNRELIABLE_...
        "BAD",  # OPEN
        "BAD",  # ADJ_OPEN
        "INTRP",  # FLUX_ESTIMATED
        "BAD",  # MSA_FAILED_OPEN
        "BAD",  # OTHER_BAD_PIXEL
        "NO_DATA",  # REFERENCE_PIXEL
    ),
)
#: Since version 3.5.0 of the pipeline.
DECAM = FlagTable(
    "DECam",
    {
        1: "BAD",  # bad detector pixel
        2: "NO_DATA",  # no value
        3: "SAT",  # saturated
        4: "SAT",  # bleed trail
        5: "CR",  # cosmic ray
        6: "BAD",  # low weight
        7: "CR",  # differs between exposures
        8: "SUSPECT",  # long streak
    },
    "codes",
)
DECAM_OLD = FlagTable(
    "DECam before 3.5.0",
    {1: "BAD", 2: "SAT", 4: "INTRP", 16: "CR", 64: "SAT", 128: "CR", 256: "EDGE", 512: "EDGE"},
)
ZTF = FlagTable(
    "ZTF",
    _bits(
        "CR",  # track of an aircraft or satellite
        None,  # a source was detected there
        "BAD",  # low responsivity
        "BAD",  # high responsivity
        "BAD",  # noisy
        "SUSPECT",  # ghost of a bright source
        "SUSPECT",  # ghost of spilled charge
        "CR",  # spike
        "SAT",  # saturated
        "BAD",  # dead
        "NO_DATA",  # not a number
        None,  # position of a source
        "SUSPECT",  # halo of a bright source
    ),
)
PANSTARRS = FlagTable(
    "Pan-STARRS",
    _bits(
        "BAD",  # DETECTOR
        "BAD",  # FLAT
        "BAD",  # DARK
        "NO_DATA",  # BLANK
        "BAD",  # CTE
        "SAT",  # SAT
        "BAD",  # LOW
        "SUSPECT",  # SUSPECT, BURNTOOL
        "CR",  # CR
        "SUSPECT",  # SPIKE
        "SUSPECT",  # GHOST
        "CR",  # STREAK
        "SUSPECT",  # STARCORE
        "BAD",  # CONV.BAD
        None,  # CONV.POOR: near a bad pixel before the stack was convolved
        None,  # MARK
    ),
)


def hst_flags(header: Mapping[str, Any]) -> FlagTable:
    """Table of the camera that the header names."""
    camera, detector = (str(header.get(name, "")).strip().upper() for name in ("INSTRUME", "DETECTOR"))
    if camera == "WFC3":
        return WFC3_IR if detector == "IR" else WFC3_UVIS
    return WFPC2 if camera == "WFPC2" else ACS


def decam_flags(header: Mapping[str, Any]) -> FlagTable:
    """Codes, or bits where the pipeline's version in the header is older than 3.5."""
    version = str(header.get("PLVER", "")).strip().lstrip("Vv").split(".")
    old = version[0].isdecimal() and [int(n) for n in version[:2] if n.isdecimal()] < [3, 5]
    return DECAM_OLD if old else DECAM


def flagged_mask(values: NDArray, table: FlagTable, where: str) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Mask from a quality image.

    Parameters
    ----------
    values : ndarray, (H, W)
        Flags.
    table : FlagTable
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
    for value, plane in table.planes.items():
        if plane is not None:
            if plane not in planes:
                planes[plane] = free_bit(planes)
            here = (values & value) != 0 if table.kind == "bits" else values == value
            mask[here] |= np.uint32(1 << planes[plane])
    unknown = _unknown(values, table)
    count = np.count_nonzero(unknown)
    if count and table.kind == "codes":
        mask[unknown] |= np.uint32(1 << planes["BAD"])
        log.info("%s: %d pixels have codes that the table of %s lacks; they are BAD", where, count, table.name)
    elif count:
        log.info("%s: %d pixels have mask bits that are not in the mask map; those bits are ignored", where, count)
    return mask.view(np.int32), planes


def _unknown(values: NDArray[np.int64], table: FlagTable) -> NDArray[np.bool_]:
    """Pixels with a value that the table does not explain."""
    if table.kind == "codes":
        return ~np.isin(values, [0, *table.planes])
    known = functools.reduce(operator.or_, table.planes, 0)
    return (values & ~known) != 0
