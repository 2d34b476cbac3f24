"""A fresh Debian with a real systemd, in a container of systemd-nspawn that shares this machine's network."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = "ca-certificates,git,make,python3,systemd,systemd-sysv"
PATIENCE_SECONDS = 60.0

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_KEPT = ("PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "SSL_CERT_FILE")
"""What of the environment says how the package registries are reached."""


class Failed(Exception):
    """What was expected of the machine did not happen."""


def missing_tools() -> list[str]:
    """The Debian packages that are needed and not there."""
    needed = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
    return [package for tool, package in needed.items() if shutil.which(tool) is None]


def kept_environment() -> list[str]:
    """`NAME=VALUE` of what says how the package registries are reached."""
    return [f"{name}={os.environ[name]}" for name in _KEPT if name in os.environ]


def fresh_debian(folder: Path, release: str, packages: str) -> Path:
    """A Debian that nothing was ever done to, below *folder*: made once and kept."""
    made = folder / f"debian-{release}"
    if not (made / "complete").exists():
        shutil.rmtree(made, ignore_errors=True)
        run(["debootstrap", "--variant=minbase", f"--include={packages}", release, str(made)])
        # Who reaches the package registries through a proxy of their own trusts its certificate too.
        shutil.copy(_CERTIFICATES, made / _CERTIFICATES.relative_to("/"))
        (made / "complete").touch()
    return made


class Container:
    """One machine: copied from a template for each use, booted, and powered off."""

    def __init__(self, folder: Path, name: str = "machine") -> None:
        self._folder = folder
        self.root = folder / name
        self._boot: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def make(self) -> None:
        """A machine that nothing was ever done to."""
        template = fresh_debian(self._folder, "bookworm", PACKAGES)
        shutil.rmtree(self.root, ignore_errors=True)
        run(["cp", "--archive", str(template), str(self.root)])

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
        inside = [
            "env",
            "-i",
            "HOME=/root",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *kept_environment(),
        ]
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd", *inside]
        return run([*enter, "bash", "-euc", script], check=check)

    def until(self, what: str, holds: Callable[[], object], within: float = PATIENCE_SECONDS) -> None:
        """Wait for a fact; raises Failed when it does not come to hold."""
        until(what, holds, within)

    def log(self) -> str:
        """The last lines of the service's journal."""
        return self.run("journalctl --unit postpost-monitor --no-pager --lines 40", check=False)

    def _find_leader(self) -> bool:
        if self._boot is None:
            return False
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
        self._leader = int(children[0]) if children else 0
        return bool(children)


def until(what: str, holds: Callable[[], object], within: float = PATIENCE_SECONDS) -> None:
    """Wait for a fact; raises Failed when it does not come to hold."""
    end = time.monotonic() + within
    while not _is_so(holds):
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {within:.0f} s")
        time.sleep(0.3)


def _is_so(holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except OSError:  # nobody listens, or not to everybody
        return False


def run(command: list[str], *, check: bool = True) -> str:
    """What a command prints; raises Failed if it fails and *check* is set."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if check and done.returncode != 0:
        raise Failed(f"{command[-1]!r} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout
