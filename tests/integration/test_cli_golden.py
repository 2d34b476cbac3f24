"""
What verbs show on a terminal of 80 and of 120 columns, to the letter, in `tests/golden/cli`.

After a wanted change look at what `REWRITE_GOLDENS=1 python -m pytest tests/integration/test_cli_golden.py` makes of them.
"""

import asyncio
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from monitor.cli import check, deliveries, explain, forecast, history, incidents, preflight, replay, silence, status
from monitor.cli.config import summary
from monitor.cli.lookup import OpenDatabase, opened
from monitor.cli.output import columns
from monitor.cli.replay_history import replay_history
from monitor.config import Config, load, load_policy
from monitor.db import AttemptRow, DeliveryState, list_deliveries, list_incidents, operator_session, read_connections
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.projections.preflight import judged, stored
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import Verdict
from monitor.domain.views.status import ConnectionFilter
from monitor.errors import DeliveryReason, Problem, Reason
from monitor.notify import templates
from monitor.state.unit_of_work import evaluate_due
from monitor.text.explain import explain as explained
from tests.builders import DAY, HOUR, MINUTE, a_connection, a_reply, a_silence, a_state, a_token_belief, a_token_life
from tests.clock import FakeClock
from tests.watched import Watched, tell_a_story, watched, write_config

FOLDER = Path(__file__).parent.parent / "golden" / "cli"
VERBS = (
    "status",
    "history",
    "incidents",
    "explain",
    "forecast",
    "deliveries",
    "silence-list",
    "replay",
    "config-check",
    "check",
    "preflight",
)
WIDTHS = (80, 120)

# Wide letters, letters that are written from right to left, combined ones, and a family that is one letter.
FOREIGN = "セッションの有効期限が切れました。もう一度接続してください。 פג תוקף החיבור e\u0301 👩‍👩‍👧‍👦 " * 2


async def _live(world: Watched) -> None:
    """The story, and before it a day in which a page failed and recovered, with an abandoned delivery."""
    page = world.connection("linkedin-page1")
    second = world.connection("linkedin-page1", "second")
    await world.checks(page, [Reason.OK] * 4, 26 * HOUR, 15 * MINUTE)
    await world.checks(page, [Reason.CREDENTIAL_REJECTED] * 3, 25 * HOUR, 5 * MINUTE, FOREIGN)
    await _evaluate(world, 24 * HOUR + 45 * MINUTE)
    rows = await world.database.read(list_deliveries)
    attempt = AttemptRow(world.now - 24 * HOUR, DeliveryReason.TIMEOUT, 15_000, None, "no answer in time")
    await world.database.write(lambda store: store.outbox.record_attempt(rows[0], attempt, DeliveryState.DEAD))
    await world.checks(page, [Reason.OK] * 3, 24 * HOUR, 5 * MINUTE)
    await world.checks(second, [Reason.API_UNAUTHORIZED] * 4, 3 * HOUR, MINUTE, "Invalid API key")
    await tell_a_story(world)
    await _evaluate(world, MINUTE)


async def _evaluate(world: Watched, ago: timedelta) -> None:
    """The passing of time until *ago* before now: what is suspected is decided."""
    await world.database.write(partial(evaluate_due, world.fleet, world.now - ago))


def _shown(path: Path, clock: FakeClock, width: int) -> dict[str, str]:
    """Verb to what it shows."""
    config, now = load(path, check_template=templates.problems), clock.now()
    other = load_policy(path.parent / "other.yaml", config)
    with opened(config, clock) as database:
        reader, page = database.reader, explain.report_of(database, "linkedin-page1", "main", 5, now)
        told, rows = list_deliveries(reader), list(history.checks(reader, page.connection.id, None, 50))
        watched_connections = read_connections(reader)
        shown = {
            "status": status.as_text(database.registry.snapshot(now), ConnectionFilter(), width),
            "history": history.as_text(page.connection, rows, width),
            "incidents": incidents.as_text(incidents.lines_of(reader, list_incidents(reader), config, now), now, width),
            "explain": explain.as_text(explained(page, now, config.policy()), width),
            "forecast": _forecast(database, now, width),
            "deliveries": deliveries.as_text(told, deliveries.connections_of(reader, told), now, width),
        }
    silences = [
        a_silence(1, match={"platform": "linkedin", "connection": "linkedin-*"}, ends_at=now + DAY, reason="the agency moves its pages"),
        a_silence(2, starts_at=now + HOUR, ends_at=now + 2 * HOUR, author="a-rather-long-login", reason=FOREIGN),
    ]
    shown["silence-list"] = silence.as_text(silences, config, now, width, watched_connections, {page.connection.id: "Company page"})
    result = replay_history(config, other, now - 30 * DAY, now, lambda _at, _count: None)
    shown["replay"] = replay.as_text(result, now - 30 * DAY, now, width, limit=50, other=True)
    shown["config-check"] = summary(_beside(config, path), width)
    return shown | _tested(now, width)


def _tested(now: datetime, width: int) -> dict[str, str]:
    """What `check` and `preflight` show of a page that fails, one that works, one that no test can judge, and one without an answer."""
    page, works = a_connection(1, name="広報ページ 🔧 עברית"), a_connection(2, platform_id=f"threads-{'1784' * 12}", name=None)
    channel, silent = a_connection(3, platform_id="telegram-42"), a_connection(4, account="agency", user_id=24 * "a", user_name="Acme")
    reply = a_reply(passed=True, platform="threads", platform_id=works.platform_id, token=a_token_life(10 * HOUR))
    results = [
        check.CheckResult(page, Verdict(Reason.CREDENTIAL_REJECTED, FOREIGN), a_reply(passed=False)),
        check.CheckResult(works, Verdict(Reason.OK), reply),
        check.CheckResult(channel, Verdict(Reason.VALIDATOR_LACKS_MTPROTO), None),
        check.CheckResult(silent, Verdict(Reason.API_TIMEOUT, "no answer in 30s"), None),
    ]
    problems = ["agency: the list of connections could not be read: the API did not answer in time: no answer in 30s"]
    broken = stored(a_state(Health.ERROR, detail=FOREIGN), "linkedin", now, HOUR, ExpiryPolicy())
    checks = [
        preflight.PreflightCheck(page, broken, now - 12 * MINUTE, live=False),
        preflight.PreflightCheck(works, judged(Verdict(Reason.OK), reply, now, DAY, renews=False), now, live=True, name="Ann"),
        preflight.PreflightCheck(channel, judged(Verdict(Reason.VALIDATOR_LACKS_MTPROTO), None, now, DAY, renews=False), now, live=True),
        preflight.PreflightCheck(silent, judged(Verdict(Reason.OK), a_reply(), now, DAY, renews=False), now, live=True),
    ]
    return {
        "check": check.as_text(results, problems, width, "https://postpost.example/connections"),
        "preflight": preflight.as_text(checks, now, width),
    }


def _forecast(database: OpenDatabase, now: datetime, width: int) -> str:
    """What is told of a token that ends within hours beside what is broken."""
    registry = database.registry
    page = next(one for one in registry.connections() if one.platform_id == "threads-1784")
    changes = registry.begin()
    changes.states[page.id] = replace(registry.state(page.id), token=a_token_belief(now + 6 * HOUR))
    registry.commit(changes)
    snapshot = registry.snapshot(now)
    expected = forecast.forecast_now(registry, snapshot, now)
    states = {view.connection.id: view.state for view in snapshot.connections}
    return forecast.as_text(expected.messages, expected.until, states, 5, width, {})


def _beside(config: Config, path: Path) -> Config:
    """*config* as it is when its file lies in the working directory."""
    warnings = tuple(Problem(one.location.replace(str(path), path.name), one.message, one.fix) for one in config.warnings)
    return config.model_copy(update={"source": path.name, "warnings": warnings})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], str]:
    """(Verb, width) to what it shows."""
    folder = tmp_path_factory.mktemp("golden")
    url = f"sqlite:///{folder}/monitor.db"
    path = write_config(folder, url)
    path.write_text(path.read_text().replace("name: Company page", 'name: "広報ページ 🔧 עברית"'))
    path.chmod(0o600)
    (folder / "other.yaml").write_text("policy: {confirm: {failures: 3}}\n")
    clock = FakeClock()

    async def live() -> None:
        async with watched(path, FakeClock(clock.now() - 2 * DAY)) as world:
            world.now = clock.now()
            await _live(world)

    asyncio.run(live())
    with operator_session(url) as operator:
        match, now = {"connection": "linkedin-page1", "account": "main"}, clock.now()
        operator.add_silence(match, starts_at=now, ends_at=now + 2 * HOUR, author="bob", reason="anna reconnects it", now=now)
    return {(verb, width): text for width in WIDTHS for verb, text in _shown(path, clock, width).items()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
def test_golden(shown: dict[tuple[str, int], str], verb: str, width: int) -> None:
    """The text is the one that was looked at, and no line of a table is wider than the terminal."""
    text = re.sub("msg_[0-9a-f]{32}", f"msg_{'0' * 32}", shown[verb, width]) + "\n"
    file = FOLDER / f"{verb}-{width}.txt"
    if os.environ.get("REWRITE_GOLDENS"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if columns(line) > width] == []


def test_nothing_is_left_over() -> None:
    """Every golden is compared."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{verb}-{width}.txt" for verb in VERBS for width in WIDTHS)
