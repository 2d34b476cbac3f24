"""What came of a reload, in the service's runtime directory, for the command that asked for it."""

import json
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from monitor.clock import Clock
from monitor.errors import UsageError

_NAME = "reload.json"
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """The problems of a refused configuration, or the sections of an applied one that need a restart."""

    problems: Sequence[str] = ()
    restart: Sequence[str] = ()


def record(outcome: ReloadOutcome, environ: Mapping[str, str] = os.environ) -> None:
    """Write *outcome*; without a runtime directory, or when that takes no writes, nothing."""
    folder = environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    own = Path(folder) / f"{_NAME}.new"
    try:
        # The number tells two outcomes apart that say the same.
        own.write_text(json.dumps({**asdict(outcome), "number": secrets.token_hex(8)}), encoding="utf-8")
        own.replace(Path(folder) / _NAME)
    except OSError:
        return


async def request(pid: int, within_seconds: float, clock: Clock, environ: Mapping[str, str] = os.environ) -> ReloadOutcome | None:
    """Ask the process *pid* to reload, and wait; None when there was no outcome in time. Raises `UsageError` where that is impossible."""
    folder = environ.get("RUNTIME_DIRECTORY")
    if not folder:
        raise UsageError("RUNTIME_DIRECTORY is not set: use systemctl reload, or send SIGHUP and read the log")
    # To 0 and to negative numbers belong whole groups of processes.
    if pid <= 1:
        raise UsageError("the process of the service is not known; give its --pid")
    path, end = Path(folder) / _NAME, clock.monotonic() + within_seconds
    before = _read(path)
    try:
        os.kill(pid, signal.SIGHUP)
    except (OSError, OverflowError) as error:
        raise UsageError(f"process {pid} can't be asked to reload: {error}") from None
    while (found := _read(path)) == before:
        if clock.monotonic() > end:
            return None
        await clock.sleep(_POLL_SECONDS)
    return ReloadOutcome(found["problems"], found["restart"])


def _read(path: Path) -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
