"""Watches the files of the configuration, for platforms that change them without a signal."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class ConfigFileWatch:
    """
    Calls *on_change* when the content of some *files* has changed and is the same at two steps in a row.

    Args:
        files: the files to look at, and folders, which stand for the `.yaml` files in them.
        on_change: gets the files that have changed.
    """

    def __init__(self, files: Callable[[], Sequence[Path]], on_change: Callable[[Sequence[Path]], None]) -> None:
        self._files = files
        self._on_change = on_change
        self._known = self._seen = _digests(files())

    async def step(self) -> bool:
        """Look once; there is never more to do."""
        files = self._files()
        seen = await asyncio.to_thread(_digests, files)
        if seen[files[0]] and seen == self._seen:
            changed = [file for file in seen if self._known.get(file, seen[file]) != seen[file]]
            self._known = seen
            if changed:
                self._on_change(changed)
        self._seen = seen
        return False


def _digests(files: Sequence[Path]) -> Mapping[Path, bytes]:
    return {file: _digest(file) for file in files}


def _digest(file: Path) -> bytes:
    """Of the content of *file*; empty when it can't be read."""
    try:
        if file.is_dir():
            parts = sorted(file.glob("[!.]*.yaml"))
            return b"\n".join(part.name.encode() + _digest(part) for part in parts)
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""
