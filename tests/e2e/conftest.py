"""The wheel, installed with exactly the locked requirements, as a user would have it; a browser."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
import pytest_asyncio
from packaging.requirements import Requirement
from playwright.async_api import Browser, async_playwright

from tests.tools import CHROMIUM_ARGUMENTS, require_tool

ROOT = Path(__file__).parent.parent.parent


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _install(folder: Path) -> None:
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    packages = sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    for requirement in _locked():
        _link(requirement, Path(packages))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--no-index", next((folder / "dist").glob("*.whl")))


def _locked() -> list[Requirement]:
    """What requirements.txt pins for this interpreter and platform."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line.removesuffix("\\").strip()) for line in lines if line[:1].isalnum()]
    return [one for one in pinned if one.marker is None or one.marker.evaluate()]


def _link(requirement: Requirement, packages: Path) -> None:
    """
    Put the files of an installed distribution into *packages* too.

    `make` installed them by their hashes; to download and unpack them once more in every run would take half a minute.
    """
    installed = distribution(requirement.name)
    assert requirement.specifier.contains(installed.version), f"{requirement} is locked, {installed.version} is installed: run make"
    for file in installed.files or ():
        target = packages / file
        if ".." in file.parts:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.locate(), target)
        except OSError:
            shutil.copy2(file.locate(), target)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed `postpost-monitor`; installed once for all workers of a run, and afresh for every run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    with Path(f"{shared}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            _install(shared)
            (shared / "done").touch()
    return shared / "venv" / "bin" / "postpost-monitor"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium, started once."""
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=require_tool("chromium"), args=CHROMIUM_ARGUMENTS)
        yield running
        await running.close()
