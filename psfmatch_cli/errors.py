"""What can go wrong, by what the caller can do about it.

Every exception that psfmatch raises on purpose is a `PsfMatchError`; its message is one clear line
that says what, where, which value, what is allowed and what to try. ``exit_code`` is the status with
which the command line ends; the library never looks at it.

Each failure has a type of its own below the kind that it is::

    InputError (1)                  UsageError (2)    NoCandidatesError (3)        FitError (3)
      RegistrationError               FwhmError         EmptySourceListError         KernelSumError
        NoOverlapError                SourceTypeError   NoSourcesError               SingularSystemError
        DifferentGridsError                             AllRefusedError              NotFiniteError
        BoxMismatchError                                NobodyTookPartError          UnderconstrainedError
      ImageTooSmallError                                AllRejectedError             IllConditionedError
      MissingPsfError                                     SingleFitsFailedError
      IdenticalImagesError                                DisagreementError
    OutputError (1)                                     TooFewCandidatesError

Where the upstream task goes on with a solution that means nothing, psfmatch stops: it returns a kernel of zeros
when every cell is empty or the last assessment rejects everybody (`NobodyTookPartError`, `AllRejectedError` here),
and it stops with an unrelated message about kernel sums when every candidate fails its own fit
(`SingleFitsFailedError` here, with the reasons and their counts).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self


class PsfMatchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1

    def advised(self, advice: str) -> Self:
        """The same error with some advice, such as what could be tried, at the end of its message."""
        made = copy.copy(self)
        made.args = (f"{self}; {advice}",) if advice else self.args
        return made


class InputError(PsfMatchError):
    """An input cannot be used: unreadable, of the wrong shape, or without usable pixels."""


class RegistrationError(InputError):
    """The two exposures are not on one pixel grid, or do not overlap."""


class NoOverlapError(RegistrationError):
    """The two exposures share no sky."""


class DifferentGridsError(RegistrationError):
    """The two exposures are on different pixel grids, and warping is off."""


class BoxMismatchError(RegistrationError):
    """Two images that must cover the same pixels differ in size or origin."""


class ImageTooSmallError(InputError):
    """An image is smaller than the kernel in one direction."""


class MissingPsfError(InputError):
    """A PSF is needed, none is known, and there is no star to measure it on."""


class IdenticalImagesError(InputError):
    """The template and the science image are copies of one image."""


class OutputError(PsfMatchError):
    """An output cannot be written."""


class UsageError(PsfMatchError):
    """An option or argument is wrong."""

    exit_code = 2


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


class FwhmError(UsageError):
    """A FWHM that was given is not a positive number."""


class NoCandidatesError(PsfMatchError):
    """Too few usable kernel candidates; carries how many were tried and how many fell to each reason.

    Parameters
    ----------
    message : str
        One line.
    counts : mapping of str to int, optional
        Number of ``"sources"``, of ``"candidates"`` among them (those not refused), and of those that fell to each
        reason of refusal or rejection.
    """

    exit_code = 3

    def __init__(self, message: str, counts: Mapping[str, int] | None = None):
        super().__init__(message)
        self.counts = dict(counts or {})


class EmptySourceListError(NoCandidatesError):
    """The caller's list of sources is empty."""


class NoSourcesError(NoCandidatesError):
    """No source was detected."""


class AllRefusedError(NoCandidatesError):
    """None of the sources can be a candidate."""


class NobodyTookPartError(NoCandidatesError):
    """There is no candidate in any cell."""


class AllRejectedError(NoCandidatesError):
    """Every candidate was rejected by the fits."""


class SingleFitsFailedError(AllRejectedError):
    """Every candidate failed its own fit."""


class DisagreementError(NoCandidatesError):
    """Hardly any of the candidates agree on a kernel."""


class TooFewCandidatesError(NoCandidatesError):
    """Fewer candidates than can check each other, where that counts as an error (``strict``, or ``adapt`` off)."""


class FitError(PsfMatchError):
    """The kernel or background cannot be solved for."""

    exit_code = 3


class KernelSumError(FitError):
    """The kernel sums cannot be computed, or are not positive."""


class SingularSystemError(FitError):
    """The normal equations do not determine the parameters."""


class NotFiniteError(FitError):
    """The normal equations or their solution hold values that are not finite."""


class UnderconstrainedError(FitError):
    """Fewer candidates than spatial terms, where that counts as an error (``strict``)."""


class IllConditionedError(FitError):
    """The condition number of the spatial system is beyond its limit, where that is an error (``strict``)."""
