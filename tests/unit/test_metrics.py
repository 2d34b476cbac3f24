"""What Prometheus is told."""

import gzip
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.load import AccountLoad
from monitor.domain.reasons import Health, Scope
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import Controls
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import ClusterFacts, ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.errors import DeliveryReason, Reason
from monitor.metrics import Metrics, definitions, wants_openmetrics
from monitor.metrics.definitions import Family, MetricType
from monitor.metrics.exposition import ConnectionLines, Exposition, loop_labels, timestamp
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, a_silence, a_state, a_token_belief, at, changed
from tests.configured import ACCOUNT, configured, refused
from tests.sampling import sampled

ROOT = Path(__file__).parent.parent.parent
NOW = at(DAY)

HOSTILE = ['"', "\\", "\n", '\\"', "\\n", 'a"} 1\nfoo 2', "# EOF", "{}", "\u2028", "\r", "\x85", "日本", "\x00", "🙂", "a,b=c", "", " "]


def _view(number: int = 1, state: ConnectionState | None = None, **overrides: object) -> ConnectionView:
    return ConnectionView(a_connection(number, **overrides), state if state is not None else a_state())


def _snapshot(*views: ConnectionView, **overrides: object) -> Snapshot:
    return replace(Snapshot(NOW, views), **overrides)  # type: ignore[arg-type]


def _samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Name and labels -> value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for family in parse_text(text.decode()) for sample in family.samples
    }


def _values(text: bytes, name: str) -> list[float]:
    return [value for (sample, _), value in _samples(text).items() if sample == name]


class _ByTheLibrary(Collector):
    """The per-connection families as the official library has them: one object per sample."""

    def __init__(self, views: Sequence[ConnectionView]) -> None:
        self._views = views

    def collect(self) -> Iterator[Metric]:
        for family in (*definitions.PER_CONNECTION, definitions.EXPIRES_IN):
            yield self._family(family)

    def _family(self, family: Family) -> Metric:
        if family.kind is MetricType.INFO:
            info = InfoMetricFamily(family.name.removesuffix("_info"), family.help)
            for view in self._views:
                info.add_metric([], {})
                info.samples[-1] = info.samples[-1]._replace(labels=_info_labels(view))
            return info
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
        for view in self._views:
            for more, value in self._values(family, view):
                gauge.add_metric([*_labels(view.connection).values(), *more], value)
        return gauge

    def _values(self, family: Family, view: ConnectionView) -> Iterable[tuple[list[str], float]]:
        state = view.state
        if family is definitions.HEALTH:
            return [([state.health.value], 1.0)]
        seconds = {
            definitions.UP: {Health.OK: 1.0, Health.ERROR: 0.0, Health.MISSING: 0.0, Health.MISCONFIGURED: 0.0}.get(state.health),
            definitions.EXPIRY: _epoch(state.token.exact_at),
            definitions.EXPIRES_IN: None if state.token.exact_at is None else (_epoch(state.token.exact_at) or 0) - NOW.timestamp(),
            definitions.UNCERTAINTY: None,
            definitions.LAST_CHECK: _epoch(state.last_check_at),
            definitions.LAST_CONCLUSIVE: _epoch(state.last_evidence_at),
            definitions.LAST_POST: _epoch(state.last_successful_post_at),
            definitions.FAILURES: float(state.failures) or None,
        }[family]
        return [] if seconds is None else [([], seconds)]


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else float(int(moment.timestamp()))


def _labels(connection: Connection) -> dict[str, str]:
    return {
        "account": connection.account,
        "user_id": connection.user_id,
        "platform": connection.platform,
        "platform_id": connection.platform_id,
    }


def _info_labels(view: ConnectionView) -> dict[str, str]:
    connection, state = view.connection, view.state
    return {
        **_labels(connection),
        "name": connection.name or state.display_name or "",
        "username": state.username or "",
        **{f"label_{name}": value for name, value in connection.labels.items()},
    }


def _own_part(text: bytes) -> bytes:
    """What is rendered per connection, without the families that follow."""
    return text[: text.index(b"# HELP postpost_monitor_active")]


def _read(text: bytes, parse: Callable[[str], Iterable[Metric]]) -> list[tuple[str, str, frozenset[tuple[str, str]], float]]:
    """Type, name, labels and value of every sample, sorted; an empty label is the same as none."""
    return sorted(
        (family.type, sample.name, frozenset((name, value) for name, value in sample.labels.items() if value), sample.value)
        for family in parse(text.decode())
        for sample in family.samples
    )


texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
moments = st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@st.composite
def hostile_views(draw: st.DrawFn) -> list[ConnectionView]:
    """A few connections whose every text and moment is anything."""
    views = []
    for row in range(draw(st.integers(1, 4))):
        connection = a_connection(
            row,
            account=draw(texts),
            platform_id=f"{draw(texts)}{row}",
            platform=draw(texts),
            name=draw(st.none() | texts),
            user_id=draw(texts),
            labels=draw(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), texts, max_size=3)),
        )
        state = a_state(
            draw(st.sampled_from(Health)),
            username=draw(st.none() | texts),
            display_name=draw(st.none() | texts),
            detail=draw(texts),
            failures=draw(st.integers(0, 3_000_000)),
            last_check_at=draw(moments),
            last_evidence_at=draw(moments),
            last_successful_post_at=draw(moments),
            token=a_token_belief(draw(moments)),
        )
        views.append(ConnectionView(connection, state))
    return views


@given(hostile_views())
def test_same_as_the_library(views: list[ConnectionView]) -> None:
    """Read back, both formats are what the official library prints for the same samples, however hostile the texts."""
    registry = CollectorRegistry()
    registry.register(_ByTheLibrary(views))
    snapshot = Snapshot(NOW, tuple(views))
    metrics = Metrics()

    ours = _own_part(metrics.render(snapshot, NOW))
    assert _read(ours, parse_text) == _read(generate_latest(registry), parse_text)
    theirs = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    ours = _own_part(metrics.render(snapshot, NOW, openmetrics=True)) + b"# EOF\n"
    assert _read(ours, parse_openmetrics) == _read(theirs, parse_openmetrics)


@given(moments.filter(lambda moment: moment is not None))
def test_timestamps(moment: datetime) -> None:
    """Moments are exact to the microsecond, without digits that say nothing."""
    assert float(timestamp(moment)) == pytest.approx(moment.timestamp(), abs=1e-6)
    assert timestamp(START + SECOND / 2) == f"{int(START.timestamp())}.5"


@pytest.mark.parametrize(
    ("health", "up"),
    [
        (Health.OK, [1.0]),
        (Health.ERROR, [0.0]),
        (Health.MISSING, [0.0]),
        (Health.MISCONFIGURED, [0.0]),
        (Health.UNKNOWN, []),
        (Health.UNSUPPORTED, []),
    ],
)
def test_up(health: Health, up: list[float]) -> None:
    """`up` is absent while nothing is known or can be tested; zero means that it is known not to work."""
    text = Metrics().render(_snapshot(_view(state=a_state(health))), NOW)

    assert _values(text, "postpost_connection_up") == up
    assert sum(_values(text, "postpost_connection_health")) == 1


def test_absent_instead_of_sentinels() -> None:
    """A connection of which nothing is known has its health and its name, and nothing else."""
    text = Metrics().render(_snapshot(_view(state=ConnectionState())), NOW)

    assert {name for name, labels in _samples(text) if name.startswith("postpost_connection_")} == {
        "postpost_connection_health",
        "postpost_connection_info",
    }


def test_token_expiry() -> None:
    """The end of a token is the middle of what is known, off by half of it, which is left out up to half a minute."""
    belief = a_token_belief(None, earliest_at=NOW + HOUR, latest_at=NOW + HOUR + 2 * MINUTE)
    text = Metrics().render(_snapshot(_view(state=a_state(token=belief))), NOW)
    exact = Metrics().render(_snapshot(_view(state=a_state(token=a_token_belief(NOW)))), NOW)
    nearly = a_token_belief(None, earliest_at=NOW + HOUR, latest_at=NOW + HOUR + MINUTE)
    narrow = Metrics().render(_snapshot(_view(state=a_state(token=nearly))), NOW)

    assert _values(text, "postpost_connection_token_expiry_uncertainty_seconds") == [60.0]
    assert _values(narrow, "postpost_connection_token_expiry_uncertainty_seconds") == []
    assert _values(text, "postpost_connection_token_expiry_timestamp_seconds") == [(NOW + HOUR + MINUTE).timestamp()]
    assert _values(exact, "postpost_connection_token_expiry_uncertainty_seconds") == []


def test_time_left() -> None:
    """Every scrape says anew how long a token lasts, negative once it has ended; of one without an end nothing is said."""
    snapshot = _snapshot(_view(1, state=a_state(token=a_token_belief(NOW + HOUR))), _view(2, state=ConnectionState()))
    metrics, name = Metrics(), "postpost_connection_token_expires_in_seconds"

    assert _values(metrics.render(snapshot, NOW), name) == [3600.0]
    assert _values(metrics.render(snapshot, NOW + MINUTE), name) == [3540.0]
    assert _values(metrics.render(snapshot, NOW + 2 * HOUR), name) == [-3600.0]
    renewed = replace(snapshot, connections=(_view(1, state=a_state(token=a_token_belief(NOW + 5 * HOUR))), snapshot.connections[1]))
    assert _values(metrics.render(renewed, NOW), name) == [18000.0]


def test_true_or_absent() -> None:
    """Whether a connection works is not told while its scope can't be used or no check counts; its last health and incidents are."""
    view, metrics = _view(), Metrics()
    frozen, below_platform = replace(view, suppressed_by="account:main"), replace(view, suppressed_by="platform:linkedin")

    def up(shown: ConnectionView, *, storage_up: bool = True) -> list[float]:
        text = metrics.render(_snapshot(shown, storage_up=storage_up), NOW)
        assert sum(_values(text, "postpost_connection_health")) == 1
        return _values(text, "postpost_connection_up")

    assert [up(view), up(frozen), up(below_platform), up(view, storage_up=False), up(view)] == [[1.0], [], [1.0], [], [1.0]]


def test_compressed() -> None:
    """With gzip the text is the same, when nothing changed, when something did, and in both formats."""
    metrics, views = Metrics(), [_view(number) for number in range(1, 6)]
    for round_ in range(4):
        if round_ == 2:
            views[3] = replace(views[3], state=a_state(Health.ERROR))
        if round_ == 3:
            del views[0]
        snapshot = _snapshot(*views)
        for openmetrics in (False, True):
            plain = _own_part(metrics.render(snapshot, NOW, openmetrics=openmetrics))
            packed = metrics.render(snapshot, NOW, openmetrics=openmetrics, gzip=True)
            assert _own_part(gzip.decompress(packed)) == plain


def test_lines_are_made_once() -> None:
    """A scrape makes the lines of the blocks in which a connection changed, and of no other; compressed is again what differs."""
    views = [_view(number) for number in range(1, 200)]
    exposition = Exposition()

    def lines() -> ConnectionLines:
        updating = exposition.update(_snapshot(*views))
        while True:
            try:
                next(updating)
            except StopIteration as stop:
                made: ConnectionLines = stop.value
                return made

    first, again = lines(), lines()
    views[70] = replace(views[70], next_check_at=NOW)
    viewed = lines()
    views[7] = replace(views[7], state=a_state(Health.ERROR))
    changed_state = lines()
    del views[20]
    removed = lines()

    assert first.version == again.version == viewed.version
    assert len({first.version, changed_state.version, removed.version}) == 3
    assert kept(first, again) == [True] * 4
    assert kept(first, viewed) == [True, False, True, True]
    assert kept(viewed, changed_state) == [False, True, True, True]
    assert first.blocks[1].texts == viewed.blocks[1].texts


def kept(before: ConnectionLines, after: ConnectionLines) -> list[bool]:
    """Which blocks of connections were not made again."""
    return list(map(operator.is_, before.blocks, after.blocks))


def test_size_of_a_connection() -> None:
    """A connection of which everything usual is known takes at most 1.1 kB, and no series says zero for a state that it has not."""
    token = a_token_belief(None, earliest_at=NOW, latest_at=NOW + MINUTE)
    view = _view(platform_id="linkedin-Tz9W5i6Z", state=a_state(username="page1", last_successful_post_at=START, token=token))
    text, twice = Metrics().render(_snapshot(view), NOW), Metrics().render(_snapshot(view, view), NOW)

    assert len(_own_part(twice)) - len(_own_part(text)) <= 1_150
    assert 0 not in [value for (name, _), value in _samples(text).items() if name.startswith("postpost_connection")]


def test_changes_are_seen() -> None:
    """A new state, a new name and a removed connection show at the next scrape, although lines are kept."""
    metrics = Metrics()
    one, two = _view(1), _view(2)
    metrics.render(_snapshot(one, two), NOW)

    failed = replace(one, state=a_state(Health.ERROR))
    renamed = replace(failed, connection=changed(one.connection, name="Another"))

    assert _values(metrics.render(_snapshot(failed, two), NOW), "postpost_connection_up") == [0.0, 1.0]
    assert b'name="Another"' in metrics.render(_snapshot(renamed, two), NOW)
    assert b"linkedin-page2" not in metrics.render(_snapshot(renamed), NOW)
    assert b"postpost_connection_" not in metrics.render(_snapshot(), NOW)


def test_labels_of_the_configuration() -> None:
    """Labels of a connection are on `info` alone, with a prefix, and cannot take another label's place."""
    view = _view(labels={"team": "social", "account": "evil", "cost-center": "1", "cost.center": "2"})

    lines = Metrics().render(_snapshot(view), NOW).decode().splitlines()
    info = [line for line in lines if line.startswith("postpost_connection_info")]

    expected = (
        'postpost_connection_info{account="main",platform="linkedin",platform_id="linkedin-page1",name="Page 1",'
        'label_account="evil",label_cost_center="1",label_team="social"} 1'
    )
    assert info == [expected]
    assert sum("social" in line for line in lines) == 1


@pytest.mark.parametrize("texts", sampled([1_000, 10_000]))
def test_hostile_texts(texts: int) -> None:
    """Thousands of hostile texts in every field that others fill make no line, series or family more than harmless ones."""
    letters = ['"', "\\", "\n", "{", "}", " ", "#", "=", ",", "\r", "\u202e", "\x1b[31m", "\ud800", "é", "<script>", "# EOF\n", "1"]
    hostile = ["".join(letters[(seed >> shift) % len(letters)] for shift in range(0, 15, 3)) for seed in range(texts)]
    views = [
        ConnectionView(a_connection(row, name=text), a_state(username=text[::-1], display_name=text, detail=text))
        for row, text in enumerate(hostile)
    ]
    harmless = Metrics().render(_snapshot(_view()), NOW)
    of_one = len([name for name, _ in _samples(harmless) if name.startswith("postpost_connection_")])

    text = Metrics().render(_snapshot(*views), NOW)
    samples = _samples(text)

    assert text.count(b"\n") == harmless.count(b"\n") + of_one * (len(views) - 1)
    assert len([name for name, _ in samples if name.startswith("postpost_connection_")]) == of_one * len(views)
    assert {name for name, _ in samples} == {name for name, _ in _samples(harmless)}


def test_overall() -> None:
    """Accounts, the API, incidents and the outbox are read from the snapshot; what is not known is absent."""
    user = "6626a1f5e4b0c91a2d3f4567"
    connection = a_connection(user_id=user)
    token = IncidentView(IncidentRef(Topic.EXPIRY, "1", 1, START), Scope.CONNECTION, 1, "7d", Severity.WARNING, None, "", connection)
    scopes = [
        IncidentView(IncidentRef(Topic.SCOPE, subject, 1, START), scope, None, "failed", Severity.CRITICAL, Reason.API_UNAUTHORIZED, "")
        for subject, scope in (
            ("account:main", Scope.ACCOUNT),
            ("rate:main", Scope.ACCOUNT),
            (f"user:main/{user}", Scope.USER),
            ("platform:threads", Scope.PLATFORM),
            ("api:api.postpost.dev", Scope.API),
        )
    ]
    ack = Ack(Topic.EXPIRY, "1", 1, "7d", START, "anna", "")
    metrics = Metrics()
    metrics.prepare(receivers=["on-call", "idle"])
    metrics.receiver_disabled("on-call", disabled=True)
    snapshot = _snapshot(
        accounts={"main": False, "other": None, "third": True},
        api_up=None,
        storage_up=False,
        incidents=(*scopes, token),
        outbox={"on-call": OutboxView(3, START, failing_since=START), "left-over": OutboxView(1, START - SECOND)},
        controls=Controls(silences=(a_silence(1), a_silence(2)), acks={ack.key: ack}),
    )

    samples = _samples(metrics.render(snapshot, NOW))

    def value(name: str, **labels: str) -> float | None:
        return samples.get((name, frozenset(labels.items())))

    def labels_of(metric: str) -> set[frozenset[tuple[str, str]]]:
        return {labels for name, labels in samples if name == metric}

    def labels(**values: str) -> frozenset[tuple[str, str]]:
        return frozenset(values.items())

    failed = {"topic": "scope", "level": "failed", "severity": "critical"}
    about_token = labels(
        topic="expiry",
        scope="connection",
        level="7d",
        severity="warning",
        account="main",
        user_id=user,
        platform="linkedin",
        platform_id=connection.platform_id,
    )
    assert labels_of("postpost_incident_open") == {
        about_token,
        labels(**failed, scope="account", account="main"),
        labels(**failed, scope="account", kind="rate", account="main"),
        labels(**failed, scope="user", account="main", user_id=user),
        labels(**failed, scope="platform", platform="threads"),
        labels(**failed, scope="api"),
    }
    assert labels_of("postpost_incident_acknowledged") == {about_token}
    assert value("postpost_account_up", account="main") == 0
    assert value("postpost_account_up", account="third") == 1
    assert value("postpost_account_up", account="other") is None
    assert value("postpost_api_up") is None
    assert value("postpost_monitor_storage_up") == 0
    assert value("postpost_silences", state="active") == sum(silence.state(NOW) == "active" for silence in snapshot.controls.silences)
    assert value("postpost_outbox_pending", receiver="on-call") == 3
    assert value("postpost_outbox_pending", receiver="idle") == 0
    assert value("postpost_receiver_disabled", receiver="on-call") == 1
    assert value("postpost_receiver_disabled", receiver="idle") is None
    assert value("postpost_receiver_failing", receiver="on-call") == 1
    assert value("postpost_receiver_failing", receiver="left-over") == 0
    assert value("postpost_outbox_pending", receiver="left-over") == 1
    assert value("postpost_outbox_oldest_timestamp_seconds", receiver="left-over") == (START - SECOND).timestamp()


def test_only_what_exists() -> None:
    """No check is counted before there was one; the results of a receiver, which are few, are there at zero from the start."""
    metrics = Metrics()
    metrics.prepare(accounts=["main"], receivers=["on-call"])
    before = _samples(metrics.render(_snapshot(), NOW))
    metrics.check_concluded("main", "x", Reason.OK, 0.1)
    metrics.check_concluded("gone", "x", Reason.OK, 0.1)
    metrics.prepare(accounts=["main"], receivers=["on-call"])
    after = metrics.render(_snapshot(), NOW)

    assert not [name for name, _ in before if name == "postpost_checks_total"]
    assert [value for (name, _), value in before.items() if name == "postpost_deliveries_total"] == [0.0] * len(DeliveryReason)
    assert _values(after, "postpost_checks_total") == [1.0]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("checker-main-eu", ("checker", "main-eu", "")),
        ("discoverer-main", ("discoverer", "main", "")),
        ("deliverer-on-call", ("deliverer", "", "on-call")),
        ("uptime-rollup", ("uptime-rollup", "", "")),
        ("storage-alert", ("storage-alert", "", "")),
    ],
)
def test_loop_labels(name: str, labels: tuple[str, str, str]) -> None:
    """The name of a loop has no account and no receiver in it: these are labels."""
    assert loop_labels(name) == labels


def test_counts() -> None:
    """What is reported is counted, under the outcome that belongs to the reason."""
    metrics = Metrics()
    metrics.check_concluded("main", "x", Reason.API_TIMEOUT, 30.0)
    metrics.check_lagged(-0.1)
    metrics.checks_missed(3)
    metrics.delivery_attempted("on-call", DeliveryReason.GONE, 0.2)
    metrics.client_rebuilt()
    metrics.clock_jumped()

    samples = _samples(metrics.render(_snapshot(), NOW))

    def value(name: str, **labels: str) -> float:
        return samples[name, frozenset(labels.items())]

    assert value("postpost_checks_total", account="main", platform="x", outcome="inconclusive", reason="api_timeout") == 1
    assert value("postpost_check_duration_seconds_sum") == 30
    assert value("postpost_monitor_check_lag_seconds_sum") == 0
    assert value("postpost_monitor_checks_missed_total") == 3
    assert value("postpost_deliveries_total", receiver="on-call", result="gone") == 1
    assert value("postpost_delivery_duration_seconds_count") == 1
    assert value("postpost_monitor_api_client_rebuilds_total") == 1
    assert value("postpost_monitor_clock_jumps_total") == 1


def test_reload_is_told() -> None:
    """A failed reload is told, with the moment of the last good one; before any, neither exists."""
    metrics = Metrics()
    before = metrics.render(_snapshot(), NOW)
    metrics.config_reloaded(successful=True, at=START)
    metrics.config_reloaded(successful=False, at=START + HOUR)
    after = metrics.render(_snapshot(), NOW)

    assert _values(before, "postpost_monitor_config_last_reload_successful") == []
    assert _values(after, "postpost_monitor_config_last_reload_successful") == [0.0]
    assert _values(after, "postpost_monitor_config_last_reload_success_timestamp_seconds") == [START.timestamp()]


def test_gone_with_the_configuration() -> None:
    """A receiver or loop that a reload took away is gone, what stays keeps its counts and moments."""
    metrics = Metrics()
    metrics.prepare(receivers=["stays", "goes"], loops=["checker", "old"])
    metrics.delivery_attempted("stays", DeliveryReason.DELIVERED, 0.1)
    metrics.receiver_disabled("stays", disabled=False)
    metrics.receiver_disabled("goes", disabled=True)
    metrics.loops_stepped({"checker": START})
    metrics.loops_stepped({"old": START})
    metrics.config_reloaded(successful=True, at=START)

    metrics.prepare(receivers=["stays"], loops=["checker"])
    text = metrics.render(_snapshot(), NOW)

    assert b'"goes"' not in text
    assert b'"old"' not in text
    assert _values(text, "postpost_monitor_loop_last_step_timestamp_seconds") == [START.timestamp()]
    assert sum(_values(text, "postpost_deliveries_total")) == 1
    assert _values(text, "postpost_monitor_config_last_reload_successful") == [1.0]


def test_invented_platforms() -> None:
    """An API that makes up platforms makes no more series than a fixed number; the rest is counted together."""
    metrics = Metrics()
    for invented in range(200):
        metrics.check_concluded("main", f"made-up-{invented}", Reason.OK, 0.1)

    samples = _samples(metrics.render(_snapshot(), NOW))
    platforms = {dict(labels)["platform"] for name, labels in samples if name == "postpost_checks_total"}

    assert len(platforms) == 65
    assert (
        samples["postpost_checks_total", frozenset({"account": "main", "platform": "other", "outcome": "passed", "reason": "ok"}.items())]
        == 136
    )


def test_both_formats_tell_the_same() -> None:
    """OpenMetrics parses by its own strict parser, ends once, and holds the same samples; nothing tells when it was made."""
    metrics = Metrics()
    metrics.prepare(receivers=["on-call"])
    snapshot = _snapshot(_view(1), _view(2, state=a_state(token=a_token_belief(NOW + 30 * DAY))), accounts={"main": True}, api_up=True)

    text, openmetrics = metrics.render(snapshot, NOW), metrics.render(snapshot, NOW, openmetrics=True)
    parsed = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(openmetrics.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
    }

    def ours(samples: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {key: value for key, value in samples.items() if key[0].startswith("postpost_")}

    assert openmetrics.count(b"# EOF") == 1
    assert openmetrics.endswith(b"# EOF\n")
    assert ours(parsed) == ours(_samples(text))
    assert not [name for name, _ in parsed if name.endswith("_created")]


def test_two_do_not_meet() -> None:
    """Two of them in one process count for themselves."""
    one, other = Metrics(), Metrics()
    one.checks_missed(1)

    assert _values(other.render(_snapshot(), NOW), "postpost_monitor_checks_missed_total") == [0.0]


def test_process_metrics() -> None:
    """The process tells of its memory, its files and its garbage."""
    names = {name for name, _ in _samples(Metrics().render(_snapshot(), NOW))}

    assert {"process_resident_memory_bytes", "process_open_fds", "python_info", "python_gc_collections_total"} <= names


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5",
            True,
        ),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text; version=1.0.0; q=0.2", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_negotiation(accept: str, expected: bool) -> None:
    """OpenMetrics is for those who ask for it and like it no less than plain text; everybody else gets plain text."""
    assert wants_openmetrics(accept) is expected


def test_buckets_beyond_the_timeout() -> None:
    """The longest request that the configuration allows is counted in a bucket with a bound."""
    longest = configured(ACCOUNT + "api: {timeout: 5m}\n").api.timeout.total_seconds()
    assert definitions.CHECK_SECONDS.buckets[-1] > longest
    assert "api.timeout" in str(refused(ACCOUNT + "api: {timeout: 301s}\n"))


def test_naming() -> None:
    """Names follow the rules: one prefix, `_total` on counters alone, seconds and timestamps said, labels in snake case."""
    for family in definitions.ALL:
        assert re.fullmatch(r"postpost_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind is MetricType.COUNTER)
        assert family.name.endswith("_info") == (family.kind is MetricType.INFO)
        assert bool(family.buckets) == (family.kind is MetricType.HISTOGRAM)
        assert family.help.endswith(".")
        assert not re.search(r'[\\\n"]', family.help)
        assert all(re.fullmatch(r"[a-z_]+", label) for label in family.labels)


def test_documented() -> None:
    """Every metric, its type and its labels are in docs/reference/metrics.md, and nothing is documented that is not there."""
    rows = re.findall(
        r"^\| `(postpost_\w+)` \| (\w+)[^|]*\| ([^|]*)\|", (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}
    common = {"account", "user_id", "platform", "platform_id"}

    assert {name: kind for name, kind, _ in rows} == {
        family.name: "gauge" if family.kind is MetricType.INFO else family.kind.value for family in definitions.ALL
    }
    for family in definitions.ALL:
        expected = set(family.labels) - common if family in (*definitions.PER_CONNECTION, definitions.EXPIRES_IN) else set(family.labels)
        assert documented[family.name] == expected, family.name


def test_everything_is_rendered() -> None:
    """Every metric of the table comes out once something is known."""
    metrics = Metrics()
    metrics.prepare(receivers=["on-call"])
    metrics.receiver_disabled("on-call", disabled=False)
    metrics.loops_stepped({"checker": START})
    metrics.config_reloaded(successful=True, at=START)
    metrics.heart_beat("sent", START)
    metrics.check_concluded("main", "x", Reason.OK, 0.1)
    token = a_token_belief(None, earliest_at=NOW + DAY, latest_at=NOW + 2 * DAY)
    state = a_state(token=token, last_successful_post_at=START, failures=1)
    incident = IncidentView(
        IncidentRef(Topic.SCOPE, "api:x", 1, START), Scope.API, None, "failed", Severity.CRITICAL, None, "", notified="failed"
    )
    ack = Ack(Topic.SCOPE, "api:x", 1, "failed", START, "anna", "")
    snapshot = _snapshot(
        _view(state=state),
        accounts={"main": True},
        api_up=True,
        outbox={"on-call": OutboxView(1, START)},
        incidents=(incident,),
        controls=Controls(acks={ack.key: ack}),
        loads=(AccountLoad("main", 1, 0.5, 5.0),),
        cluster=ClusterFacts(
            "a", "1", "c", config_current=True, nodes=2, shards=3, free=0, lease_remaining=9.0, queue_up=True, nodes_lost=0
        ),
    )

    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in _samples(metrics.render(snapshot, NOW))}

    assert {family.name for family in definitions.ALL} - names == set()
