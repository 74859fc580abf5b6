"""One FITS file for the exposures, or the kernels, of many chips, written chip by chip.

===================================  =====================================================================
HDU                                  content
===================================  =====================================================================
primary                              no data; cards that hold for all chips, and how the file was made
N4                                   image of the chip N4; the chip's own cards
N4_MASK, N4_VARIANCE, N4_PSF         its planes, as in the file of one exposure
N4_BASIS, N4_KERNEL_COEFFICIENTS...  in a file of kernels: the HDUs of `psfmatch_cli.kernel_io`
...                                  the next chip
EXTENSIONS                           table of all chips: extension, status, hdu, message
===================================  =====================================================================

Chips of one name are told apart by EXTVER. A chip that failed, or that only one of the inputs has, has no HDU; the
table says why. Never more than one chip is in memory.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from astropy.io import fits

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.fitswrite import announce_long_strings, append_cards, check_suffix, compressed, exposure_hdus
from psfmatch_cli.header_cards import copy_cards
from psfmatch_cli.kernel_io import KERNELS_FORMAT, SavedKernel, kernel_hdus
from psfmatch_cli.layouts import MOSAIC_FORMAT
from psfmatch_cli.mosaic import Chip
from psfmatch_cli.outputs import Card, creation_card, printable
from psfmatch_cli.tables import table_hdu

if TYPE_CHECKING:
    from astropy.table import Table

#: Bytes of a FITS block, and of a primary HDU with nothing in it.
_BLOCK = 2880
#: Cards of the structure of a primary HDU, which no other HDU has.
_OF_PRIMARY = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND")
_COMMENTS = ("COMMENT", "HISTORY", "")


class MosaicWriter:
    """A file that grows by the HDUs of one chip after the other; used in a ``with`` statement.

    Parameters
    ----------
    path : str or Path
        File to make. It is not complete before `finish`, and is left as it is if an exception ends the block:
        give the name of a temporary file.
    cards : iterable of (keyword, value, comment), optional
        Cards of the primary header.
    history : iterable of str, optional
        Its HISTORY lines.
    common : Header, optional
        Primary header of the file that the exposures are from: what holds for all chips stands in the primary header.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cards: Iterable[Card] = (),
        history: Iterable[str] = (),
        common: fits.Header | None = None,
    ):
        self._path = Path(path)
        self._cards, self._history, self._common = tuple(cards), tuple(history), common
        self._stack, self._stream = ExitStack(), None
        self._shared: set[str] = set()
        self._n_hdus = 0
        self._places: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add_exposure(
        self, chip: Chip, exposure: Exposure, cards: Iterable[Card] = (), history: Iterable[str] = ()
    ) -> None:
        """Append image, mask, variance and PSF of a chip, with cards and HISTORY lines in the image's header.

        Raises
        ------
        UsageError
            If an exposure cannot be written under the file's suffix.
        """
        check_suffix(self._path)
        primary, *planes = exposure_hdus(exposure, cards, history)
        if self._stream is None:
            self._begin(MOSAIC_FORMAT, self._shared_cards(primary.header))
        self._places[chip.label] = self._n_hdus
        image = planes[0].header
        # Cards that the WCS brings, too, such as MJDREF, would stand there twice.
        taken = {*_OF_PRIMARY, *image} - {*_COMMENTS}
        own = [card for card in primary.header.cards if card.keyword not in taken]
        image.extend([card for card in own if str(card) not in self._shared], end=True)
        for hdu in planes:
            suffix = "" if hdu is planes[0] else f"_{hdu.name}"
            hdu.name, hdu.ver = chip.name + suffix, chip.version
        is_packed = self._path.name.lower().endswith(".fz")
        self._append([compressed(hdu) for hdu in planes] if is_packed else planes)

    def add_kernel(
        self, chip: Chip, saved: SavedKernel, cards: Iterable[Card] = (), history: Iterable[str] = ()
    ) -> None:
        """Append kernel, background and candidates of a chip, with cards and HISTORY lines in the first header."""
        primary, *parts = kernel_hdus(saved, cards, history)
        if self._stream is None:
            self._begin(KERNELS_FORMAT, fits.Header())
        self._places[chip.label] = self._n_hdus
        kept = [card for card in primary.header.cards if card.keyword not in (*_OF_PRIMARY, "PMFORMAT", "PMFVERS")]
        parts[0].header.extend(kept, end=True)
        for hdu in parts:
            hdu.name, hdu.ver = f"{chip.name}_{hdu.name}", chip.version
        self._append(parts)

    def finish(self, extensions: Table) -> None:
        """Append the table of all chips, with a further column: the HDU of each in this file, -1 for none."""
        table = extensions.copy()
        table["hdu"] = [self._places.get(label, -1) for label in table["extension"]]
        self._append([table_hdu(table, "EXTENSIONS")])

    def _shared_cards(self, header: fits.Header) -> fits.Header:
        """The cards of the common header that the header of a chip has, too."""
        common, shared = fits.Header(), fits.Header()
        copy_cards(self._common, common)
        present = {str(card) for card in header.cards}
        shared.extend([card for card in common.cards if str(card) in present], end=True)
        self._shared = {str(card) for card in shared.cards}
        return shared

    def _begin(self, kind: str, shared: fits.Header) -> None:
        primary = fits.PrimaryHDU()
        primary.header.extend(shared, end=True)
        append_cards(
            primary.header,
            [creation_card(), ("PMFORMAT", kind, "kind of file"), ("PMFVERS", 1, "its version"), *self._cards],
        )
        for line in self._history:
            primary.header.add_history(printable(line))
        announce_long_strings(primary.header)
        opened = gzip.open if self._path.name.lower().endswith(".gz") else open
        self._stream = self._stack.enter_context(opened(self._path, "wb"))
        self._write(fits.HDUList([primary]), 0)
        self._n_hdus = 1

    def _append(self, hdus: Sequence[Any]) -> None:
        self._write(fits.HDUList([fits.PrimaryHDU(), *hdus]), _BLOCK)
        self._n_hdus += len(hdus)

    def _write(self, hdus: fits.HDUList, skipped: int) -> None:
        """Write HDUs with their checksums, from that byte on."""
        buffer = BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)
            hdus.writeto(buffer, checksum=True)
        self._stream.write(buffer.getbuffer()[skipped:])
