"""The web port behind TLS and a password, as those see it who ask it every day: Prometheus, curl and promtool."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests import marked
from tests.certificates import Authority
from tests.deploy.daemon import PROGRAM, ROOT, Daemon, Simulated
from tests.deploy.notify import own_environment
from tests.deploy.prometheus import Prometheus
from tests.e2e.processes import wait_until
from tests.tools import require_tool
from tests.waiting import eventually_sync

PASSWORD, NEW_PASSWORD = marked.PASSWORD, marked.PASSWORD + "-of-tomorrow"


def _hash(password: str) -> str:
    command = [*PROGRAM, "config", "hash-password"]
    done = subprocess.run(command, cwd=ROOT, input=password + "\n", capture_output=True, text=True, check=True, env=own_environment())
    return done.stdout.strip()


def _web_file(folder: Path, password: str) -> Path:
    path = folder / "web.yml"
    path.touch(mode=0o600)
    text = "tls_server_config: {cert_file: web.crt, key_file: web.key}\n"
    path.write_text(f"{text}basic_auth_users: {{prometheus: {_hash(password)}}}\n")
    return path


def _curl(daemon: Daemon, authority: Path, path: str, *options: str) -> str:
    """The answer's head and body, or curl's complaint."""
    url = daemon.url.replace("http://", "https://") + path
    done = subprocess.run(["curl", "-s", "-S", "-i", "--cacert", authority, *options, url], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_scraped_behind_a_password(simulated: Simulated, tmp_path: Path, promtool: Path) -> None:
    """
    A real Prometheus scrapes the real daemon over TLS with a password, curl is let in with it alone, and promtool accepts the file.

    After SIGHUP the new password and the new certificate hold; after a broken file the old ones do.
    """
    authority = Authority(tmp_path)
    authority.issue("web", "127.0.0.1")
    web_file = _web_file(tmp_path, PASSWORD)
    subprocess.run([promtool, "check", "web-config", web_file], check=True, capture_output=True)
    (tmp_path / "password").write_text(PASSWORD)
    job = f", scheme: https, tls_config: {{ca_file: {authority.file}}}, basic_auth: {{username: prometheus, password_file: {tmp_path}/password}}"

    with Daemon(tmp_path, simulated, web=f", config_file: {web_file}") as daemon:
        wait_until("readiness", lambda: " 200 " in _curl(daemon, authority.file, "/-/ready"), alive=None)
        refused = _curl(daemon, authority.file, "/metrics")
        assert refused.startswith("HTTP/1.1 401 ")
        assert "X-Frame-Options: " in refused
        assert _curl(daemon, authority.file, "/metrics", "-u", "prometheus:wrong").startswith("HTTP/1.1 401 ")
        let_in = _curl(daemon, authority.file, "/metrics", "-u", f"prometheus:{PASSWORD}")
        assert let_in.startswith("HTTP/1.1 200 ")
        assert "postpost_monitor_build_info" in let_in
        assert "certificate" in _curl(daemon, Path("/etc/ssl/certs/ca-certificates.crt"), "/metrics")

        with Prometheus(require_tool("prometheus"), tmp_path, daemon.url.removeprefix("http://"), job) as prometheus:
            eventually_sync(lambda: prometheus.series('up{job="postpost-monitor"} == 1'), what="a scrape")
            assert prometheus.targets()[0]["scrapeUrl"].startswith("https://")

        web_file.write_text("basic_auth_users: {prometheus: nonsense}\n")
        daemon.process.send_signal(signal.SIGHUP)
        eventually_sync(lambda: "config.rejected" in (tmp_path / "daemon.log").read_text(), what="the refusal")
        assert _curl(daemon, authority.file, "/metrics", "-u", f"prometheus:{PASSWORD}").startswith("HTTP/1.1 200 ")

        successor = tmp_path / "successor"
        successor.mkdir()
        renewed = Authority(successor)
        for made, place in zip(renewed.issue("web", "127.0.0.1"), ("web.crt", "web.key"), strict=True):
            (tmp_path / place).write_bytes(made.read_bytes())
        _web_file(tmp_path, NEW_PASSWORD)
        daemon.process.send_signal(signal.SIGHUP)
        new = ("-u", f"prometheus:{NEW_PASSWORD}")
        eventually_sync(lambda: _curl(daemon, renewed.file, "/metrics", *new).startswith("HTTP/1.1 200 "), what="the new password")
        assert _curl(daemon, renewed.file, "/metrics", "-u", f"prometheus:{PASSWORD}").startswith("HTTP/1.1 401 ")
        assert daemon.stop() == 0
    log = (tmp_path / "daemon.log").read_text()
    assert PASSWORD not in log
    assert "$2b$" not in log
