"""Which header cards go from a file to the exposure, and from there to another file."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any

from astropy.io import fits

from psfmatch_cli.grid_cards import is_grid_card
from psfmatch_cli.photometry import without_zero_points

log = logging.getLogger(__name__)

#: Cards that describe the arrangement of the old file, the range of its values or how it is to be compressed or shown,
#: are written anew, or refer to what is not written.
STRUCTURAL = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|XTENSION|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|END|EXTNAME|EXTVER|EXTLEVEL"
    r"|EXTTYPE|INHERIT|CHECKSUM|DATASUM|DATE|DATAMIN|DATAMAX|IRAF-(MAX|MIN|TYP|BPX)|GOOD(MIN|MAX|MEAN)|CBLACK|CWHITE"
    r"|NEXTEND|LONGSTRN|FZ[A-Z]\w*|TFIELDS|THEAP|T(TYPE|FORM|UNIT|DIM|NULL|SCAL|ZERO|DISP)\d+"
    r"|Z(IMAGE|TENSION|SIMPLE|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|QUANTIZ|DITHER0|PCOUNT|GCOUNT|EXTEND"
    r"|BLANK|HECKSUM|DATASUM|MASKCMP|HDUCSUM)|MP_.*|AR_.*|EXPINFO_V|ARCHIVE_ID_.*"
    r"|(SKYWCS|PSF|PHOTOCALIB|DETECTOR|FILTER|AP_CORR_MAP|VALID_POLYGON|COADD_INPUTS|TRANSMISSION_CURVE)_ID"
    r"|FLUXMAG0(ERR)?|FILTER|BUNIT|PMFORMAT|PMFVERS"
)
#: Cards of world coordinate systems, with or without the letter of an alternative one.
COORDINATES = re.compile(
    r"(WCSAXES|WCSNAME|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME)\d+"
    r"|(CRDER|CSYER|CZPHS|CPERI)\d+|SPECSYS|SSYS(OBS|SRC)|RESTFR(Q|EQ)|RESTWAV|VELREF|VELOSYS|VELANGL|ZSOURCE|WCSDIM"
    r"|(CD|PC)\d+_\d+|(PV|PS)\d+_\d+)[A-Z]?|(CPDIS|CPERR|CQDIS|CQERR|DP|DQ|D2IM(DIS|ERR)|AXISCORR)\d+(\..*)?"
    r"|(A|B|AP|BP)_(\d+_\d+|ORDER|DMAX)|D2IMEXT|WAT\d_\d+|PROJP\d+|PC\d{6}"
)

#: Keywords that may occur more than once.
COMMENTARY = ("", "COMMENT", "HISTORY")
#: Cards of the standard that hold text, and such that hold a number.
TEXTS = re.compile(r"AUTHOR|REFERENC|TELESCOP|INSTRUME|OBSERVER|OBJECT|ORIGIN|DATE-(OBS|BEG|AVG|END)|TIMESYS")
NUMBERS = re.compile(r"MJD-(OBS|BEG|AVG|END)|TELAPSE|OBSGEO-[XYZ]")


def exposure_cards(header: fits.Header, origin: tuple[int, int], own_zero_point: bool) -> fits.Header:
    """The cards that an exposure has: those of its file, but for two kinds.

    Parameters
    ----------
    header : Header
        Of the file.
    origin : (int, int)
        Parent position of the first pixel. The offset to physical pixels (LTV) is counted from the parent's first
        pixel.
    own_zero_point : bool
        Whether the user gave a zero point, which takes the place of those in cards.
    """
    made = without_zero_points(header) if own_zero_point else header.copy()
    for name, start in zip(("LTV1", "LTV2"), origin, strict=True):
        offset = physical_offset(made, name) + start
        made.remove(name, ignore_missing=True)
        if offset:
            made[name] = (offset, "offset to physical pixels")
    return made


def physical_offset(header: Any, name: str) -> float:
    """Number of the card LTV1 or LTV2; 0 where there is none."""
    value = None if header is None else header.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def copy_cards(source: Any, target: fits.Header, shape: tuple[int, int] | None = None) -> None:
    """Append the cards of a header that still hold; what FITS cannot write again is left out.

    Parameters
    ----------
    source : Header or None
    target : Header
    shape : (int, int), optional
        Of the image that is written. If the header is that of an image of another size, its sections are not true.
    """
    other_grid = shape is not None and source is not None and not _is_of(source, shape)
    skipped = 0
    for card in source.cards if source is not None else ():
        if not _kept(card.keyword) or (other_grid and is_grid_card(card.keyword)):
            continue
        if card.keyword not in COMMENTARY and card.keyword in target:
            continue  # of a keyword that occurs twice the first is the one that readers take
        copy = _standard(card)
        if copy is None:
            skipped += 1
        else:
            target.append(copy, end=True)
    if skipped:
        log.debug("%d header cards cannot be written again and are left out", skipped)


def _standard(card: fits.Card) -> fits.Card | None:
    """The card as FITS allows it, or None where it cannot be written or has no value."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = _of_standard_type(card.keyword, card.value)
            if value is not card.value:
                return fits.Card(card.keyword, value, card.comment)
            copy = fits.Card.fromstring(str(card))
            copy.verify("silentfix+exception")
    except (fits.VerifyError, ValueError, TypeError, UnicodeError, KeyError, Warning) as error:
        log.debug("header card left out: %s", error)
        return None
    return None if isinstance(value, fits.card.Undefined) else copy


def _of_standard_type(keyword: str, value: Any) -> Any:
    """The value of a card whose type the standard prescribes in that type; of any other as it is.

    Raises
    ------
    ValueError
        If it cannot be had in that type.
    """
    if TEXTS.fullmatch(keyword) and isinstance(value, (bool, int, float)):
        return str(value)
    return float(value) if NUMBERS.fullmatch(keyword) and isinstance(value, str) else value


def _kept(keyword: str) -> bool:
    keyword = keyword.upper()
    return not STRUCTURAL.fullmatch(keyword) and not COORDINATES.fullmatch(keyword)


def _is_of(header: Any, shape: tuple[int, int]) -> bool:
    """Whether the header tells no other size than this one."""
    return all(header.get(f"NAXIS{axis}", side) == side for axis, side in zip((2, 1), shape, strict=True))
