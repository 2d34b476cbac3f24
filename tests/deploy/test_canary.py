"""No secret leaves the process but to where it belongs, whatever fails: every byte that comes out is searched."""

import resource
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.cli.main import main
from tests import marked
from tests.deploy.daemon import ROOT, Daemon, Simulated
from tests.deploy.hostile import HostileReceiver
from tests.deploy.notify import own_environment
from tests.e2e.processes import fetch, free_port
from tests.waiting import eventually_sync, patience

THREADS = "threads-17841412345678"
PAGES = ("/", "/metrics", "/api/v1/summary", "/api/v1/connections", "/-/ready", "/-/healthy", "/nothing", f"/{marked.PATH[::-1]}")
VERBS = (
    ("status",), ("status", "--json"), ("history", THREADS), ("incidents", "--json"), ("explain", THREADS), ("deliveries", "list"),
    ("deliveries", "list", "--json"), ("export",), ("check",), ("config", "show"), ("config", "check", "--json"), ("db", "check"),
    ("receivers", "test", "refused"), ("receivers", "test", "nowhere"), ("receivers", "test", "templated"), ("silence", "list"),
)  # fmt: skip
TEMPLATE = f'{{"token": "{marked.TEMPLATE_TOKEN}", "text": "{{summary}}"}}'
MESSAGE = f"Token {marked.API_KEY} was revoked, see https://me:{marked.PASSWORD}@example.org/?access_token={marked.TOKEN}"


def receivers(api: Simulated, hostile: HostileReceiver, folder: Path) -> str:
    """One of each type, in trouble of each kind; the secrets are in files and in the configuration."""
    files = {
        "hook-url": api.hook,
        "secret": marked.signing(),
        "routing-key": marked.ROUTING_KEY,
        "heart-url": hostile.url("heart", marked.PATH),
    }
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content + "\n")
    bad = {
        "500": "type: webhook", "302": "type: slack", "410": "type: discord", "hang": "type: teams, timeout: 500ms",
        "400": "type: pagerduty, routing_key_file: routing-key", "403": f"type: opsgenie, api_key: {marked.ROUTING_KEY}", "429": "type: alertmanager",
    }  # fmt: skip
    header = f"headers: {{X-Team: {marked.HEADER}}}"
    rows = [f'{{name: r{way}, url: "{hostile.url(way, marked.PATH)}", {more}, {header}}}' for way, more in bad.items()]
    rows += [
        "{name: on-call, url_file: hook-url, secret_file: secret}",
        f"{{name: templated, url: \"{hostile.url('templated', marked.PATH)}\", template: '{TEMPLATE}'}}",
        f'{{name: refused, url: "http://127.0.0.1:{free_port()}/{marked.PATH}"}}',
        f'{{name: nowhere, url: "https://no-such-name.invalid/{marked.PATH}"}}',
        f'{{name: plain, url: "https://127.0.0.1:{hostile.port}/{marked.PATH}"}}',
    ]
    return ", ".join(rows)


def ask(url: str, path: str, token: str) -> bytes:
    """An answer, whichever it is."""
    try:
        return fetch(url + path, headers={"Authorization": f"Bearer {token}"} if token else None)
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers).encode() + error.read()


def _most_core_bytes(process: int) -> int:
    return resource.prlimit(process, resource.RLIMIT_CORE)[1]


def has(log: Path, *words: str) -> Callable[[], bool]:
    """Whether every one of these words is in the log."""
    return lambda: all(word in log.read_text() for word in words)


@pytest.mark.slow
def test_every_failure(simulated: Simulated, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A daemon at DEBUG with every kind of secret goes through failures of every kind of the API, the receivers, the
    configuration and its own end by SIGABRT. Nothing in its log, pages, metrics, database, backup, verbs' output, process
    list and webhook bodies holds one that does not belong there.
    """
    web = f", config_file: web.yml, token: {marked.TOKEN}"
    (tmp_path / "web.yml").touch(mode=0o600)
    (tmp_path / "web.yml").write_text("basic_auth_users: {anna: $2b$04$0K9sxW6mqzFVLnQ4XLZ2uOj0wpqNeoQC0QEQXbBhKbCAOQtf3rZgq}\n")
    more = "logging: {level: debug}\nheartbeat: {url_file: heart-url, every: 1s}\nmonitor: {instance: here}"
    log, output = tmp_path / "daemon.log", bytearray()
    with HostileReceiver() as hostile:
        environment = {"PYTHONFAULTHANDLER": "1"}
        daemon = Daemon(tmp_path, simulated, environment=environment, receivers=receivers(simulated, hostile, tmp_path), web=web, more=more)
        with daemon:
            daemon.ready()
            process = Path(f"/proc/{daemon.process.pid}")
            output += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            assert _most_core_bytes(daemon.process.pid) == 0
            simulated.steer.do(f"connections/{THREADS}/break", {"message": MESSAGE})
            told = {"500", "302", "410", "400", "403", "429", "hang", "templated", "heart"}
            eventually_sync(lambda: told <= set(hostile.bodies), what=f"{told}")
            eventually_sync(lambda: len(hostile.bodies["500"]) >= 2, what="a retry")
            for body in ({"error": MESSAGE}, MESSAGE):
                simulated.steer.do("api/answer", {"status": 500, "body": body, "times": 2})
            simulated.steer.do("api/redirect", {"location": f"https://example.org/{marked.API_KEY}", "times": 2})
            simulated.steer.do("api/garbage", {"name": "truncated", "times": 2})
            before = simulated.steer.requests()
            for path in PAGES:
                for token in ("", "wrong", marked.TOKEN):
                    output += ask(daemon.url, path, token)
            good = daemon.config.read_text()
            daemon.config.write_text(good + f"\n{marked.API_KEY}: {marked.PASSWORD}\napi: {{base_url: 'http://{marked.TOKEN}'}}\n")
            daemon.process.send_signal(signal.SIGHUP)
            eventually_sync(has(log, "config.rejected"), what="the refusal")
            daemon.config.write_text(good)
            daemon.process.send_signal(signal.SIGHUP)
            eventually_sync(has(log, "config.reloaded"), what="the reload")
            eventually_sync(lambda: simulated.steer.requests() >= before + 4, what="requests during the trouble")
            for verb in VERBS:
                with suppress(SystemExit):
                    main([*verb, "--config", str(daemon.config)])
            main(["db", "backup", str(tmp_path / "backup"), "--config", str(daemon.config)])
            daemon.process.send_signal(signal.SIGABRT)
            assert daemon.process.wait(patience()) == -signal.SIGABRT
    printed = capfd.readouterr()
    output += printed.out.encode() + printed.err.encode()
    assert len(printed.out) > 5000
    assert b"postpost_connection_up" in output
    assert "Fatal Python error: Aborted" in log.read_text()
    assert marked.disguises_in(bytes(output)) == []
    assert (tmp_path / "backup").stat().st_size > 10_000
    assert marked.leaks_below(tmp_path) == []
    own = {"400", "templated"}
    foreign = {way: [body for body in bodies if marked.disguises_in(body)] for way, bodies in hostile.bodies.items() if way not in own}
    assert foreign == {way: [] for way in foreign}
    for way, secret in (("400", marked.ROUTING_KEY), ("templated", marked.TEMPLATE_TOKEN)):
        assert all(marked.disguises_in(body.replace(secret.encode(), b"")) == [] for body in hostile.bodies[way])


@pytest.mark.slow
def test_an_error_in_each_layer(simulated: Simulated, tmp_path: Path) -> None:
    """Errors with secrets in their texts, raised in each layer at DEBUG, are logged with their tracebacks and without the secrets; so is the one that ends the process."""
    for name, content in {"api-key": simulated.key, "secret": marked.signing(), "hook-url": simulated.hook}.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content + "\n")
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"api: {{base_url: {simulated.url}/api/v1, requests_per_second: 100}}\naccounts: [{{name: main, api_key_file: api-key}}]\n"
        "schedule: {interval: 1s, recheck: 500ms, discovery: 1s}\nlogging: {level: debug}\n"
        f"receivers: [{{name: on-call, url_file: hook-url, secret_file: secret, headers: {{X-Team: {marked.PASSWORD}}}}}]\n"
        f'database: {{url: "sqlite:///{tmp_path}/monitor.db"}}\nweb: {{listen: "127.0.0.1:{port}", token: {marked.TOKEN}}}\n'
    )
    with (tmp_path / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.crashes", config], cwd=ROOT, stdout=log, stderr=log, env=own_environment()
        )
        try:
            while process.poll() is None:
                with suppress(OSError):
                    for path in ("/", "/metrics"):
                        ask(f"http://127.0.0.1:{port}", path, marked.TOKEN)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.3)
        finally:
            process.kill()
            process.wait()
    said = (tmp_path / "daemon.log").read_text()
    assert process.returncode == 1
    for event in ("web.failed", "process.crashed", "Future exception was never retrieved", "UserWarning"):
        assert event in said, event
    assert said.count("Traceback (most recent call last)") >= 5
    assert said.count("can't go on with <secret>") >= 5
    assert marked.disguises_in(said.encode()) == []
