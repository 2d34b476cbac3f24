"""The image and the compose file, linted and read as text: no container engine runs here."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import load
from monitor.notify import templates
from tests import marked
from tests.deploy.daemon import ROOT
from tests.e2e.processes import free_port
from tests.tools import require_tool
from tests.waiting import eventually_sync

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
FINAL_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


FILES = pytest.mark.parametrize("name", ["compose.yaml", "compose.cluster.yaml"])


def _compose(name: str = "compose.yaml") -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return document


def _sources() -> list[str]:
    return [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]


def _complaints(tool: str, *words: str | Path) -> str:
    done = subprocess.run([Path(sys.executable).parent / tool, *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_linters() -> None:
    """Hadolint has nothing to say about the image, and the compose files are such by the specification's schema."""
    assert _complaints("hadolint", DEPLOY / "Dockerfile") == ""
    files = sorted(DEPLOY.glob("compose*.yaml"))
    assert len(files) == 2
    assert _complaints("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files) == ""


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


@FILES
def test_mounted_files_exist(name: str) -> None:
    """Every file of the repository that a service mounts is there; only secrets are left to the operator."""
    services = _compose(name)["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    files = [mount for mount in mounts if mount.startswith(".")]

    assert files
    assert [mount for mount in files if not (DEPLOY / mount).exists()] == []
    assert set(mounts) - set(files) <= set(_compose(name)["volumes"])


@FILES
def test_ports_are_loopback(name: str) -> None:
    """Nothing is published to other machines."""
    ports = [port for service in _compose(name)["services"].values() for port in service.get("ports", ())]

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


def test_configuration_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both nodes share the work, are known by their names to each other and to Prometheus, and nothing is wrong with their file."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in ("api-key", "web-token"):
        (tmp_path / name).write_text(marked.API_KEY)
    (tmp_path / "database-url").write_text(f"postgresql://monitor:{marked.PASSWORD}@primary/monitor?sslmode=disable")

    config = load(DEPLOY / "docker/cluster.yaml", check_template=templates.problems)

    nodes = [name for name, service in _compose("compose.cluster.yaml")["services"].items() if service.get("hostname") == name]
    assert nodes == ["node-1", "node-2"]
    assert config.cluster is not None
    assert config.cluster.mode == "shared"
    assert set(nodes) <= set(config.web.allowed_hosts)
    assert 'targets: ["node-1:9840", "node-2:9840"]' in (DEPLOY / "docker/prometheus.cluster.yml").read_text(encoding="utf-8")
    assert [warning.message for warning in config.warnings] == ["no receiver is configured: no notifications are sent"]


def _alertmanager_command(folder: Path, url: str, program: str) -> list[str]:
    """What starts Alertmanager in its container, with files of *folder* and *program* in its place."""
    (folder / "alert-url").write_text(url)
    example = (DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    (folder / "alertmanager.yml").write_text(example.replace("group_wait: 30s", "group_wait: 1s"))
    shell, options, script = _compose()["services"]["alertmanager"]["entrypoint"]
    for place, there in (
        ("/run/secrets/alert-url", folder / "alert-url"),
        ("/etc/alertmanager/alertmanager.yml", folder / "alertmanager.yml"),
        ("/tmp/alertmanager.yml", folder / "made.yml"),
        ("--storage.path=/alertmanager", f"--storage.path={folder}/data"),
        ("/bin/alertmanager", program),
    ):
        assert place in script
        script = script.replace(place, str(there))
    return [shell, options, script.replace("$$", "$")]


def test_alertmanager_gets_its_address(tmp_path: Path) -> None:
    """Every receiver of the example gets the address of the secret; Alertmanager accepts the result, the inhibitions are kept."""
    url = "https://hooks.example.org/a?b=1&c=2"
    subprocess.run(_alertmanager_command(tmp_path, url, "true"), check=True)
    made = yaml.safe_load((tmp_path / "made.yml").read_text(encoding="utf-8"))
    example = yaml.safe_load((tmp_path / "alertmanager.yml").read_text(encoding="utf-8"))

    assert {hook["url"] for receiver in made["receivers"] for hook in receiver["webhook_configs"]} == {url}
    assert made | {"receivers": []} == example | {"receivers": []}
    subprocess.run([require_tool("amtool"), "check-config", tmp_path / "made.yml"], check=True, capture_output=True)


@pytest.mark.slow
def test_alertmanager_reaches_its_receiver(tmp_path: Path) -> None:
    """An alert that is sent to the Alertmanager of the compose file arrives at the address of the secret."""
    arrived: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        """Keeps what is sent."""

        def do_POST(self) -> None:
            """Keep one message."""
            arrived.append({"path": self.path, **json.loads(self.rfile.read(int(self.headers["Content-Length"])))})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    hook, port = ThreadingHTTPServer(("127.0.0.1", 0), Hook), free_port()
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    program = f"{require_tool('prometheus-alertmanager')} --web.listen-address=127.0.0.1:{port} --cluster.listen-address="
    command = _alertmanager_command(tmp_path, f"http://127.0.0.1:{hook.server_port}/hook?a=1&b=2", program)
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        added: list[str | Path] = [require_tool("amtool"), f"--alertmanager.url={url}", "alert", "add", "Test", "severity=critical"]
        eventually_sync(lambda: subprocess.run(added, capture_output=True, check=False).returncode == 0, what="Alertmanager")
        eventually_sync(lambda: arrived, what="the alert")
    finally:
        process.kill()
        process.wait()
        hook.shutdown()
        hook.server_close()
    assert arrived[0]["path"] == "/hook?a=1&b=2"
    assert arrived[0]["alerts"][0]["labels"]["alertname"] == "Test"
