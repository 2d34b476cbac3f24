"""The SQLite file on disk: folder, permissions, instance lock, damage note."""

import contextlib
import fcntl
import os
import socket
import stat
from datetime import datetime, timedelta
from pathlib import Path

from monitor.errors import AnotherInstance, StoreError, StoreUnavailable, UnsafeDatabaseLocation

# Without shared memory between processes, which WAL needs, and without reliable locks.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "gfs2", "ocfs2", "davfs"}
_NETWORK |= {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.davfs", "fuse.cephfs"}


def prepare(path: Path) -> None:
    """
    Check folder and file of the database *path*, and create them readable by this user only.

    Raises:
        UnsafeDatabaseLocation: the folder is a symlink, world-writable or on a network, or the file is not a plain file.
        StoreUnavailable: the folder or file can't be created.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder)
        _check_file(path)
    except OSError as error:
        raise StoreUnavailable(f"the database {path} can't be opened: {error.strerror}") from None


def remove_ballast(database: Path) -> None:
    """Delete the file that release 0.1 kept beside *database* as a reserve for a full disk."""
    with contextlib.suppress(OSError):
        database.with_name(database.name + ".ballast").unlink()


def make_private(path: Path) -> None:
    """Create *path* as an empty file that only this user can read; raises StoreError when it exists."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        raise StoreError(f"{path} exists already") from None
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be written: {error.strerror}") from None


def make_durable(partial: Path, target: Path) -> None:
    """Sync *partial* to disk and rename it to *target*; raises StoreUnavailable when that fails."""
    try:
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise StoreUnavailable(f"{target} can't be written: {error.strerror}") from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds *path*; *mounts* is the text of `/proc/self/mountinfo`."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= len(longest):
            longest, kind = point, after.split(" ", 1)[0]
    return kind


class DamageNote:
    """A file `<database>.damaged` beside a damaged database: the damage was notified, so restarts do not notify it again."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".damaged")

    def leave(self, now: datetime, lasting: timedelta) -> bool:
        """Whether there was no note from the *lasting* time before *now*; there is one now."""
        with contextlib.suppress(OSError):
            age = now.timestamp() - self.path.lstat().st_mtime
            if 0 <= age < lasting.total_seconds():
                return False
        with contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            os.utime(self.path, (now.timestamp(), now.timestamp()))
        return True

    def remove(self) -> None:
        """Remove the note: the database is sound."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def _check_folder(folder: Path) -> None:
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise UnsafeDatabaseLocation(f"the database folder {folder} is a symbolic link: name the folder itself")
    if status.st_mode & stat.S_IWOTH:
        raise UnsafeDatabaseLocation(f"everybody can write to the database folder {folder}: use a folder of its own (chmod o-w)")
    with contextlib.suppress(OSError):
        kind = file_system(folder.resolve(), Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        if kind in _NETWORK:
            raise UnsafeDatabaseLocation(
                f"the database folder {folder} is on a network file system ({kind}): use a local disk, or PostgreSQL"
            )


def _check_file(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        make_private(path)
        return
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeDatabaseLocation(
            f"the database {path} is not a plain file: name the file itself in database.url, no folder and no link"
        )
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        path.chmod(0o600)


class InstanceLock:
    """The lock of one database file: a separate file, since closing a handle of the database drops SQLite's locks. Never deleted."""

    def __init__(self, database: Path, owner: str) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._owner = owner
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises AnotherInstance, naming the holder, when it is taken."""
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
        """Release the lock; harmless when it was not taken."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def describe(owner: str) -> str:
    """Name this process for other processes: pid, host and *owner*."""
    return f"pid {os.getpid()} on host {socket.gethostname()} ({owner})"
