"""One connection with its past, as its own page shows it."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db import CheckRow, NotificationRow
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.silencing.acceptance import acceptable
from monitor.domain.uptime import OpenOutage
from monitor.domain.views.snapshot import ConnectionView
from monitor.domain.views.status import Tone
from monitor.text.explain import ExplainSection
from monitor.text.format import milliseconds, sentence
from monitor.text.reasons import OUTCOME_TEXTS, reason_text
from monitor.web.actions import Performed
from monitor.web.pages import cli_hints
from monitor.web.pages.charts import Bar, Spark, WindowUptime, bar_of, spark_of, windows_of
from monitor.web.pages.cli_hints import Command
from monitor.web.pages.history import ConnectionHistory, HistoryQuery
from monitor.web.pages.incidents import IncidentPanel, closed_panel
from monitor.web.pages.notifications import NotificationView, notification_views
from monitor.web.pages.response import RESPONSE_WINDOWS, ResponseChart, chart_of
from monitor.web.pages.trail import TrailEntry, trail_of
from monitor.web.status.connection import ConnectionRow
from monitor.web.status.sidebar import Card

_TONES = {Outcome.PASSED: Tone.GOOD, Outcome.FAILED: Tone.BAD, Outcome.INCONCLUSIVE: Tone.IDLE, Outcome.UNSUPPORTED: Tone.IDLE}
_DAY = timedelta(days=1)
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class ConnectionQuery:
    """The parameters of a connection's page: a day, older checks, older incidents, a window of response times."""

    day: date | None = None
    before: datetime | None = None
    incidents: int | None = None
    response: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "ConnectionQuery":
        """The parameters in *query*; malformed ones are ignored."""
        before, incidents = number_in(query.get("before", "")), number_in(query.get("incidents", ""))
        response = query.get("response", "")
        return cls(_day(query.get("day", "")), _moment(before), incidents, response if response in RESPONSE_WINDOWS else "")

    @property
    def history(self) -> HistoryQuery:
        """The part of the past that this shows."""
        window = RESPONSE_WINDOWS.get(self.response)
        if self.day is None:
            return HistoryQuery(self.before, None, self.incidents, window)
        start = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        end = start + _DAY
        return HistoryQuery(end if self.before is None else min(self.before, end), start, self.incidents, window)


@dataclass(frozen=True, slots=True)
class CheckView:
    """One check, worded."""

    at: datetime
    outcome: str
    tone: Tone
    took: str
    status: str
    token: str
    why: str
    quoted: str


@dataclass(frozen=True, slots=True)
class Profile:
    """
    The page of one connection.

    Attributes:
        past: whether the database could be read; without it everything below is empty.
        explanation: why it is believed to be as it is shown.
        acceptable: the lost permissions that an operator may accept.
        response: the chart of the chosen window of response times; None where there are too few checks.
        counted_until: up to when the uptime has been added up.
        unacknowledged: the open incidents that nobody acknowledged: title, and the part of an address that names it.
        older_checks, older_incidents: where there are more; empty where there are none.
    """

    row: ConnectionRow
    query: ConnectionQuery
    past: bool
    bar: Bar | None
    windows: tuple[WindowUptime, ...]
    spark: Spark | None
    checks: tuple[CheckView, ...]
    older_checks: str
    incidents: tuple[IncidentPanel, ...]
    older_incidents: str
    notifications: tuple[NotificationView, ...]
    commands: tuple[Command, ...]
    cards: tuple[Card, ...] = ()
    explanation: tuple[ExplainSection, ...] = ()
    trail: tuple[TrailEntry, ...] = ()
    acceptable: tuple[str, ...] = ()
    response: ResponseChart | None = None
    counted_until: datetime | None = None
    unacknowledged: tuple[tuple[str, str], ...] = ()

    @property
    def responses(self) -> tuple[tuple[str, str, bool], ...]:
        """What the response time can be shown of: address, words, and whether it is."""
        windows = {"": "Latest", **{name: window.name for name, window in RESPONSE_WINDOWS.items()}}
        return tuple((_address(response=name) if name else "?", words, name == self.query.response) for name, words in windows.items())


def profile_of(
    row: ConnectionRow,
    past: ConnectionHistory | None,
    query: ConnectionQuery,
    now: datetime,
    *,
    watched: bool = True,
    outage_of: Callable[[datetime | None], OpenOutage | None] = lambda _: None,
    cards: tuple[Card, ...] = (),
    performed: tuple[Performed, ...] = (),
) -> Profile:
    """The page of one connection, *watched* or retired; *outage_of* gives its open outage, *performed* what left no row."""
    view = row.view
    lost = acceptable(view.connection, view.state) if watched else ()
    empty = Profile(
        row, query, past is not None, None, (), None, (), "", (), "", (), _commands(view, watched=watched), cards, acceptable=lost
    )
    if past is None:
        return empty
    outage, window = outage_of(past.trend.until), query.history.response
    return Profile(
        row=row,
        query=query,
        past=True,
        bar=bar_of(past.trend.days, now, outage),
        windows=windows_of(past.uptimes, now, outage),
        spark=spark_of(past.trend.latencies, width=600, height=64),
        checks=tuple(map(_check, past.checks)),
        older_checks=_older(query, past.checks[-1].at) if past.more_checks else "",
        incidents=_incidents(view, past, now),
        older_incidents=_address(incidents=past.incidents[-1].id) if past.more_incidents else "",
        notifications=notification_views(past.notifications, past.deliveries, past.attempts, view.connection, now),
        commands=empty.commands,
        cards=cards,
        trail=trail_of(view.connection, past.acks, past.silences, performed, now, past.accepted),
        acceptable=lost,
        response=chart_of(past.response, window, now) if window is not None else None,
        counted_until=past.trend.until,
    )


def _incidents(view: ConnectionView, past: ConnectionHistory, now: datetime) -> tuple[IncidentPanel, ...]:
    notifications: dict[tuple[str, int], list[NotificationRow]] = defaultdict(list)
    for row in past.notifications:
        notifications[row.notification.incident.topic, row.notification.incident.number].append(row)
    return tuple(closed_panel(row, view, notifications[row.incident.topic, row.incident.number], now) for row in past.incidents)


def _commands(view: ConnectionView, *, watched: bool) -> tuple[Command, ...]:
    connection = view.connection
    if not watched:
        return (cli_hints.explain(connection),)
    own = () if connection.user_id else (cli_hints.check(connection),)
    return (cli_hints.explain(connection), *own, cli_hints.silence_connection(connection))


def _check(row: CheckRow) -> CheckView:
    outcome = outcome_of(row.reason)
    return CheckView(
        at=row.at,
        outcome=OUTCOME_TEXTS[outcome],
        tone=_TONES[outcome],
        took=milliseconds(row.duration_ms),
        status="" if row.http_status is None else str(row.http_status),
        token=row.token or "",
        why="" if outcome is Outcome.PASSED else sentence(reason_text(row.reason)),
        quoted=row.detail,
    )


def _older(query: ConnectionQuery, before: datetime) -> str:
    day = {"day": query.day.isoformat()} if query.day is not None else {}
    return _address(**day, before=to_milliseconds(before))


def _address(**parts: str | int) -> str:
    return f"?{urlencode(parts)}"


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None
    # The last of all days has no day after it.
    return None if day == date.max else day


def number_in(text: str) -> int | None:
    """The number in an address; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _moment(millis: int | None) -> datetime | None:
    try:
        return None if millis is None else from_milliseconds(millis)
    except OverflowError:
        return None
