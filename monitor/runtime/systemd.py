"""Readiness, watchdog, status."""

import os
import socket

from monitor.runtime.loop import _log


class ServiceManager:
    """
    Tells systemd how the service is; does nothing when it is not there.

    Attributes:
        watchdog_seconds: without a sign of life for so long the service manager ends this process; None: it does not.
        trouble: what people should read in `systemctl status` besides the counts; "" when there is none.

    Source: sd_notify(3), "Well-known assignments": datagrams to the socket named by $NOTIFY_SOCKET.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._reached = True
        self._owed: tuple[str, ...] = ()
        self.watchdog_seconds = watchdog_seconds
        self.trouble = ""

    @classmethod
    def from_environment(cls) -> "ServiceManager":
        """The service manager that started this process, if one did."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(microseconds) / 1e6 if own and microseconds.isdigit() else None
        return cls(os.environ.get("NOTIFY_SOCKET"), watchdog)

    def ready(self, status: str) -> None:
        """The service is up."""
        self._change("READY=1", self._status(status))

    def reloading(self, monotonic_seconds: float) -> None:
        """The configuration is being read again."""
        self._change("RELOADING=1", f"MONOTONIC_USEC={int(monotonic_seconds * 1e6)}")

    def stopping(self) -> None:
        """The service is going down."""
        self._change("STOPPING=1", "STATUS=Finishing what is in hand")

    def alive(self, status: str) -> None:
        """Every loop makes progress."""
        self._send("WATCHDOG=1", self._status(status))

    def unwell(self, status: str) -> None:
        """Something stands still: only words, no sign of life."""
        self._send(f"STATUS={status}")

    def _status(self, status: str) -> str:
        return f"STATUS={status}; {self.trouble}" if self.trouble else f"STATUS={status}"

    def _change(self, *lines: str) -> None:
        """A new state: where it can't be told now, it is told before the next words."""
        self._owed = ()
        self._owed = () if self._send(*lines) else lines

    def _send(self, *lines: str) -> bool:
        """Whether *lines* were taken. Never waits: a service manager that reads nothing must not stop the checks."""
        if not self._address:
            return True
        if self._owed:
            self._change(*self._owed)
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as notify:
            try:
                notify.connect(address)
                notify.send("\n".join(lines).encode())
            except OSError as error:
                if self._reached:
                    _log.warning("systemd.notify_failed", problem=error.strerror)
                self._reached = False
                return False
        self._reached = True
        return True
