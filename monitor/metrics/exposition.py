"""
The snapshot as Prometheus text.

Ten thousand connections make a hundred and fifty thousand lines. States are immutable values, so the lines of a connection are kept
until it has another state; a scrape joins them. Only the seconds until a token expires are written at each scrape.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.clock import EPOCH
from monitor.domain.connections import Connection
from monitor.domain.events import Severity, Topic
from monitor.domain.expiry import estimate
from monitor.domain.reasons import Health, Scope
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.states import ConnectionState
from monitor.metrics import definitions
from monitor.metrics.definitions import Family, MetricType

YES = "1.0"
NO = "0.0"

# Known not to work: the API says so, does not know the connection, or refuses its id.
_UP = {Health.OK: YES, Health.ERROR: NO, Health.MISSING: NO, Health.MISCONFIGURED: NO}

INCIDENT_LABELS = (
    *((topic.value, "") for topic in Topic if topic is not Topic.SCOPE),
    *(("", scope.value) for scope in Scope if scope is not Scope.CONNECTION),
)
"""Topic and scope of every kind of incident; one of them is empty, which is the same as absent."""

_BATCH = 500
_NOT_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """
    The process's own values.

    Attributes:
        receivers: names of all that are configured, so that one without pending deliveries shows a zero.
        disabled: receiver name -> whether its deliveries are disabled; without those of which that is not known yet.
        loops: loop name -> when it last finished a step.
        reloaded: whether the configuration was applied when it was last read; None before the first time.
        reloaded_at: when the one in use was applied.
        heartbeat_at: when the last heartbeat was accepted; None before the first.
    """

    receivers: tuple[str, ...] = ()
    disabled: Mapping[str, bool] = field(default_factory=dict)
    loops: Mapping[str, datetime] = field(default_factory=dict)
    reloaded: bool | None = None
    reloaded_at: datetime | None = None
    heartbeat_at: datetime | None = None


class _Lines:
    """The lines of one connection, one item per family of `PER_CONNECTION`; and what they were made from."""

    __slots__ = ("connection", "ends", "expires_in", "lines", "state")

    def __init__(self, connection: Connection, state: ConnectionState) -> None:
        self.connection = connection
        self.state = state
        labels = pairs((("account", connection.account_label), ("platform", connection.platform), ("platform_id", connection.platform_id)))
        ends_at = estimate.best_estimate(state.token)
        uncertainty = estimate.uncertainty(state.token)
        # The value is written at the scrape: this family has no line here.
        self.expires_in = f"{definitions.EXPIRES_IN.name}{{{labels}}} "
        self.ends = None if ends_at is None else seconds_since_1970(ends_at)
        self.lines = (
            _line(definitions.UP, labels, _UP.get(state.health)),
            _health_lines(connection, state.health),
            _line(definitions.EXPIRY, labels, _moment(ends_at)),
            b"",
            _line(definitions.UNCERTAINTY, labels, None if uncertainty is None else number(uncertainty.total_seconds())),
            _line(definitions.LAST_CHECK, labels, _moment(state.last_check_at)),
            _line(definitions.LAST_CONCLUSIVE, labels, _moment(state.last_evidence_at)),
            _line(definitions.LAST_POST, labels, _moment(state.last_successful_post_at)),
            _line(definitions.FAILURES, labels, whole(state.failures)),
            _line(definitions.INFO, pairs(_info(connection, state).items()), YES),
        )


class Exposition:
    """Renders snapshots; keeps the lines of each connection for the next one."""

    def __init__(self) -> None:
        self._known: dict[int, _Lines] = {}

    def chunks(self, snapshot: Snapshot, now: datetime, own: ProcessState, *, openmetrics: bool) -> Iterator[bytes]:
        """
        Yield all families that are read from *snapshot* and *own*, in pieces.

        Pieces may be empty: between two of them other tasks can run.
        """
        rows: list[_Lines] = []
        known: dict[int, _Lines] = {}
        for start in range(0, len(snapshot.connections), _BATCH):
            self._take(snapshot.connections[start : start + _BATCH], rows, known)
            yield b""
        self._known = known
        columns: Sequence[Sequence[bytes]] = list(zip(*[row.lines for row in rows], strict=True))
        for family, column in zip(definitions.PER_CONNECTION, columns, strict=False):
            yield header(family, openmetrics=openmetrics)
            if family is definitions.EXPIRES_IN:
                yield from _expires_in(rows, seconds_since_1970(now))
            else:
                yield b"".join(column)
        yield from overall(snapshot, own, openmetrics=openmetrics)

    def _take(self, views: Sequence[ConnectionView], rows: list[_Lines], known: dict[int, _Lines]) -> None:
        for view in views:
            connection = view.connection
            lines = self._known.get(connection.id)
            if lines is None or lines.state is not view.state or lines.connection is not connection:
                lines = _Lines(connection, view.state)
            known[connection.id] = lines
            rows.append(lines)


def overall(snapshot: Snapshot, own: ProcessState, *, openmetrics: bool) -> Iterator[bytes]:
    """Yield the families that are not per connection."""
    incidents = Counter((*topic_and_scope(view), view.severity) for view in snapshot.incidents)
    pending = {**dict.fromkeys(own.receivers, 0), **{name: view.pending for name, view in snapshot.outbox.items()}}
    oldest = min((view.oldest_at for view in snapshot.outbox.values() if view.oldest_at is not None and not view.disabled), default=None)
    samples: dict[Family, list[tuple[Sequence[str], str | None]]] = {
        definitions.ACCOUNT_UP: [((name,), _truth(up)) for name, up in sorted(snapshot.accounts.items())],
        definitions.API_UP: [((), _truth(snapshot.api_up))],
        definitions.STORAGE_UP: [((), _truth(snapshot.storage_up))],
        definitions.INCIDENTS: [
            ((topic, scope, severity), whole(incidents[topic, scope, severity]))
            for topic, scope in INCIDENT_LABELS
            for severity in Severity
        ],
        definitions.PENDING: [((name,), whole(count)) for name, count in sorted(pending.items())],
        definitions.OLDEST: [((), _moment(oldest))],
        definitions.DISABLED: [((name,), _truth(disabled)) for name, disabled in sorted(own.disabled.items())],
        definitions.FAILING: [
            ((name,), _truth(view.disabled or view.failing_since is not None)) for name, view in sorted(snapshot.outbox.items())
        ],
        definitions.UNMATCHED: [((), whole(len(snapshot.unmatched)))],
        definitions.LOOP_STEP: [((name,), timestamp(at)) for name, at in sorted(own.loops.items())],
        definitions.RELOADED: [((), _truth(own.reloaded))],
        definitions.RELOADED_AT: [((), _moment(own.reloaded_at))],
        definitions.HEARTBEAT_AT: [((), _moment(own.heartbeat_at))],
    }
    for family in definitions.OVERALL:
        yield header(family, openmetrics=openmetrics)
        for values, value in samples[family]:
            yield _line(family, pairs((name, label) for name, label in zip(family.labels, values, strict=True) if label), value)


def topic_and_scope(view: IncidentView) -> tuple[str, str]:
    """Return the labels of an incident: the topic of a connection's, the scope of a wider one."""
    return ("", view.scope.value) if view.scope is not Scope.CONNECTION else (view.incident.topic.value, "")


def _expires_in(rows: Sequence[_Lines], now: int) -> Iterator[bytes]:
    for start in range(0, len(rows), _BATCH * 4):
        batch = rows[start : start + _BATCH * 4]
        text = "".join([f"{row.expires_in}{whole(row.ends - now)}\n" for row in batch if row.ends is not None])
        yield text.encode(errors="replace")


def _line(family: Family, labels: str, value: str | None) -> bytes:
    if value is None:
        return b""
    text = f"{family.name}{{{labels}}} {value}\n" if labels else f"{family.name} {value}\n"
    return text.encode(errors="replace")


def _health_lines(connection: Connection, health: Health) -> bytes:
    name, account = definitions.HEALTH.name, escape(connection.account_label)
    tail = pairs((("platform", connection.platform), ("platform_id", connection.platform_id)))
    lines = [f'{name}{{account="{account}",health="{known.value}",{tail}}} {YES if known is health else NO}\n' for known in Health]
    return "".join(lines).encode(errors="replace")


def _info(connection: Connection, state: ConnectionState) -> dict[str, str]:
    """Fixed names first: a label of the configuration has a prefix and can't take their place."""
    own = {f"label_{_NOT_A_LABEL.sub('_', name)}": value for name, value in sorted(connection.labels.items(), reverse=True)}
    return {
        "account": connection.account_label,
        "platform": connection.platform,
        "platform_id": connection.platform_id,
        "user_id": connection.user_id,
        "name": connection.name or state.display_name or "",
        "username": state.username or "",
        **own,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def _truth(known: bool | None) -> str | None:
    return None if known is None else YES if known else NO


_MICROSECOND = timedelta(microseconds=1)
_ODD = re.compile(r'[\\\n"]')
_MILLION = 1_000_000
# Microseconds since 1970 with sixteen digits, of which a float holds every one: the years 2001 to 2242.
_SIXTEEN_DIGITS = range(10**15, 2**33 * _MILLION)


def header(family: Family, *, openmetrics: bool) -> bytes:
    """The lines that introduce *family*. Before OpenMetrics an info is a gauge, and units are not told."""
    if not openmetrics:
        kind = MetricType.GAUGE if family.kind is MetricType.INFO else family.kind
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {kind}\n".encode()
    name = family.name.removesuffix("_info") if family.kind is MetricType.INFO else family.name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{unit}".encode()


def escape(value: str) -> str:
    """A label's value between its quotes."""
    if _ODD.search(value) is None:
        return value
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def pairs(labels: Iterable[tuple[str, str]]) -> str:
    """Labels, ordered by name, as they stand between the braces."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in sorted(labels))


def number(value: float) -> str:
    """A number as Go prints it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def whole(value: int) -> str:
    """`number` for whole numbers, several times faster."""
    if value < _MILLION:
        return f"{value}.0"
    text = str(value)
    mantissa = f"{text[0]}.{text[1:]}".rstrip("0.")
    return f"{mantissa}e+{len(text) - 1:02d}"


def timestamp(at: datetime) -> str:
    """`number` for a moment, in seconds since 1970."""
    microseconds = (at - EPOCH) // _MICROSECOND
    if microseconds not in _SIXTEEN_DIGITS:
        return number(microseconds / _MILLION)
    text = str(microseconds)
    mantissa = f"{text[0]}.{text[1:]}".rstrip("0").rstrip(".")
    return f"{mantissa}e+09"


def seconds_since_1970(at: datetime) -> int:
    """A moment in whole seconds, rounded down."""
    return (at - EPOCH) // timedelta(seconds=1)
