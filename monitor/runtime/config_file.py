"""Watches the configuration file, for platforms that change it without a signal."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path


class ConfigFileWatch:
    """
    Calls *on_change* when the content of *path* has changed and is the same at two steps in a row, so that no half of it is read.

    By its content, and not by its times: a Kubernetes volume swaps a symbolic link. A file that is away for a moment has not changed.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._known = self._seen = self._digest()

    async def step(self) -> bool:
        """Look once; there is never more to do."""
        seen = await asyncio.to_thread(self._digest)
        if seen and seen == self._seen and seen != self._known:
            self._known = seen
            self._on_change()
        self._seen = seen
        return False

    def _digest(self) -> bytes:
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()
        except OSError:
            return b""
