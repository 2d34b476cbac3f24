"""Every alert rule, and both paths to Alertmanager, with a real Prometheus and a real Alertmanager."""

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.domain.views.alert_labels import alert_name
from tests.deploy.alerting import Alertmanager, Labels, LocalServer
from tests.deploy.daemon import ROOT, Daemon, Simulated
from tests.deploy.prometheus import Prometheus
from tests.deploy.test_prometheus import incident_labels, incidents
from tests.e2e.processes import free_port, wait_until
from tests.tools import require_tool
from tests.waiting import PATIENCE_SECONDS

RULES = ROOT / "deploy/prometheus/rules"
EXAMPLE = ROOT / "deploy/alertmanager/alertmanager.yml"
THREADS = "threads-17841412345678"
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def _example(folder: Path, hook: str) -> Path:
    """The example of Alertmanager's configuration with short waits, and every page sent to *hook*."""
    text = EXAMPLE.read_text(encoding="utf-8")
    text = re.sub(r"http://127.0.0.1:9095/\S+", f"http://{hook}/", text)
    text = re.sub(r"group_wait: \w+", "group_wait: 1s", text)
    path = folder / "alertmanager.yml"
    path.write_text(re.sub(r"group_interval: \w+", "group_interval: 2s", text))
    return path


def _pages(hook: LocalServer) -> Counter[tuple[str, str]]:
    """How often each group was sent: its state and the name of its alerts."""
    return Counter((page["status"], page["groupLabels"]["alertname"]) for page in hook.received)


@pytest.mark.slow
def test_one_page_per_incident(simulated: Simulated, tmp_path: Path) -> None:
    """An Alertmanager that gets an incident from the rules and from the monitor itself has one alert, and sends one page and one end."""
    with ExitStack() as stack:
        hook = stack.enter_context(LocalServer())
        alertmanager = stack.enter_context(Alertmanager(tmp_path, _example(tmp_path, hook.address)))
        receivers = f'{{name: alerts, type: alertmanager, send_resolved: false, url: "{alertmanager.url}"}}'
        more = "monitor: {instance: here, runbook_url: 'https://wiki.example.org/alerts'}"
        daemon = stack.enter_context(Daemon(tmp_path, simulated, receivers=receivers, more=more))
        daemon.ready()
        wait_until("a good check", lambda: daemon.metrics().get("postpost_connection_up", platform_id=THREADS) == 1.0)
        simulated.steer.do(f"connections/{THREADS}/break", {"message": "Token has been revoked"})
        (alert,) = wait_until("the alert of the monitor", alertmanager.alerts)
        assert "incident" in alert["annotations"]

        # Only now: every second it replaces the annotations by those of the rule.
        target, address = (url.removeprefix("http://") for url in (daemon.url, alertmanager.url))
        prometheus = stack.enter_context(Prometheus(require_tool("prometheus"), tmp_path, target, alertmanager=address))
        (ruled,) = wait_until("the alert of the rule", lambda: _firing(prometheus))
        assert ruled["labels"] == alert["labels"]
        assert alert["labels"]["alertname"] == "PostpostConnectionDown"
        assert alert["annotations"]["runbook_url"].endswith("#postpostconnectiondown")
        wait_until("the rule is sent", lambda: _sent(prometheus))
        wait_until("the page", lambda: hook.received)
        assert len(alertmanager.alerts()) == 1

        simulated.steer.do(f"connections/{THREADS}/heal")
        wait_until("the end", lambda: not alertmanager.alerts() and not _firing(prometheus))
        wait_until("the page of the end", lambda: ("resolved", "PostpostConnectionDown") in _pages(hook))
        sent = _sent(prometheus)
        wait_until("more from Prometheus", lambda: _sent(prometheus) >= sent and not alertmanager.alerts())
        assert _pages(hook) == {("firing", "PostpostConnectionDown"): 1, ("resolved", "PostpostConnectionDown"): 1}


@pytest.mark.slow
def test_receiver_renamed(simulated: Simulated, tmp_path: Path) -> None:
    """An Alertmanager whose receiver gets another name while an alert is open keeps that alert, gets its end, and sends each once."""
    with ExitStack() as stack:
        hook = stack.enter_context(LocalServer())
        alertmanager = stack.enter_context(Alertmanager(tmp_path, _example(tmp_path, hook.address)))
        receivers = f'{{name: alerts, type: alertmanager, url: "{alertmanager.url}"}}'
        daemon = stack.enter_context(Daemon(tmp_path, simulated, receivers=receivers, more="monitor: {instance: here}"))
        daemon.ready()
        wait_until("a good check", lambda: daemon.metrics().get("postpost_connection_up", platform_id=THREADS) == 1.0)
        simulated.steer.do(f"connections/{THREADS}/break", {"message": "Token has been revoked"})
        (before,) = wait_until("the alert", alertmanager.alerts)
        wait_until("the page", lambda: hook.received)

        daemon.config.write_text(daemon.config.read_text().replace("name: alerts", "name: renamed"))
        daemon.process.send_signal(signal.SIGHUP)
        pending = "postpost_outbox_pending"
        wait_until("the new name", lambda: daemon.metrics().get(pending, receiver="renamed") == 0.0)
        assert daemon.metrics().get(pending, receiver="alerts") is None
        (after,) = alertmanager.alerts()
        assert (after["fingerprint"], after["startsAt"]) == (before["fingerprint"], before["startsAt"])

        simulated.steer.do(f"connections/{THREADS}/heal")
        wait_until("the end", lambda: not alertmanager.alerts())
        wait_until("the page of the end", lambda: ("resolved", "PostpostConnectionDown") in _pages(hook))
        assert _pages(hook) == {("firing", "PostpostConnectionDown"): 1, ("resolved", "PostpostConnectionDown"): 1}


def _firing(prometheus: Prometheus) -> list[dict[str, Any]]:
    return [alert for alert in prometheus.alerts() if alert["state"] == "firing"]


def _sent(prometheus: Prometheus) -> float:
    """How many alerts Prometheus has sent."""
    return prometheus.own_metric("prometheus_notifications_sent_total")


def _faster(folder: Path) -> Path:
    """The rules sixty times as fast: minutes become seconds, in waits, ranges and thresholds of time alike."""

    def shorter(match: re.Match[str]) -> str:
        return f"{max(1, int(match[1]) * _SECONDS[match[2]] // 60)}s"

    for path in RULES.glob("*.yml"):
        text = re.sub(r"(?<=\[)(\d+)([smhd])(?=\])", shorter, path.read_text(encoding="utf-8"))
        # A rate needs two scrapes, and what is looked at is not older than the scrapes that fail.
        text = re.sub(r"\[[1-9]s\]", "[10s]", text)
        text = re.sub(r"(?<=for: )(\d+)([smhd])", shorter, text)
        text = re.sub(r"(?<=> )(3600|900|180)\b", lambda match: str(int(match[1]) // 60), text)
        (folder / path.name).write_text(text)
    return folder


def _incident_series(labels: Labels) -> str:
    text = ",".join(f'{name}="{value}"' for name, value in labels.items() if value)
    return f'postpost_incident_notified{{monitor="here",{text}}} 1'


OWN_TROUBLE: dict[str, Callable[[int], Iterable[str]]] = {
    "PostpostChecksStopped": lambda _: [
        'postpost_connection_last_check_timestamp_seconds{platform_id="x-1"} 1',
        "process_start_time_seconds 1",
    ],
    "PostpostLoopStuck": lambda _: ['postpost_monitor_loop_last_step_timestamp_seconds{loop="checker",account="elsewhere"} 1'],
    "PostpostNotificationUnrouted": lambda number: [f"postpost_notifications_unrouted_total {number}"],
    "PostpostOutboxStuck": lambda _: ['postpost_outbox_oldest_timestamp_seconds{receiver="slow"} 1'],
    "PostpostNoActiveInstance": lambda _: ["postpost_monitor_active 0"],
    "PostpostHeartbeatFailing": lambda _: ["postpost_monitor_heartbeat_failing 1"],
    "PostpostShardWithoutNode": lambda _: ["postpost_monitor_cluster_shards_free 1"],
    "PostpostClusterTooSmall": lambda _: ["postpost_monitor_cluster_nodes 1"],
    "PostpostConfigurationDiffers": lambda _: ["postpost_monitor_cluster_config_current 0"],
    "PostpostReloadFailed": lambda _: ["postpost_monitor_config_last_reload_successful 0"],
    "PostpostCheckLag": lambda number: [
        'postpost_monitor_check_lag_seconds_bucket{le="60.0"} 0',
        *(f'postpost_monitor_check_lag_seconds_bucket{{le="{le}"}} {number}' for le in ("300.0", "+Inf")),
    ],
    "PostpostChecksMissed": lambda number: [f"postpost_monitor_checks_missed_total {number}"],
    "PostpostAccountOverloaded": lambda _: ['postpost_account_required_request_ratio{account="elsewhere"} 1.5'],
    "PostpostClockJumped": lambda number: [f"postpost_monitor_clock_jumps_total {number}"],
}
"""Alert about the monitor itself -> the series that it fires for, as they are at the scrape of this number."""

SUBJECT = {"account": "main", "user_id": "6626a1f5e4b0c91a2d3f4567", "platform": "threads", "platform_id": "threads-1"}
_SUBJECTS = {"connection": 4, "group": 3, "user": 2, "account": 1}


def _one_incident_per_alert() -> dict[str, Labels]:
    """Alert -> the labels of an incident that it is about, as deep in the same subject as its scope goes."""
    found: dict[str, Labels] = {}
    for known in incidents():
        own = dict(list(SUBJECT.items())[: _SUBJECTS.get(known["scope"], 0)])
        own |= {"platform": "threads"} if known["scope"] == "platform" else {}
        own |= {"receiver": "slow"} if known["scope"] == "receiver" else {}
        found.setdefault(alert_name(incident_labels(known)), {"level": "failed", **known, "severity": "warning", **own})
    return found


@pytest.mark.slow
def test_every_rule(tmp_path: Path) -> None:
    """Every alert fires in Prometheus, arrives in Alertmanager with a link, is inhibited by its cause, and resolves."""
    rules = tmp_path / "rules"
    rules.mkdir()
    names = {
        rule["alert"]
        for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    troubles = _one_incident_per_alert()
    assert names == troubles.keys() | OWN_TROUBLE.keys() | {"PostpostMonitorDown"}
    build, active = 'postpost_monitor_build_info{monitor="here",version="1"} 1', "postpost_monitor_active 1"
    with ExitStack() as stack:
        hook, monitor = stack.enter_context(LocalServer()), stack.enter_context(LocalServer())
        alertmanager = stack.enter_context(Alertmanager(tmp_path, _example(tmp_path, hook.address)))
        targets = f'"{monitor.address}", "127.0.0.1:{free_port()}"'
        address = alertmanager.url.removeprefix("http://")
        program = require_tool("prometheus")
        prometheus = stack.enter_context(Prometheus(program, tmp_path, targets, rules=_faster(rules), alertmanager=address))
        number = 0

        def firing() -> set[str]:
            nonlocal number
            number += 1
            own = [line for lines in OWN_TROUBLE.values() for line in lines(number)]
            monitor.page = "\n".join([build, *own, *map(_incident_series, troubles.values()), ""])
            return {alert["labels"]["alertname"] for alert in _firing(prometheus)}

        wait_until("every alert", lambda: firing() >= names)
        shown = wait_until("every alert in Alertmanager", lambda: _by_name(alertmanager, names) if firing() else {})
        assert {name for name, alert in shown.items() if not alert["annotations"]["runbook_url"].endswith(f"#{name.lower()}")} == set()
        inhibited = {name for name, alert in shown.items() if alert["status"]["inhibitedBy"]}
        assert {name for name in names if name.startswith("PostpostConnection")} <= inhibited
        assert {"PostpostOutboxStuck", "PostpostChecksStopped", "PostpostHeartbeatFailing"} <= inhibited
        assert not {"PostpostApiDown", "PostpostStorageDown", "PostpostReceiverDisabled", "PostpostMonitorDown"} & inhibited
        assert {name for _, name in _pages(hook)} & inhibited <= {name for name in names if name.startswith("PostpostC")}

        monitor.page = f"{build}\n{active}\n"
        # At the end of the longest window of a rule, an hour made a minute, at the earliest.
        wait_until(
            "the end of all but the monitor that is down",
            lambda: set(_by_name(alertmanager, set())) == {"PostpostMonitorDown"},
            within=3 * PATIENCE_SECONDS,
        )


def _by_name(alertmanager: Alertmanager, names: set[str]) -> dict[str, dict[str, Any]]:
    """Name -> the alert; empty while any of *names* is missing."""
    found = {alert["labels"]["alertname"]: alert for alert in alertmanager.alerts()}
    return found if found.keys() >= names else {}
