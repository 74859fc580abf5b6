"""All files of a run, written in hidden folders and published all or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from psfmatch_cli.errors import OutputError
from psfmatch_cli.folder_lock import close_file, locked_folders
from psfmatch_cli.interrupts import held
from psfmatch_cli.outputs import check_output
from psfmatch_cli.publish import move_of, publish
from psfmatch_cli.staging import Stage, make_stage, release_stage, remove_stage

#: What a system says that cannot flush files to the disk.
_NO_SYNC = {errno.EINVAL, errno.EROFS, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class Transaction:
    """A block that writes files under temporary names; when it ends well they get their own, all or none.

    ::

        transaction = Transaction({"kernel": Path("k.fits"), "difference": Path("d.fits")}, may_replace)
        with transaction as names:
            write(names["kernel"])
            write(names["difference"])

    Every file named must be written in the block. If it raises, or a file cannot be published, the earlier files are as
    they were, and no temporary file is left. Two transactions with the same files end one after the other: the set
    of one is replaced as a whole, or the later one is refused. A signal is held back during the renaming (see
    `psfmatch_cli.interrupts`), and undoes it if it came before the set was complete.

    Each file is flushed to the disk before it replaces an earlier one. That costs about as much as the writing itself
    would on a slow disk, and is what makes a file server or a quota say that there is no space while the earlier file
    is still there, and a power cut leave the earlier file or the new one, not an empty one.

    Parameters
    ----------
    outputs : mapping of str to Path or None
        Name of each file by its role, in the order of their publication; the main one last. None: no such file.
    may_replace : callable
        Called with the role and the path of each file, before the block is entered by the caller's own check and once
        more under the lock: whether an existing file of that name may be replaced.

    Attributes
    ----------
    published : bool
        Whether the files have got their names; true also if a signal ended the block right after that.
    """

    def __init__(self, outputs: Mapping[str, Path | None], may_replace: Callable[[str, Path], bool]):
        self.published = False
        self._given = {role: path for role, path in outputs.items() if path is not None}
        self._may_replace = may_replace
        # A link stays a link, to the file that is replaced.
        self._targets = {role: path.resolve() for role, path in self._given.items()}
        self._stages: dict[Path, Stage] = {}

    def __enter__(self) -> dict[str, Path]:
        """Names to write to, by role.

        Raises
        ------
        OutputError
            If a folder cannot be written to.
        """
        # The main file's folder comes first: its journal is the one that counts.
        folders = list(dict.fromkeys(target.parent for target in reversed(self._targets.values())))
        try:
            with held(), locked_folders(folders):
                for folder in folders:
                    self._stages[folder] = make_stage(folder)
        except (OSError, OutputError) as error:
            self._clean_up()
            raise self._told(error) from error
        except BaseException:
            self._clean_up()
            raise
        return self._names()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Publish the files, or drop them.

        Raises
        ------
        OutputError
            If a file exists that may not be replaced, or the system refuses.
        """
        try:
            if error is None:
                self._publish()
        except (OSError, OutputError) as refused:
            raise self._told(refused) from refused
        finally:
            self._clean_up()
        if isinstance(error, OSError | OutputError):
            raise self._told(error) from error

    def _names(self) -> dict[str, Path]:
        return {role: self._stages[target.parent].new / target.name for role, target in self._targets.items()}

    def _publish(self) -> None:
        for name in self._names().values():
            _flush(name)
        with held(), locked_folders(self._stages):
            for role, path in self._given.items():
                check_output(path, self._may_replace(role, path))
            moves = [move_of(self._stages[target.parent], target) for target in self._targets.values()]
            publish(list(self._stages.values()), moves)
            self.published = True

    def _clean_up(self) -> None:
        """Remove the stages; if earlier files could not be put back, they stay for the next run."""
        stages = list(self._stages.values())
        with held():
            unfinished = bool(stages) and stages[0].journal.exists()
            for stage in stages:
                release_stage(stage) if unfinished else remove_stage(stage)

    def _told(self, error: OSError | OutputError) -> OutputError:
        """The error as the user can understand it, who knows nothing of the temporary names."""
        gone = [target.parent for target in self._targets.values() if not target.parent.is_dir()]
        if gone:
            return OutputError(f"the results cannot be written: the folder {gone[0]} does not exist any more")
        if isinstance(error, FileExistsError) and error.filename2:
            return OutputError(f"{error.filename2}: was just made by another program, so it is not replaced")
        if isinstance(error, OSError):
            return OutputError(f"the results cannot be written: {error.strerror or error}")
        text = str(error)
        for role, target in self._targets.items():
            if target.parent in self._stages:
                text = text.replace(str(self._stages[target.parent].new / target.name), str(self._given[role]))
        return OutputError(text)


def _flush(path: Path) -> None:
    """Have a file on the disk, where the file system knows that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        close_file(descriptor)
