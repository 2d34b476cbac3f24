"""Notifications to systemd: readiness, watchdog, status."""

import os
import socket

from monitor.runtime.loop import _log


class ServiceManager:
    """
    Notifies systemd; does nothing without it.

    Attributes:
        watchdog_seconds: `WatchdogSec=`: systemd ends the process after so long without a ping; None without a watchdog.
        trouble: added to the status line of `systemctl status`; "" without trouble.

    Source: sd_notify(3), "Well-known assignments": datagrams to the socket named by $NOTIFY_SOCKET.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._reached = True
        self._pending: tuple[str, ...] = ()
        self.watchdog_seconds = watchdog_seconds
        self.trouble = ""

    @classmethod
    def from_environment(cls) -> "ServiceManager":
        """The service manager of the environment; one without an address if there is none."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(microseconds) / 1e6 if own and microseconds.isdigit() else None
        return cls(os.environ.get("NOTIFY_SOCKET"), watchdog)

    def starting(self, status: str, *, extend_seconds: float) -> None:
        """The start takes longer: set the status, and let `TimeoutStartSec=` end in *extend_seconds* from now at the earliest."""
        self._send(f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(extend_seconds * 1e6)}")

    def ready(self, status: str) -> None:
        """The service is up."""
        self._change("READY=1", self._status(status))

    def reloading(self, monotonic_seconds: float) -> None:
        """The configuration is being read again."""
        self._change("RELOADING=1", f"MONOTONIC_USEC={int(monotonic_seconds * 1e6)}")

    def stopping(self) -> None:
        """The service is going down."""
        self._change("STOPPING=1", "STATUS=Draining")

    def alive(self, status: str) -> None:
        """Ping the watchdog: every loop makes progress."""
        self._send("WATCHDOG=1", self._status(status))

    def unwell(self, status: str) -> None:
        """A loop is stuck: set the status without a ping."""
        self._send(f"STATUS={status}")

    def _status(self, status: str) -> str:
        return f"STATUS={status}; {self.trouble}" if self.trouble else f"STATUS={status}"

    def _change(self, *lines: str) -> None:
        """Send a new state; if that fails, it is sent again before the next message."""
        self._pending = ()
        self._pending = () if self._send(*lines) else lines

    def _send(self, *lines: str) -> bool:
        """Whether *lines* were accepted. Never waits: a service manager that reads nothing must not stop the checks."""
        if not self._address:
            return True
        if self._pending:
            self._change(*self._pending)
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
