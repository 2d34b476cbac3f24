"""Silences, quiet hours and the heartbeat of the configuration."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.config import Config
from monitor.config.dump import as_yaml
from monitor.config.sections.controls import DAILY
from monitor.domain.recurrence import DAYS, EVERY_DAY, Schedule
from monitor.domain.silencing.silences import RecurringSilence
from monitor.domain.states import SuppressionReason
from tests.builders import HOUR, MINUTE
from tests.configured import ACCOUNT, configured

BERLIN = ZoneInfo("Europe/Berlin")


def read(text: str, folder: Path = Path("/nowhere")) -> Config:
    return configured(ACCOUNT + text, folder=folder)


def test_days_are_those_of_the_domain() -> None:
    """The configuration and the domain have the same days, in the same order."""
    assert DAILY == DAYS


@pytest.mark.parametrize(
    ("days", "expected"),
    [("", EVERY_DAY), ("days: daily,", EVERY_DAY), ("days: [sat, sun],", {5, 6}), ("days: [mon],", {0})],
)
def test_recurring_silence(days: str, expected: set[int]) -> None:
    """A configured silence becomes a recurring silence of the domain; without days it is daily."""
    text = f"silences: [{{name: a, match: {{platform: x}}, {days} from: 22:00, to: '24:00', timezone: Europe/Berlin}}]"
    when = Schedule(frozenset(expected), 22 * HOUR, 24 * HOUR, BERLIN)
    assert read(text).windows() == (RecurringSilence("a", {"platform": "x"}, when),)


def test_quiet_hours() -> None:
    """Quiet hours suppress info and warning, or the configured severities."""
    when = Schedule(EVERY_DAY, 22 * HOUR + 30 * MINUTE, 7 * HOUR, BERLIN)
    quiet = read("quiet_hours: {from: 22:30, to: '07:00', timezone: Europe/Berlin}").windows()
    assert quiet == (RecurringSilence("quiet hours", {"severity": "info|warning"}, when, SuppressionReason.QUIET_HOURS),)
    (silence,) = read("quiet_hours: {from: 22:30, to: '07:00', severities: [info]}").windows()
    assert silence.match == {"severity": "info"}


@pytest.mark.parametrize("text", ["", "quiet_hours:", "quiet_hours: {from: null}", "quiet_hours: {from: 22:00, to: 23:00, severities: []}"])
def test_no_quiet_hours(text: str) -> None:
    """Without times, or without severities, there are no quiet hours."""
    assert read(text).windows() == ()


def test_heartbeat(tmp_path: Path) -> None:
    """The URL of the heartbeat can come from a separate file, and is never printed."""
    assert read("").heartbeat.url is None
    secret = tmp_path / "ping"
    secret.write_text("https://hc.example.org/secret-path\n")
    secret.chmod(0o600)
    config = read("heartbeat: {url_file: ping, every: 30s}", tmp_path)
    assert config.heartbeat.url is not None
    assert config.heartbeat.url.reveal() == "https://hc.example.org/secret-path"
    assert config.heartbeat.every == timedelta(seconds=30)
    assert "https://hc.example.org/secret-path" in config.secrets()
    assert "secret-path" not in as_yaml(config)
    assert "secret-path" not in repr(config)
