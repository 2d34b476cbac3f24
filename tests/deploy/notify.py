"""A service manager's side of the notify protocol: a datagram socket and what came in."""

import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Message:
    """One datagram: when it came, in seconds of the monotonic clock, and its assignments."""

    at: float
    fields: dict[str, str]


class NotifySocket:
    """
    Listens where `$NOTIFY_SOCKET` points, as systemd does.

    Source: sd_notify(3), "Notes": AF_UNIX, SOCK_DGRAM, newline-separated assignments.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.sendto(b"", str(self.path))
        sender.close()
        self._thread.join()
        self._socket.close()

    def environment(self, watchdog_seconds: float = 60.0) -> dict[str, str]:
        """What systemd adds to the environment of a service with `Type=notify` and `WatchdogSec=`."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))}

    def seen(self, name: str, *, since: float = 0.0) -> list[Message]:
        """The messages that assign *name* and came after *since*."""
        return [message for message in list(self.messages) if name in message.fields and message.at >= since]

    def order(self) -> list[str]:
        """The states in their order, without the signs of life."""
        wanted = ("READY", "RELOADING", "STOPPING")
        return [name for message in list(self.messages) for name in message.fields if name in wanted]

    def last_status(self) -> str:
        """The newest `STATUS=`."""
        statuses = self.seen("STATUS")
        return statuses[-1].fields["STATUS"] if statuses else ""

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            lines = [line.partition("=") for line in data.decode().splitlines()]
            self.messages.append(Message(time.monotonic(), {name: value for name, _, value in lines}))


def own_environment() -> dict[str, str]:
    """The environment of this process without anything of a service manager in it."""
    return {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
