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

from monitor.clock import SystemClock
from monitor.config import load
from monitor.config.sections.policy import COUNTS_DOWN
from monitor.db import Database
from monitor.metrics import Metrics, definitions
from monitor.metrics.definitions import MetricType
from monitor.notify import templates
from monitor.runtime.loop import WatchdogLimits
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
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
    values = {"$job": ".*", "$instance": ".*", "$platform": "|".join(sorted(COUNTS_DOWN)), "$__rate_interval": "1m"}
    found = []
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in values.items():
                query = query.replace(name, value)
            found.append((panel["title"], target["instant"], query))
    return found


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
    _run(promtool, "check", "config", "--syntax-only", "../docker/prometheus.yml")
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
    assert {rule["labels"]["severity"] for rule in rules} == {"info", "warning", "critical"}
    assert all(rule["annotations"]["summary"].endswith(".") for rule in rules)


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
    limit, left_out = int(rule.rpartition(">")[2]), re.findall(r'loop!~"(.*?)"', rule)[0]

    rare = {watched.loop.name for watched in workers.watched if watched.limit_seconds > limit}
    assert {watched.loop.name for watched in workers.watched if re.fullmatch(left_out, watched.loop.name)} == rare
    assert {"heartbeat", "retention", "uptime-rollup"} <= rare
    assert len(rare) < len(workers.watched)


def test_inhibitions_name_alerts() -> None:
    """Every alert that the Alertmanager example names exists."""
    text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"Postpost[A-Z]\w+", text)) - {"PostpostToken"}

    assert named <= {rule["alert"] for rule in _rules("alert")}
    assert "PostpostApiDown" in named


def _fired() -> list[dict[str, str]]:
    """The labels of every alert that fires in promtool's tests, which hold them to what the rules give."""
    tests = [test for group in yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"] for test in group["alert_rule_test"]]
    return [{"alertname": test["alertname"], **alert["exp_labels"]} for test in tests for alert in test["exp_alerts"]]


def _matches(value: str, pattern: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def _matching(matchers: list[str]) -> list[dict[str, str]]:
    """Those that all the matchers of an inhibition hold for."""
    kinds: dict[str, Callable[[str, str], bool]] = {"=": operator.eq, "!=": operator.ne, "=~": _matches}
    parts = [re.fullmatch(r'(\w+) (=|=~|!=) "(.*)"', matcher) for matcher in matchers]
    return [alert for alert in _fired() if all(part and kinds[part[2]](alert.get(part[1], ""), part[3]) for part in parts)]


def test_inhibitions_compare_labels_that_both_have() -> None:
    """Each inhibition of the example compares labels that its alerts carry, and a refused key keeps its managed users' connections quiet too."""
    rules = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text(encoding="utf-8"))["inhibit_rules"]
    quiet = []
    for rule in rules:
        sources, targets = _matching(rule["source_matchers"]), _matching(rule["target_matchers"])
        assert sources, rule
        assert targets, rule
        assert all(set(rule["equal"]) <= set(alert) for alert in sources + targets), rule
        quiet += [
            (source["alertname"], target.get("account"))
            for source in sources
            for target in targets
            if all(source[label] == target[label] for label in rule["equal"])
        ]
    assert {("PostpostAccountFailed", "main"), ("PostpostAccountFailed", "main/6626a1f5e4b0c91a2d3f4567")} <= set(quiet)


def test_countdown_platforms() -> None:
    """The alerts about ending tokens and the dashboard cover the platforms whose tokens end, and no other."""
    expressions = [rule["expr"] for rule in _rules("alert") if rule["alert"] in ("PostpostTokenExpiringToday", "PostpostTokenExpired")]
    variables = {one["name"]: one for one in json.loads(DASHBOARD.read_text())["templating"]["list"]}

    for expression in expressions:
        assert set(re.findall(r'platform=~"(.*?)"', expression)[0].split("|")) == COUNTS_DOWN
    assert set(variables["platform"]["query"].split("|")) == COUNTS_DOWN


def test_only_what_is_exported_is_asked_for() -> None:
    """Rules and dashboard name no metric that does not exist."""
    asked = [rule["expr"] for rule in [*_rules("alert"), *_rules("record")]] + [query for _, _, query in _queries()]
    named = {name for query in asked for name in re.findall(r"\b(?:\w+:)?postpost_\w+(?::\w+)?", re.sub(r'"[^"]*"', "", query))}

    assert named - _names() == set()


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
        assert stirring() == {
            "PostpostConnectionDown",
            "PostpostTokenExpiringSoon",
            "PostpostTokenExpiringThisWeek",
            "PostpostTokenExpiringToday",
        }
