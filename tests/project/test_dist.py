"""What `make dist` makes: whole, and the same bytes each time."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from monitor import __version__
from tests.project.source import ROOT

EPOCH = "1767225600"


def _dist(source: Path, folder: Path, umask: int) -> Path:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"SOURCE_DATE_EPOCH": EPOCH}
    command: list[str | Path] = [source / ".ci/dist", sys.executable, folder]
    done = subprocess.run(command, env=environment, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in listing.stdout.decode().splitlines() if (ROOT / name).exists()]


def _members(archive: Path) -> dict[str, int]:
    """Path -> mode of every file of an archive."""
    with tarfile.open(archive) as opened:
        return {member.name: member.mode for member in opened if member.isfile()}


@pytest.mark.slow
def test_two_builds_are_equal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another folder, another umask, files with other times and modes: every file of the release has the same bytes."""
    # Not `tmp_path`, where no secret may be left: the source holds those of the tests.
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "elsewhere/source"
    for name in _tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
        (copy / name).chmod((copy / name).stat().st_mode & ~0o077)

    one, two = _dist(ROOT, folder / "one", 0o022), _dist(copy, folder / "two", 0o077)

    assert sorted(path.name for path in one.iterdir()) == [
        "SHA256SUMS",
        f"postpost-monitor-{__version__}-image.tar.gz",
        f"postpost-monitor-{__version__}.cdx.json",
        f"postpost_monitor-{__version__}-py3-none-any.whl",
        f"postpost_monitor-{__version__}.tar.gz",
        "requirements.txt",
    ]
    sums = _sums(one)
    assert _sums(two) == sums
    listed = dict(line.split("  ")[::-1] for line in (one / "SHA256SUMS").read_text().splitlines())
    assert listed == {name: total for name, total in sums.items() if name != "SHA256SUMS"}

    # The source archive is the whole source; the image's archive is what its Dockerfile copies.
    top = f"postpost_monitor-{__version__}"
    in_source = {name.removeprefix(f"{top}/") for name in _members(one / f"{top}.tar.gz")}
    assert {name for name in _tracked() if not name.startswith((".github/", ".editorconfig"))} - in_source == set()
    in_image = _members(one / f"postpost-monitor-{__version__}-image.tar.gz")
    sources = re.findall(r"^!(\S+)$", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), re.MULTILINE)
    wanted = [name for name in _tracked() if name.startswith(tuple(sources))]
    assert set(in_image) == {*wanted, "deploy/Dockerfile", "deploy/Dockerfile.dockerignore"}


def test_bill_of_materials() -> None:
    """The SBOM is valid CycloneDX, lists every pinned package with its hashes, and says which needs which."""
    command = [sys.executable, ".ci/sbom", "requirements.txt", __version__]
    said = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH}, capture_output=True, text=True, check=True
    ).stdout
    pins = re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    bill = json.loads(said)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(said) is None
    assert [(one["name"], one["version"]) for one in bill["components"]] == pins
    assert all(any(fact["name"] == "pip:hash" for fact in one["properties"]) for one in bill["components"])
    needed = {reference for entry in bill["dependencies"] for reference in entry["dependsOn"]}
    assert needed == {one["bom-ref"] for one in bill["components"]}
