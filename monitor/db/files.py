"""The database's folder and files: who may see them, which disks they may lie on, and a reserve for a full one."""

import contextlib
import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

from monitor.errors import StoreError, StoreMisplaced, StoreUnavailable

_MIB = 1024 * 1024

# WAL needs shared memory between processes, which these can't give; their locks are not to be trusted either.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "gfs2", "ocfs2", "davfs"}
_NETWORK |= {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.davfs", "fuse.cephfs"}


def prepare(path: Path) -> None:
    """
    Make sure that the database *path* may be opened: a folder of ours, a file that only we can read.

    Raises:
        StoreMisplaced: the folder is a symlink, world-writable or on a network, or the file is not a plain file.
        StoreUnavailable: the folder or file can't be made.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder)
        _check_file(path)
    except OSError as error:
        raise StoreUnavailable(f"the database {path} can't be opened: {error.strerror}") from None


def make_private(path: Path) -> None:
    """Create *path* as an empty file that only we can read; raises StoreError when it exists."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        raise StoreError(f"{path} exists already") from None
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be written: {error.strerror}") from None


def make_durable(partial: Path, target: Path) -> None:
    """Put *partial* on disk and give it the name *target*; raises StoreUnavailable when that fails."""
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
    """
    A file beside a damaged database that says that its damage was told: who starts the monitor again and again must not tell it each time.

    Attributes:
        path: `<database>.damaged`.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".damaged")

    def leave(self, now: datetime, lasting: timedelta) -> bool:
        """Whether nobody left the note within the *lasting* time before *now*; it is left now."""
        with contextlib.suppress(OSError):
            age = now.timestamp() - self.path.lstat().st_mtime
            if 0 <= age < lasting.total_seconds():
                return False
        with contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            os.utime(self.path, (now.timestamp(), now.timestamp()))
        return True

    def remove(self) -> None:
        """The database is sound (again)."""
        with contextlib.suppress(OSError):
            self.path.unlink()


class Ballast:
    """
    A file that only takes up room. On a full disk SQLite can't even delete; giving this up lets it.

    Attributes:
        path: `<database>.ballast`.
    """

    size = 16 * _MIB
    wanted_free = 64 * _MIB

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".ballast")

    def release(self) -> bool:
        """Give the room up; returns whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def restore(self) -> None:
        """Take the room again where the disk has plenty; quietly not where it can't be had."""
        with contextlib.suppress(OSError):
            space = os.statvfs(self.path.parent)
            if self.path.exists() or space.f_bavail * space.f_frsize < self.wanted_free + self.size:
                return
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(handle, 0, self.size)
            finally:
                os.close(handle)


def _check_folder(folder: Path) -> None:
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StoreMisplaced(f"the database folder {folder} is a symbolic link: name the folder itself")
    if status.st_mode & stat.S_IWOTH:
        raise StoreMisplaced(f"everybody can write to the database folder {folder}: use a folder of its own (chmod o-w)")
    with contextlib.suppress(OSError):
        kind = file_system(folder.resolve(), Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        if kind in _NETWORK:
            raise StoreMisplaced(f"the database folder {folder} is on a network file system ({kind}): use a local disk, or PostgreSQL")


def _check_file(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        make_private(path)
        return
    if not stat.S_ISREG(status.st_mode):
        raise StoreMisplaced(f"the database {path} is not a plain file: name the file itself in database.url, no folder and no link")
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        path.chmod(0o600)
