"""A real Alertmanager: alerts become visible in it, change, are kept alive, and resolve."""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings, Secret
from monitor.db import DeliveryState
from monitor.domain.events import EventType, IncidentRef, Notification, NotificationFacts, NotificationReason, Severity, Topic
from tests.builders import HOUR, MINUTE, a_connection, a_notification
from tests.outbox import Outbox, an_outbox, ending
from tests.receiving import ReceiverServer
from tests.tools import require_tool
from tests.waiting import eventually, eventually_sync, patience, scaled

CONFIG = """
route: {receiver: hook, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: "URL", send_resolved: true}]}]
"""


class Alertmanager:
    """A running Alertmanager that forgets everything when it is started again."""

    def __init__(self, program: Path, folder: Path, hook: str) -> None:
        self.url = ""
        self._program = program
        self._folder = folder
        (folder / "config.yml").write_text(CONFIG.replace("URL", hook))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the port it had before if it had one."""
        port = self.url.rpartition(":")[2] or "0"
        log = self._folder / "log"
        arguments = [
            f"--config.file={self._folder}/config.yml",
            f"--storage.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=debug",
            "--log.format=json",
        ]
        with log.open("wb") as out:
            self._process = subprocess.Popen([self._program, *arguments], stdout=out, stderr=out)
        self.url = eventually_sync(lambda: _listening(log.read_text()), what=f"Alertmanager listens: {log.read_text()}")
        eventually_sync(self.ready)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=patience()) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active in it now, by severity."""

        def get() -> list[dict[str, Any]]:
            with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=patience()) as answer:
                alerts: list[dict[str, Any]] = json.load(answer)
                return sorted(alerts, key=lambda alert: alert["labels"]["severity"])

        return await asyncio.to_thread(get)


def _listening(log: str) -> str:
    for line in log.splitlines():
        record = json.loads(line)
        if "istening" in record.get("msg", "") and str(record.get("address", "")).startswith("127.0.0.1:"):
            return f"http://{record['address']}"
    return ""


@pytest.fixture
async def hook() -> AsyncIterator[ReceiverServer]:
    """Where Alertmanager sends what it makes of the alerts."""
    server = ReceiverServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def alertmanager(tmp_path: Path, hook: ReceiverServer) -> Iterator[Alertmanager]:
    running = Alertmanager(require_tool("prometheus-alertmanager"), tmp_path, hook.url)
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def outbox(tmp_path: Path, alertmanager: Alertmanager) -> AsyncIterator[Outbox]:
    receiver = ReceiverSettings(name="alerts", type="alertmanager", url=Secret(alertmanager.url), timeout=timedelta(seconds=scaled(5)))
    async with an_outbox(tmp_path, receiver, SystemClock()) as opened:
        yield opened


def a_failure(**changes: Any) -> Notification:
    """That connection 1 broke three minutes ago."""
    now = SystemClock().now().astimezone(UTC)
    opened_at = now - 3 * MINUTE
    return a_notification(
        at=now,
        incident=IncidentRef(Topic.CONNECTION, "1", 1, opened_at),
        facts=NotificationFacts(username="<!channel> @everyone"),
        **changes,
    )


async def test_life(alertmanager: Alertmanager, outbox: Outbox, hook: ReceiverServer) -> None:
    """An incident fires in Alertmanager with labels to route by, and is resolved in it; it tells both."""
    failure = a_failure()
    await outbox.owe(failure, connection=a_connection(labels={"team": "social"}))
    await outbox.settle()

    (alert,) = await alertmanager.alerts()
    assert alert["labels"] == {
        "alertname": "PostpostConnectionDown",
        "monitor": "test",
        "topic": "connection",
        "scope": "connection",
        "level": "error",
        "severity": "critical",
        "account": "main",
        "platform": "linkedin",
        "platform_id": "linkedin-page1",
    }
    assert alert["annotations"]["incident"] == "pp-test-1-connection-1"
    assert "runbook_url" not in alert["annotations"], "a relative address is no link"
    assert alert["status"]["state"] in {"active", "unprocessed"}
    assert alert["annotations"]["summary"].startswith("LinkedIn “Page 1” (linkedin-page1, account main) is broken since ")
    assert alert["annotations"]["user_name"] == "\u2039!channel\u203a \uff20everyone"
    assert alert["generatorURL"] == alert["annotations"]["reconnect_url"] == "https://app.postpost.dev/connections"
    assert abs(_at(alert["startsAt"]) - failure.incident.opened_at) < timedelta(milliseconds=2)
    assert 59 * MINUTE < _at(alert["endsAt"]) - failure.at < 61 * MINUTE
    fired = await hook.wait_for(lambda told: told.document["status"] == "firing")
    assert fired.document["alerts"][0]["labels"] == alert["labels"]

    await outbox.owe(ending(failure, type=EventType.CONNECTION_RECOVERED, at=SystemClock().now()))
    await outbox.settle()
    assert await alertmanager.alerts() == []
    over = await hook.wait_for(lambda told: told.document["status"] == "resolved")
    assert [one["labels"] for one in over.document["alerts"]] == [alert["labels"]]
    assert [row.state for row in await outbox.rows()] == [DeliveryState.DELIVERED] * 2


async def test_severity_changes(alertmanager: Alertmanager, outbox: Outbox) -> None:
    """When an incident grows more urgent the alert with the old severity is resolved; its end resolves what fires, however it is told."""
    failure = a_failure(severity=Severity.WARNING)
    await outbox.owe(failure)
    await outbox.settle()
    assert [alert["labels"]["severity"] for alert in await alertmanager.alerts()] == ["warning"]
    worse = a_failure(severity=Severity.CRITICAL, why=NotificationReason.CHANGED, seq=2)
    await outbox.owe(worse)
    await outbox.settle()
    assert [alert["labels"]["severity"] for alert in await alertmanager.alerts()] == ["critical"]
    await outbox.owe(ending(worse, severity=Severity.INFO, at=SystemClock().now()))
    await outbox.settle()
    assert await alertmanager.alerts() == []


async def test_forgotten(alertmanager: Alertmanager, outbox: Outbox) -> None:
    """An Alertmanager that lost everything learns what still stands, and only that, without anything new having happened."""
    first, second = (
        a_failure(),
        a_notification(2, at=SystemClock().now(), incident=IncidentRef(Topic.CONNECTION, "2", 1, SystemClock().now())),
    )
    await outbox.owe(first, second)
    await outbox.owe(ending(second, at=SystemClock().now()))
    await outbox.settle()
    assert len(await alertmanager.alerts()) == 1
    alertmanager.stop()
    alertmanager.start()
    assert await alertmanager.alerts() == []
    outbox.restart()
    await outbox.settle()
    alerts: list[dict[str, Any]] = await eventually(alertmanager.alerts)
    assert len(alerts) == 1
    assert alerts[0]["annotations"]["incident"] == "pp-test-1-connection-1"


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_clock_behind(alertmanager: Alertmanager, outbox: Outbox) -> None:
    """The end of an incident that began in the receiver's future, by clocks that disagree, is no invalid alert."""
    later = SystemClock().now() + HOUR
    failure = a_notification(at=later, incident=IncidentRef(Topic.CONNECTION, "1", 1, later))
    await outbox.owe(failure, ending(failure, at=later))
    await outbox.settle()
    assert [row.state for row in await outbox.rows()] == [DeliveryState.DELIVERED] * 2
