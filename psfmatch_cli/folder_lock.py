"""Advisory locks of folders and files, which go on where a file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from psfmatch_cli.errors import OutputError
from psfmatch_cli.interrupts import checkpoint

#: How long to wait for another run that is renaming its files, seconds. That takes milliseconds, so a longer wait
#: means that the other one hangs or was stopped.
PATIENCE = 60.0
_STEP = 0.01

#: What the system says where a file system has no locks, or none for a folder (NFS).
_NO_LOCKS = {
    number
    for name in ("ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "EBADF")
    if (number := getattr(errno, name, None)) is not None
}


@contextmanager
def locked_folders(folders: Iterable[Path]) -> Iterator[bool]:
    """Hold the locks of folders, so that no other run makes, renames or removes its files there meanwhile.

    They are taken in the order of their device and inode, so that two runs never wait for each other. The lock is on
    the folder itself: it leaves no file, and ends with the process, however that ends. What the block gets is whether
    all of them can be locked.

    Raises
    ------
    OutputError
        If another run has held one for `PATIENCE`.
    OSError
        If a folder cannot be opened.
    """
    with ExitStack() as stack:
        opened: dict[tuple[int, int], tuple[int, Path]] = {}
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(close_file, descriptor)
            status = os.fstat(descriptor)
            opened.setdefault((status.st_dev, status.st_ino), (descriptor, folder))
        taken = [_wait_for(descriptor, folder) for _, (descriptor, folder) in sorted(opened.items())]
        yield all(taken)


def _wait_for(descriptor: int, folder: Path) -> bool:
    """Wait for the lock; whether there is one."""
    deadline = time.monotonic() + PATIENCE
    while (taken := try_lock(descriptor)) is False:
        checkpoint()
        if time.monotonic() > deadline:
            raise OutputError(f"{folder}: another run has locked this folder for {PATIENCE:.0f} s; try again later")
        time.sleep(_STEP)
    return taken is True


def close_file(descriptor: int) -> None:
    """Close a file that was not written to, so that an error has no meaning; that also gives up its lock."""
    with suppress(OSError):
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Whether the lock of an open file was free and is now ours; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True
