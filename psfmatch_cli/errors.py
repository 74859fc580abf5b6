"""What can go wrong, by what the caller can do about it.

Every exception that psfmatch raises on purpose is a `PsfMatchError`; its message is one clear line
that says what, where, which value, what is allowed and what to try. ``exit_code`` is the status with
which the command line ends; the library never looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping


class PsfMatchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(PsfMatchError):
    """An input cannot be used: unreadable, of the wrong shape, or without usable pixels."""


class RegistrationError(InputError):
    """The two exposures are not on one pixel grid, or do not overlap."""


class OutputError(PsfMatchError):
    """An output cannot be written."""


class UsageError(PsfMatchError):
    """An option or argument is wrong."""

    exit_code = 2


class NoCandidatesError(PsfMatchError):
    """Too few usable kernel candidates; carries how many fell to each reason.

    Parameters
    ----------
    message : str
        One line.
    counts : mapping of str to int, optional
        Number of sources per status or reason of refusal.
    """

    exit_code = 3

    def __init__(self, message: str, counts: Mapping[str, int] | None = None):
        super().__init__(message)
        self.counts = dict(counts or {})


class FitError(PsfMatchError):
    """The kernel or background cannot be solved for."""

    exit_code = 3


class EmptySourceListError(NoCandidatesError):
    """The caller's list of sources holds nothing."""


class SourceTypeError(UsageError):
    """What should be a list of sources is not one, or its entries differ in type.

    Parameters
    ----------
    message : str
        One line.
    types : tuple of str, optional
        Names of the types that were found.
    """

    def __init__(self, message: str, types: tuple[str, ...] = ()):
        super().__init__(message)
        self.types = types
