"""The image and the compose file, linted and read as text: no container engine runs here."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import load
from monitor.notify import templates
from tests import marked
from tests.deploy.daemon import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
FINAL_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def _sources() -> list[str]:
    return [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]


def _complaints(tool: str, *words: str | Path) -> str:
    done = subprocess.run([Path(sys.executable).parent / tool, *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_linters() -> None:
    """Hadolint has nothing to say about the image, and the compose file is one by the specification's schema."""
    assert _complaints("hadolint", DEPLOY / "Dockerfile") == ""
    assert _complaints("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml") == ""


def test_image_runs_as_nobody_special() -> None:
    """Two stages; the last one has no build tools, a user without rights, and the health of the real page."""
    assert len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)) == 2
    assert re.search(r"^USER 10001$", FINAL_STAGE, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK [^\n]*\\\n\s+CMD \[.*/-/healthy", FINAL_STAGE, re.MULTILINE)
    assert "pip" not in FINAL_STAGE
    assert re.search(r'^CMD \["run", "--config", "/etc/postpost-monitor/config.yaml"\]$', FINAL_STAGE, re.MULTILINE)


def test_image_is_made_of_hashed_packages() -> None:
    """Every package comes with its hash, or is our own wheel."""
    installs = re.findall(r"pip install [^\n]*", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in line or "--no-deps /wheel/" in line for line in installs)


def test_image_gets_what_it_copies() -> None:
    """What is copied exists and is not ignored; nothing else is sent to the engine."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()

    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(_sources())
    assert all((ROOT / source).exists() for source in _sources())


def test_mounted_files_exist() -> None:
    """Every file of the repository that a service mounts is there; only secrets are left to the operator."""
    services = _compose()["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    files = [mount for mount in mounts if mount.startswith(".")]

    assert files
    assert [mount for mount in files if not (DEPLOY / mount).exists()] == []
    assert set(mounts) - set(files) <= set(_compose()["volumes"])


def test_ports_are_loopback() -> None:
    """Nothing is published to other machines."""
    ports = [port for service in _compose()["services"].values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mounted configuration works with the two secrets, guards its port with a token, and answers to its service's name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in _compose()["secrets"]:
        (tmp_path / name).write_text(marked.API_KEY)

    config = load(DEPLOY / "docker/config.yaml", check_template=templates.problems)

    assert config.web.token is not None
    assert "monitor" in config.web.allowed_hosts
    assert 'targets: ["monitor:9840"]' in (DEPLOY / "docker/prometheus.yml").read_text(encoding="utf-8")
    assert [warning.message for warning in config.warnings] == ["no receiver is configured: no notifications are sent"]
