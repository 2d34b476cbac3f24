"""
What blackbox_exporter, Prometheus and Alertmanager, as an expert configures them, tell of worlds, beside the monitor.

The API of each world is served on the loopback interface in compressed time, 240 times as fast, and every period of the peers is
compressed alike: probes every 15 minutes, as the monitor checks. What the receiver of Alertmanager gets is judged by the judge of the
monitor's messages. The monitor runs through the same world on its virtual clock. In the worlds nothing disturbs the monitoring itself.
Six minutes; nothing without the three programs.
"""

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.replies.checks import Reply
from tests.bench.result import Result
from tests.e2e.processes import free_port
from tests.world.api import TrueClock, WorldApi, moment
from tests.world.generate import generate
from tests.world.judge import score
from tests.world.run import Message, Run, run
from tests.world.score import Fault, Score
from tests.world.truth import DOWN, MINUTE, Kind, World

SEEDS, DAYS, FASTER = (4, 47), 0.5, 240
"""The second world has an outage of the API and one of a whole platform."""

PROGRAMS = ("prometheus", "prometheus-blackbox-exporter", "prometheus-alertmanager")

_BLACKBOX = """
modules:
  connection:
    prober: http
    timeout: 2s
    http:
      valid_status_codes: [200]
      fail_if_body_not_matches_regexp: ['"status": "ok"']
      preferred_ip_protocol: ip4
"""

_PROMETHEUS = """
global: {{scrape_interval: {probe}, scrape_timeout: 2s, evaluation_interval: {minute}}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}
scrape_configs:
  - job_name: connections
    metrics_path: /probe
    params: {{module: [connection]}}
    file_sd_configs: [{{files: [{targets}]}}]
    relabel_configs:
      - {{source_labels: [number], target_label: __param_target, replacement: 'http://127.0.0.1:{api}/$1'}}
      - {{target_label: __address__, replacement: '127.0.0.1:{blackbox}'}}
"""

_RULES = """
groups:
  - name: connections
    rules:
      - alert: ApiDown
        expr: avg(probe_http_status_code != bool 200) > 0.6 unless avg(probe_http_status_code == bool 429) > 0.6
        for: {five}
        labels: {{severity: critical, scope: api}}
      - alert: KeyRefused
        expr: avg by (account) (probe_http_status_code == bool 401) > 0.6
        for: {five}
        labels: {{severity: critical, scope: account}}
      - alert: Throttled
        expr: avg(probe_http_status_code == bool 429) > 0.6
        for: {thirty}
        labels: {{severity: warning, scope: api}}
      - alert: PlatformDown
        expr: avg by (platform) (probe_failed_due_to_regex) >= 0.5 and sum by (platform) (probe_failed_due_to_regex) >= 2
        for: {five}
        labels: {{severity: warning, scope: platform}}
      - alert: ConnectionBroken
        expr: probe_failed_due_to_regex == 1 and on () avg(probe_http_status_code != bool 200) < 0.6
        for: {twenty}
        labels: {{severity: critical, scope: connection}}
      - alert: ConnectionUntestable
        expr: probe_http_status_code != 200 unless on () avg(probe_http_status_code != bool 200) > 0.2
        for: {hour}
        labels: {{severity: warning, scope: untestable}}
"""

_ALERTMANAGER = """
route: {{receiver: judge, group_by: [alertname, platform, account], group_wait: {minute}, group_interval: {five}, repeat_interval: 1h}}
inhibit_rules:
  - {{source_matchers: ['alertname="ApiDown"'], target_matchers: ['alertname!="ApiDown"']}}
  - {{source_matchers: ['alertname="KeyRefused"'], target_matchers: ['scope=~"connection|untestable"'], equal: [account]}}
  - {{source_matchers: ['alertname="PlatformDown"'], target_matchers: ['alertname="ConnectionBroken"'], equal: [platform]}}
receivers: [{{name: judge, webhook_configs: [{{url: 'http://127.0.0.1:{receiver}/', send_resolved: true}}]}}]
"""


def measure() -> Iterator[Result]:
    """The rows of the table, for the peers beside the monitor."""
    if not all(map(shutil.which, PROGRAMS)):
        print(f"not installed: {', '.join(name for name in PROGRAMS if not shutil.which(name))}")
        return
    for seed in SEEDS:
        world = generate(seed, DAYS, without=(*DOWN, Kind.CLOCK, Kind.RECEIVER))
        ours, theirs = run(world), _through_peers(world)
        for (what, unit, mine), (_, _, other) in zip(_rows(ours), _rows(theirs), strict=True):
            yield Result(f"world {seed}, monitor: {what}", mine, unit)
            yield Result(f"world {seed}, peers:   {what}", other, unit)


def _rows(told: Run) -> Iterator[tuple[str, str, float]]:
    total: Score = score(told)
    delays = [delay / MINUTE for delay in total.delays] or [0.0]
    yield f"genuine breaks told, of {total.breaks}", "", total.told
    yield "delay of undisturbed breaks, median", "min", median(delays)
    yield "delay of undisturbed breaks, longest", "min", max(delays)
    yield "false pages (but for the first of a lie)", "", total.count(Fault.FALSE_PAGE)
    yield "false recoveries", "", total.count(Fault.FALSE_RECOVERY)
    yield "never told to be over", "", total.count(Fault.LOST)
    yield "told twice", "", total.count(Fault.TWICE)
    yield "superfluous", "", total.count(Fault.SUPERFLUOUS)
    yield "messages in an outage of a platform, at most", "", max((begin + over for _, begin, over in total.per_platform), default=0)
    yield "messages in an outage of the API, at most", "", max((begin + over for begin, over in total.per_api), default=0)
    yield "requests to the receiver in all", "", len(told.requests)


@dataclass
class _Wall:
    """The world's time, compressed: seconds since its beginning."""

    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return (time.monotonic() - self.began) * FASTER


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self, status: int, body: bytes = b"") -> None:
        """Send one answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _through_peers(world: World) -> Run:
    """What Alertmanager's receiver got in *world*."""
    told = Run(world)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {name: free_port() for name in ("api", "receiver", "prometheus", "alertmanager", "blackbox")}
        wall = _Wall()
        stack.enter_context(_serving(ports["api"], _api(world, wall)))
        stack.enter_context(_serving(ports["receiver"], _receiver(told, wall)))
        _configure(world, directory, ports)
        for command in _commands(directory, ports):
            stack.enter_context(_running(command, directory))
        while wall.elapsed < world.ends:
            time.sleep(0.1)
    return told


def _api(world: World, wall: _Wall) -> type[BaseHTTPRequestHandler]:
    clock, lock = TrueClock(), threading.Lock()
    api = WorldApi(world, clock)

    class Handler(_Quiet):
        def do_GET(self) -> None:
            with lock:
                clock.elapsed = max(clock.elapsed, wall.elapsed)
                given = api.test(int(self.path.strip("/")))
            if given.status is None:
                self.close_connection = True
                return
            says = given.says
            status = {"status": "ok" if says.passed else "error", "message": says.message} if isinstance(says, Reply) else {"error": ""}
            self.answer(given.status, json.dumps(status).encode())

    return Handler


def _receiver(told: Run, wall: _Wall) -> type[BaseHTTPRequestHandler]:
    firing: set[str] = set()

    class Handler(_Quiet):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["content-length"])))
            at = wall.elapsed
            self.answer(200)
            places = []
            for alert in document["alerts"]:
                opens, known = alert["status"] == "firing", alert["fingerprint"] in firing
                # A group is sent as a whole; what was told of it before is not told again.
                if opens is known:
                    continue
                (firing.add if opens else firing.discard)(alert["fingerprint"])
                places.append(len(told.messages))
                told.messages.append(_message(at, alert["labels"], opens=opens))
            told.requests.append((at, tuple(places)))

    return Handler


_TYPES: Mapping[str, tuple[EventType, EventType, Scope]] = {
    "api": (EventType.API_FAILED, EventType.API_RECOVERED, Scope.API),
    "account": (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED, Scope.ACCOUNT),
    "platform": (EventType.PLATFORM_FAILED, EventType.PLATFORM_RECOVERED, Scope.PLATFORM),
    "connection": (EventType.CONNECTION_FAILED, EventType.CONNECTION_RECOVERED, Scope.CONNECTION),
    "untestable": (EventType.CONNECTION_STALE, EventType.CONNECTION_RECOVERED, Scope.CONNECTION),
}


def _message(at: float, labels: Mapping[str, str], *, opens: bool) -> Message:
    """An alert as the judge reads it. It names no cause, and the judge's opinion on that is not shown."""
    kind = labels["scope"]
    begin, over, scope = _TYPES[kind]
    number = int(labels["number"]) if scope is Scope.CONNECTION else None
    subject = {"api": "api:world", "account": f"account:{labels.get('account')}", "platform": f"platform:{labels.get('platform')}"}
    if labels["alertname"] == "Throttled":
        subject["api"] = "limit:world"
    level = "stale" if kind == "untestable" else "error" if number is not None else "failed"
    notification = Notification(
        type=begin if opens else over,
        why=NotificationReason.OPENED if opens else NotificationReason.CLOSED,
        severity=Severity(labels["severity"]),
        at=moment(at),
        incident=IncidentRef(Topic.SCOPE if number is None else Topic.CONNECTION, subject.get(kind, str(number)), 1, moment(at)),
        scope=scope,
        connection_id=number,
        level_from=FINE if opens else level,
        level_to=level if opens else FINE,
        reason=None,
        detail="",
        seq=1,
    )
    return Message(at, notification, number, labels["alertname"])


def _configure(world: World, directory: Path, ports: Mapping[str, int]) -> None:
    minutes = {"minute": 1, "five": 5, "probe": 15, "twenty": 20, "thirty": 30, "hour": 60}
    values: dict[str, Any] = {name: f"{count * 60_000 // FASTER}ms" for name, count in minutes.items()}
    values |= {"rules": directory / "rules.yml", "targets": directory / "targets.json", **ports}
    texts = {"blackbox.yml": _BLACKBOX, "prometheus.yml": _PROMETHEUS, "rules.yml": _RULES, "alertmanager.yml": _ALERTMANAGER}
    for name, text in texts.items():
        (directory / name).write_text(text if name == "blackbox.yml" else text.format(**values))
    targets = [
        {"targets": [each.platform_id], "labels": {"number": str(each.number), "platform": each.platform, "account": each.account}}
        for each in world.members.values()
    ]
    (directory / "targets.json").write_text(json.dumps(targets))


def _commands(directory: Path, ports: Mapping[str, int]) -> Iterator[Sequence[str]]:
    yield PROGRAMS[1], f"--config.file={directory}/blackbox.yml", f"--web.listen-address=127.0.0.1:{ports['blackbox']}"
    yield (
        PROGRAMS[2],
        f"--config.file={directory}/alertmanager.yml",
        f"--storage.path={directory}/alertmanager",
        f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
        "--cluster.listen-address=",
    )
    yield (
        PROGRAMS[0],
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/prometheus",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        f"--query.lookback-delta={20 * 60_000 // FASTER}ms",
        # An alert that is not repeated in four times this is over: not while a loaded machine is late.
        f"--rules.alert.resend-delay={5 * 60_000 // FASTER}ms",
    )


@contextmanager
def _running(command: Sequence[str], directory: Path) -> Iterator[None]:
    with (directory / f"{command[0]}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _serving(port: int, handler: type[BaseHTTPRequestHandler]) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
