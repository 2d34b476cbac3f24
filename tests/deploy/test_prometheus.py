"""Alert rules, recording rules, the dashboard: tested apart, and with a real Prometheus that scraped a real daemon."""

import json
import operator
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.config import load
from monitor.db import Database
from monitor.domain import topics
from monitor.domain.delivery.receiver_outages import DISABLED
from monitor.domain.events import Topic
from monitor.domain.policy import Policy
from monitor.domain.reasons import Scope
from monitor.domain.scopes.key import LIMIT, LIST, RATE, SERVICE
from monitor.domain.views.alert_labels import IncidentLabels, alert_name
from monitor.metrics import Metrics, definitions
from monitor.metrics.definitions import MetricType
from monitor.metrics.exposition import loop_labels
from monitor.notify import templates
from monitor.runtime.loop import WatchdogLimits
from monitor.runtime.watchdog import WatchedLoop
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.text.durations import span
from monitor.workers.group import Dependencies, WorkerGroup
from tests import marked
from tests.deploy.daemon import ROOT, Daemon, Simulated
from tests.deploy.prometheus import Prometheus
from tests.e2e.processes import wait_until
from tests.tools import require_tool
from tests.waiting import patience

FOLDER = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"


def _rules(kind: str) -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "rules").glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"] if kind in rule]


def _queries() -> list[tuple[str, bool, str]]:
    """Title, whether it is asked for one moment, and query, of everything on the dashboard, with its variables filled in."""
    values = {f"${name}": ".*" for name in ("job", "instance", "account", "user_id", "platform")} | {"$__rate_interval": "1m"}
    found = []
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in values.items():
                query = query.replace(name, value)
            found.append((panel["title"], target["instant"], query))
    return found


def _annotations() -> list[str]:
    """The query of every annotation of the dashboard."""
    return [known["expr"] for known in json.loads(DASHBOARD.read_text(encoding="utf-8"))["annotations"]["list"]]


def _names() -> set[str]:
    """Every series name that the monitor exports or a rule records."""
    suffixes = {MetricType.HISTOGRAM: ("_bucket", "_sum", "_count")}
    exported = {family.name + suffix for family in definitions.ALL for suffix in suffixes.get(family.kind, ("",))}
    return exported | {rule["record"] for rule in _rules("record")}


def _run(*command: str | Path, cwd: Path = FOLDER) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_files_are_accepted(promtool: Path) -> None:
    """Promtool and amtool accept every file."""
    _run(promtool, "check", "rules", *sorted((FOLDER / "rules").glob("*.yml")))
    _run(promtool, "check", "config", "--syntax-only", "prometheus.yml")
    for name in ("prometheus.yml", "prometheus.cluster.yml"):
        _run(promtool, "check", "config", "--syntax-only", f"../docker/{name}")
    _run(require_tool("amtool"), "check-config", ROOT / "deploy/alertmanager/alertmanager.yml")


@pytest.mark.slow
def test_rules_fire_and_do_not(promtool: Path) -> None:
    """Each alert fires for its trouble after its time, and for nothing else: promtool's own unit tests."""
    assert "SUCCESS" in _run(promtool, "test", "rules", "tests.yml")


def test_every_alert_is_tested() -> None:
    """Every alert has a test in which it fires and one in which it does not."""
    tests = [test for group in yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"] for test in group["alert_rule_test"]]
    alerts = {rule["alert"] for rule in _rules("alert")}

    assert {test["alertname"] for test in tests if test["exp_alerts"]} == alerts
    assert {test["alertname"] for test in tests if not test["exp_alerts"]} == alerts


def test_every_alert_has_a_runbook() -> None:
    """The runbook_url of each alert leads to a section of its own in docs/how-to/alerts.md, and no section is left over."""
    sections = re.findall(r"^### (Postpost\w+)$", (ROOT / "docs/how-to/alerts.md").read_text(encoding="utf-8"), re.MULTILINE)
    rules = _rules("alert")

    assert sections == [rule["alert"] for rule in rules]
    assert [rule["annotations"]["runbook_url"] for rule in rules] == [f"docs/how-to/alerts.md#{name.lower()}" for name in sections]
    assert {rule["labels"]["severity"] for rule in rules if "labels" in rule} == {"info", "warning", "critical"}
    assert all(rule["annotations"]["summary"].endswith(".") for rule in rules)


def test_rules_with_absolute_links(promtool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config rules` prints all rules as one file that Prometheus accepts, each with the address of its own section at the configured page."""
    settings = tmp_path / "config.yaml"
    page = "https://wiki.example.org/ops/alerts.md?a=b&c=d"
    settings.write_text(f"accounts: [{{name: main, api_key: {marked.API_KEY}}}]\nmonitor: {{runbook_url: '{page}'}}\n")

    assert main(["config", "rules", "--config", str(settings)]) == 0
    said, noted = capsys.readouterr()
    (tmp_path / "rules.yml").write_text(said)
    printed = [rule for group in yaml.safe_load(said)["groups"] for rule in group["rules"]]

    assert [rule["annotations"]["runbook_url"] for rule in printed if "alert" in rule] == [
        f"{page}#{rule['alert'].lower()}" for rule in _rules("alert")
    ]
    assert [rule["record"] for rule in printed if "record" in rule] == [rule["record"] for rule in _rules("record")]
    assert noted == ""
    _run(promtool, "check", "rules", tmp_path / "rules.yml")


async def test_loops_that_rest_long(tmp_path: Path) -> None:
    """The alert about loops that stand still covers every loop that may not do so for its limit, and none that works more rarely."""
    settings = tmp_path / "config.yaml"
    settings.write_text(
        f"accounts: [{{name: main, api_key: {marked.API_KEY}}}]\n"
        f'receivers: [{{name: on-call, url: "http://127.0.0.1:9/{marked.PATH}"}}]\n'
        f'heartbeat: {{url: "http://127.0.0.1:9/{marked.PATH}", every: 1h}}\n'
        f"database: {{url: sqlite:///{tmp_path}/monitor.db}}\n"
    )
    config, clock = load(settings, check_template=templates.problems), SystemClock()
    evaluation_config, database = (
        EvaluationConfig.from_config(config, "here"),
        Database(config.database.url.reveal(), clock=clock, owner="tests"),
    )
    workers = WorkerGroup(
        config,
        evaluation_config,
        Dependencies(Registry(evaluation_config, clock), database, Metrics(), clock, lambda: 0.5, WatchdogLimits()),
    )
    await workers.close()
    (rule,) = (rule["expr"] for rule in _rules("alert") if rule["alert"] == "PostpostLoopStuck")
    limit, left_out = int(re.findall(r"> (\d+)", rule)[0]), re.findall(r'loop!~"(.*?)"', rule)[0]

    def kind(watched: WatchedLoop) -> str:
        return loop_labels(watched.loop.name)[0]

    rare = {kind(watched) for watched in workers.watched if watched.limit_seconds > limit}
    assert {kind(watched) for watched in workers.watched if re.fullmatch(left_out, kind(watched))} == rare
    assert {"heartbeat", "retention", "uptime-rollup"} <= rare
    assert "checker" not in rare


def test_inhibitions_name_alerts() -> None:
    """Every alert that the Alertmanager example names exists."""
    text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    named, alerts = set(re.findall(r"Postpost[A-Z]\w+(?:\.\+)?", text)), [rule["alert"] for rule in _rules("alert")]

    assert {pattern for pattern in named if not any(re.fullmatch(pattern, alert) for alert in alerts)} == set()
    assert "PostpostApiDown" in named


def _selectors(metric: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Alert -> the matchers of its series of *metric*: label to operator and value."""
    return {
        rule["alert"]: {label: (kind, value) for label, kind, value in re.findall(r'(\w+)(=~|!=|=)"(.*?)"', selector)}
        for rule in _rules("alert")
        for selector in re.findall(rf"{metric}{{(.*?)}}", rule["expr"])
    }


def _selects(matchers: dict[str, tuple[str, str]], labels: dict[str, str]) -> bool:
    kinds: dict[str, Callable[[str, str], bool]] = {"=": operator.eq, "!=": operator.ne}
    return all(kinds[kind](labels.get(label, ""), value) for label, (kind, value) in matchers.items())


def incidents() -> list[dict[str, str]]:
    """The labels of every kind of incident that can be open."""
    levels = {
        Topic.CONNECTION: ("error", "missing", "misconfigured", topics.STALE, topics.FLAPPING),
        Topic.EXPIRY: (topics.EXPIRED, *(span(threshold) for threshold in Policy().expiry.thresholds)),
        Topic.RENEWAL: (topics.OVERDUE,),
        Topic.PUBLISHING: (topics.FAILING,),
        Topic.PERMISSIONS: (topics.LOST,),
    }
    assert levels.keys() == set(Topic) - {Topic.SCOPE}
    own = [{"topic": topic.value, "scope": "connection", "level": level} for topic, names in levels.items() for level in names]
    kinds = [(scope, "") for scope in Scope if scope is not Scope.CONNECTION]
    kinds += [(Scope.ACCOUNT, SERVICE), (Scope.ACCOUNT, RATE), (Scope.ACCOUNT, LIST), (Scope.API, LIMIT)]
    scopes = [{"topic": "scope", "scope": scope.value, "kind": kind} for scope, kind in kinds]
    return own + scopes + [{"topic": "scope", "scope": Scope.RECEIVER.value, "level": DISABLED}]


def test_every_incident_has_one_alert() -> None:
    """Every topic and level, and every scope, has exactly one alert; no alert is about an incident that can't be."""
    alerts = _selectors("monitor:postpost_incident_notified:max")
    told = {json.dumps(labels): [name for name, matchers in alerts.items() if _selects(matchers, labels)] for labels in incidents()}

    assert {labels: names for labels, names in told.items() if len(names) != 1} == {}
    assert {name for names in told.values() for name in names} == alerts.keys()
    # Receivers of type `alertmanager` call the alert by the same name.
    assert {text: names[0] for text, names in told.items()} == {text: alert_name(incident_labels(json.loads(text))) for text in told}


def test_both_paths_have_the_same_labels() -> None:
    """
    The alert of a rule has the labels that a receiver of type `alertmanager` gives it, and no threshold of its own.

    Neither adds to them: the rules aggregate over exactly these, and give alerts about incidents no labels.
    """
    (record,) = (rule for rule in _rules("record") if rule["record"] == "monitor:postpost_incident_notified:max")
    aggregated = re.findall(r"max by \((.*?)\)", record["expr"])[0].split(", ")
    about_incidents = [rule for rule in _rules("alert") if "monitor:postpost_incident_notified:max" in rule["expr"]]

    assert aggregated == ["monitor", *IncidentLabels._fields] == list(definitions.INCIDENT_NOTIFIED.labels)
    assert len(about_incidents) == len(_incidents_by_alert())
    for rule in about_incidents:
        assert rule.keys() == {"alert", "expr", "annotations"}, rule["alert"]


def incident_labels(known: dict[str, str]) -> IncidentLabels:
    """The labels of one of `incidents`."""
    return IncidentLabels(**known)


def _incidents_by_alert() -> set[str]:
    return {alert_name(incident_labels(incident)) for incident in incidents()}


def test_severities() -> None:
    """An alert has the severity of its incident, or gives its own; a failed scrape resolves none of those that are about an incident."""
    for rule in _rules("alert"):
        about_incident = "postpost_incident_notified" in rule["expr"]
        assert about_incident is ("severity" not in rule.get("labels", {})), rule["alert"]
        assert "keep_firing_for" in rule or about_incident or rule["alert"] == "PostpostMonitorDown"


def test_only_what_is_exported_is_asked_for() -> None:
    """Rules and dashboard name no metric that does not exist."""
    asked = [rule["expr"] for rule in [*_rules("alert"), *_rules("record")]] + [query for _, _, query in _queries()] + _annotations()
    named = {name for query in asked for name in re.findall(r"\b(?:\w+:)?postpost_\w+(?::\w+)?", re.sub(r'"[^"]*"', "", query))}

    assert named - _names() == set()


def test_dashboard_variables_and_links() -> None:
    """The dashboard can be narrowed to accounts, users and platforms, leads to the page and the runbooks, and marks incidents and restarts."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]

    assert {"job", "instance", "account", "user_id", "platform"} <= {known["name"] for known in dashboard["templating"]["list"]}
    assert {known["name"] for known in dashboard["annotations"]["list"]} == {"Incidents", "Restarts"}
    assert {link["url"] for link in dashboard["links"]} == {"${page}", "${runbooks}"}
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"]
        if "_up{" in panel["targets"][0]["expr"] and panel["targets"][0]["expr"].startswith("min("):
            assert panel["fieldConfig"]["defaults"]["mappings"], panel["title"]


def test_dashboard_is_what_its_maker_makes(tmp_path: Path) -> None:
    """dashboard.json is not edited by hand."""
    maker = tmp_path / "make-dashboard"
    maker.write_text((DASHBOARD.parent / "make-dashboard").read_text(encoding="utf-8"), encoding="utf-8")
    _run(sys.executable, maker)

    assert (tmp_path / "dashboard.json").read_text() == DASHBOARD.read_text(encoding="utf-8")


@pytest.mark.slow
def test_with_a_real_prometheus(simulated: Simulated, tmp_path: Path) -> None:
    """With one connection broken and told, one whose token ends, every panel has data, every rule is healthy, and the right alerts stir."""
    simulated.steer.do("connections", {"id": "linkedin-Tz9W5i6ZYG", "account": "main"})
    simulated.steer.do("connections/linkedin-Tz9W5i6ZYG/expires-in", {"in": "20h"})
    receivers = f'{{name: on-call, url: "{simulated.hook}"}}'
    program = require_tool("prometheus")
    with (
        Daemon(tmp_path, simulated, receivers=receivers) as daemon,
        Prometheus(program, tmp_path, daemon.url.removeprefix("http://")) as prometheus,
    ):
        daemon.ready()
        threads = 'postpost_connection_up{platform_id="threads-17841412345678"}'
        wait_until("a good check", lambda: prometheus.series(f"{threads} == 1"))
        simulated.steer.do("connections/threads-17841412345678/break", {"message": "Token has been revoked"})
        wait_until("the break", lambda: prometheus.series(f"{threads} == 0"))

        def without_data() -> list[tuple[str, str]]:
            asked = [(title, query, prometheus.series if instant else prometheus.graph) for title, instant, query in _queries()]
            return [(title, query) for title, query, ask in asked if not ask(query)]

        def stirring() -> set[str]:
            return {rule["name"] for rule in prometheus.rules() if rule.get("state") in ("pending", "firing")}

        end = time.monotonic() + patience()
        while (missing := without_data()) and time.monotonic() < end:
            time.sleep(0.5)
        assert missing == [], "these queries of the dashboard give nothing"
        wait_until("alerts", lambda: "PostpostConnectionDown" in stirring())
        assert {rule["name"]: rule["lastError"] for rule in prometheus.rules() if rule["health"] != "ok"} == {}
        assert stirring() == {"PostpostConnectionDown", "PostpostTokenExpiring"}
