"""One process at a time: an advisory lock on a file beside the database, which the kernel frees however we end."""

import fcntl
import os
import socket
from pathlib import Path

from monitor.errors import AnotherInstance, StoreUnavailable


class InstanceLock:
    """
    The lock of one database file.

    It is a file of its own: closing any handle of the database file would drop SQLite's locks. It is never deleted,
    or two processes could hold locks on two files of the same name.
    """

    def __init__(self, database: Path, owner: str) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._owner = owner
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises AnotherInstance at once, saying who has it."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"the lock file {self.path} can't be opened: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 500, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(handle)
            raise AnotherInstance(f"another instance holds the database {self.path.with_suffix('')}: {holder}") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{describe(self._owner)}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; harmless when it was not taken."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def describe(owner: str) -> str:
    """How others read of this process: pid, host and *owner*."""
    return f"pid {os.getpid()} on host {socket.gethostname()} ({owner})"
