"""A fresh Debian with a real systemd, in a container of systemd-nspawn that shares this machine's network."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = "ca-certificates,git,make,python3,systemd,systemd-sysv"
PATIENCE_SECONDS = 60.0

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_KEPT = ("PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "SSL_CERT_FILE")


class Failed(Exception):
    """What was expected of the machine did not happen."""


def missing_tools() -> list[str]:
    """The Debian packages that are needed and not there."""
    needed = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
    return [package for tool, package in needed.items() if shutil.which(tool) is None]


class Container:
    """One machine: made once and kept as a template, copied for each use, booted, and powered off."""

    def __init__(self, folder: Path, name: str = "machine") -> None:
        self._template = folder / f"debian-{RELEASE}"
        self.root = folder / name
        self._boot: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def make(self) -> None:
        """A machine that nothing was ever done to."""
        if not (self._template / "complete").exists():
            shutil.rmtree(self._template, ignore_errors=True)
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(self._template)]
            _run(command)
            # Who reaches the package registries through a proxy of their own trusts its certificate too.
            shutil.copy(_CERTIFICATES, self._template / _CERTIFICATES.relative_to("/"))
            (self._template / "complete").touch()
        shutil.rmtree(self.root, ignore_errors=True)
        _run(["cp", "--archive", str(self._template), str(self.root)])

    def boot(self) -> None:
        """Start systemd in it, and wait until it has started everything."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self.root}", "--boot"]
        self._boot = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until("systemd", lambda: self._find_leader() and self.run("systemctl is-system-running", check=False).strip() == "running")

    def power_off(self) -> None:
        """Stop it, as a person would."""
        if self._boot is not None:
            self.run("systemctl poweroff", check=False)
            self._boot.wait(PATIENCE_SECONDS)

    def run(self, script: str, *, check: bool = True) -> str:
        """What a shell script prints, run as root inside; raises Failed if it fails and *check* is set."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        words = [f"{name}={value}" for name, value in environment.items()]
        inside = ["env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *words]
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd", *inside]
        return _run([*enter, "bash", "-euc", script], check=check)

    def until(self, what: str, holds: Callable[[], object], within: float = PATIENCE_SECONDS) -> None:
        """Wait for a fact; raises Failed when it does not come to hold."""
        end = time.monotonic() + within
        while not _is_so(holds):
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {within:.0f} s")
            time.sleep(0.3)

    def _find_leader(self) -> bool:
        if self._boot is None:
            return False
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
        self._leader = int(children[0]) if children else 0
        return bool(children)


def _is_so(holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except OSError:  # nobody listens, or not to everybody
        return False


def _run(command: list[str], *, check: bool = True) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if check and done.returncode != 0:
        raise Failed(f"{command[-1]!r} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout
