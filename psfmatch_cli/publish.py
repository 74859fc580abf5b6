"""Giving files their names, all or none, and undoing that after a failure or a kill in the middle.

POSIX renames one file at a time, so for a moment a reader can meet a set of which one file is new and the next is old.
What holds for any length of time is made of three things:

- Earlier files are kept under a second name (a hard link) until all new ones have their names, and put back if one
  of them could not be given.
- A journal in the stage says what is about to be renamed. Removing it is the one step that makes the new set valid.
  A run that is killed before it leaves the journal, and the next run in one of the folders undoes what was half done.
- The folders are locked meanwhile, so that two runs replace files one after the other.

A set that someone looks at in that moment, or that is never looked after again, is told by the identifiers of the
runs in its files.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from psfmatch_cli.errors import OutputError
from psfmatch_cli.folder_lock import close_file, locked_folders
from psfmatch_cli.interrupts import checkpoint, held
from psfmatch_cli.staging import Stage, abandoned_stages, release_stage, remove_stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Move:
    """One file that is to get its name.

    Parameters
    ----------
    new, target, old : str
        Where it was written, its name, and where an earlier file of that name is kept meanwhile.
    existed : bool
        Whether there is an earlier file.
    identity : sequence of int
        Device, inode, size and time of the new file, by which it is known after it was renamed.
    """

    new: str
    target: str
    old: str
    existed: bool
    identity: Sequence[int]


def move_of(stage: Stage, target: Path) -> Move:
    """The move of the file of that name in a stage.

    Raises
    ------
    OSError
        If the file was not written.
    """
    new = stage.new / target.name
    return Move(str(new), str(target), str(stage.old / target.name), os.path.lexists(target), _identity(new))


def publish(stages: Sequence[Stage], moves: Sequence[Move]) -> None:
    """Give the files of some stages their names, in order; on any failure all is as before.

    To be called while the folders are locked. An earlier file is replaced; that this is wanted was checked under
    the same lock.

    Parameters
    ----------
    stages : sequence of Stage
        The first one's journal is the one that counts.
    moves : sequence of Move

    Raises
    ------
    OSError
        If the system refuses; nothing has changed then.
    FileExistsError
        If a file appeared that was not there, made by a program that does not mind the lock.
    OutputError
        If earlier files could not be put back either; the message says where they are, and the journal stays.
    """
    try:
        for move in moves:
            _keep(move)
        _write_journals(stages, moves)
        for move in moves:
            _place(move)
        _sync_folders(stages)
        checkpoint()
        # From here on the new files are valid.
        os.unlink(stages[0].journal)
    except BaseException as error:
        lost = roll_back(moves)
        if lost:
            raise OutputError(_not_restored(error, lost)) from error
        with suppress(OSError):
            stages[0].journal.unlink(missing_ok=True)
        raise


def _keep(move: Move) -> None:
    """A second name for the earlier file; where there are no hard links it is renamed when it is replaced."""
    if move.existed:
        with suppress(OSError):
            os.link(move.target, move.old)


def _place(move: Move) -> None:
    if not move.existed:
        _place_first(move)
        return
    if not os.path.lexists(move.old):
        os.rename(move.target, move.old)
    os.replace(move.new, move.target)


def _place_first(move: Move) -> None:
    """A link refuses a name that is taken, which a renaming does not."""
    try:
        os.link(move.new, move.target)
    except FileExistsError:
        raise
    except OSError:
        # No hard links on this file system: what has appeared since the check would be replaced.
        os.rename(move.new, move.target)


def roll_back(moves: Sequence[Move]) -> list[Move]:
    """Put earlier files back and take new ones away; the moves for which the system refused are returned."""
    return [move for move in reversed(moves) if not _undone(move)]


def _undone(move: Move) -> bool:
    try:
        if os.path.lexists(move.old):
            if not _is_foreign(move):
                os.replace(move.old, move.target)
        elif not move.existed and _is_new(move):
            os.unlink(move.target)
    except OSError as error:
        log.debug("%s: cannot be put back: %s", move.target, error)
        return False
    return True


def _is_new(move: Move) -> bool:
    try:
        return _identity(move.target) == move.identity
    except FileNotFoundError:
        return False


def _is_foreign(move: Move) -> bool:
    """Whether the name has a file that is neither the new nor the earlier one: made by someone else since a kill."""
    try:
        return _identity(move.target) not in (move.identity, _identity(move.old))
    except FileNotFoundError:
        return False


def _identity(path: str | Path) -> list[int]:
    """What stays the same when a file is renamed; its inode alone may be that of another file after it is removed."""
    status = os.lstat(path)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _not_restored(error: BaseException, lost: Sequence[Move]) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    names = ", ".join(f"{move.target} (kept as {move.old})" if move.existed else move.target for move in lost)
    return f"the results cannot be written: {reason}; and these files cannot be put back as they were: {names}"


def _sync_folders(stages: Sequence[Stage]) -> None:
    """Have the names on the disk; not every file system can do that for a folder, and it costs no file if it cannot."""
    for stage in stages:
        with suppress(OSError):
            descriptor = os.open(stage.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                close_file(descriptor)


def _write_journals(stages: Sequence[Stage], moves: Sequence[Move]) -> None:
    """The journal in every stage; the first stage's comes last, as it is the one that counts."""
    text = json.dumps({"stages": [str(stage.path) for stage in stages], "moves": [asdict(move) for move in moves]})
    for stage in reversed(stages):
        stage.journal.write_text(text, encoding="ascii")


def recover(folder: Path) -> None:
    """Look after what killed runs have left in a folder: undo what was half done, remove their stages.

    Where the system refuses, it is left as it is; that is no reason to stop a run.
    """
    try:
        with held(), locked_folders([folder]) as certain:
            stages = list(abandoned_stages(folder, certain))
    except (OSError, OutputError) as error:
        log.debug("%s: not looked after: %s", folder, error)
        return
    for stage in stages:
        with held():
            _look_after(stage)


def _look_after(stage: Stage) -> None:
    try:
        if _undo_journal(stage):
            log.info("%s: removed; it was left by a run that was killed", stage.path)
            remove_stage(stage)
            return
    except (OSError, OutputError) as error:
        log.debug("%s: not looked after: %s", stage.path, error)
    log.warning("%s: left by a run that was killed; files are kept in it that could not be put back", stage.path)
    release_stage(stage)


def _undo_journal(stage: Stage) -> bool:
    """Undo what the journal of a stage says, if it still counts; whether nothing is left to do."""
    try:
        journal = json.loads(stage.journal.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return True  # no file is renamed before all journals are complete
    paths, moves = [Path(path) for path in journal["stages"]], [Move(**move) for move in journal["moves"]]
    if stage.path not in paths:
        return False  # the folder was moved, and the names in the journal with it
    decisive = paths[0] / stage.journal.name
    if not decisive.exists():
        return True
    with locked_folders({Path(move.target).parent for move in moves}):
        if roll_back(moves):
            return False
        decisive.unlink(missing_ok=True)
    return True
