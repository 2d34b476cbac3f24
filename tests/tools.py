"""Programs that tests run: found, or the test says what is missing."""

import glob
import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "calcurse": "calcurse",
    "dh": "debhelper",
    "dpkg-buildpackage": "dpkg-dev",
    "lintian": "lintian",
    "chromium": "chromium",
    "fish": "fish",
    "initdb": "postgresql",
    "mandoc": "mandoc",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "shellcheck": "shellcheck",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "zsh": "zsh",
}
"""Program -> the Debian package that brings it."""

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Quick, and on no network of its own."""


def find_tool(name: str) -> Path | None:
    """Where *name* is, on PATH or among PostgreSQL's own programs (newest version first), or None."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    servers = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]), reverse=True)  # noqa: PTH207
    return next((Path(folder) / name for folder in servers if (Path(folder) / name).exists()), None)


def require_tool(name: str) -> Path:
    """
    Where *name* is; a test that can't do without it is skipped on a developer's machine and fails under CI.

    Raises:
        pytest.skip.Exception: not installed, and `CI` is not set.
        pytest.fail.Exception: not installed, and `CI` is set: there a missing tool would hide untested code.
    """
    found = find_tool(name)
    if found is not None:
        return found
    message = f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
