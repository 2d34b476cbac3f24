"""
The snapshot as text for Prometheus.

Ten thousand connections make a hundred and fifty thousand lines. States are values that are replaced, never
changed: so the lines of a connection are kept until its state is another one, and a scrape puts together what is
there. Only the life left in a token is printed anew each time.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain import expiry
from monitor.domain.model import Connection, ConnectionState, Health, Scope, Severity, Topic
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.metrics import families
from monitor.metrics.families import Family
from monitor.metrics.text import NO, YES, escape, header, number, pairs, seconds_since_1970, timestamp, whole

# Known not to work: the API says so, does not know the connection, or refuses its id.
_UP = {Health.OK: YES, Health.ERROR: NO, Health.MISSING: NO, Health.MISCONFIGURED: NO}

KINDS = (*(topic.value for topic in Topic if topic is not Topic.SCOPE), *(scope.value for scope in Scope if scope is not Scope.CONNECTION))
"""The kinds of incidents: the topics of a connection, and the scopes wider than one."""

_BATCH = 500
_NOT_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Own:
    """
    What the process knows of itself.

    Attributes:
        receivers: names of all that are configured, so that one that is owed nothing shows a zero.
        gone: receiver name -> whether it said that it is gone; without those of which that is not known yet.
        loops: loop name -> when it last finished a step.
        reloaded: whether the last reading of the configuration was taken over; None before the first.
        reloaded_at: when one was taken over last.
        heartbeat_at: when the last sign of life was taken; None before the first.
    """

    receivers: tuple[str, ...] = ()
    gone: Mapping[str, bool] = field(default_factory=dict)
    loops: Mapping[str, datetime] = field(default_factory=dict)
    reloaded: bool | None = None
    reloaded_at: datetime | None = None
    heartbeat_at: datetime | None = None


class _Lines:
    """The lines of one connection: of each per-connection family, in their order; and what they were made of."""

    __slots__ = ("connection", "ends", "expires_in", "lines", "state")

    def __init__(self, connection: Connection, state: ConnectionState) -> None:
        self.connection = connection
        self.state = state
        labels = pairs((("account", connection.account_label), ("platform", connection.platform), ("platform_id", connection.platform_id)))
        ends_at = expiry.best(state.token)
        doubt = expiry.uncertainty(state.token)
        # Made whole at the scrape: the lines of this one family hold nothing yet.
        self.expires_in = f"{families.EXPIRES_IN.name}{{{labels}}} "
        self.ends = None if ends_at is None else seconds_since_1970(ends_at)
        self.lines = (
            _line(families.UP, labels, _UP.get(state.health)),
            _health_lines(connection, state.health),
            _line(families.EXPIRY, labels, _moment(ends_at)),
            b"",
            _line(families.UNCERTAINTY, labels, None if doubt is None else number(doubt.total_seconds())),
            _line(families.LAST_CHECK, labels, _moment(state.last_check_at)),
            _line(families.LAST_CONCLUSIVE, labels, _moment(state.last_evidence_at)),
            _line(families.LAST_POST, labels, _moment(state.last_successful_post_at)),
            _line(families.FAILURES, labels, whole(state.failures)),
            _line(families.INFO, pairs(_info(connection, state).items()), YES),
        )


class Exposition:
    """Renders snapshots; remembers the lines of the connections of the last one."""

    def __init__(self) -> None:
        self._known: dict[int, _Lines] = {}

    def chunks(self, snapshot: Snapshot, now: datetime, own: Own, *, openmetrics: bool) -> Iterator[bytes]:
        """
        All families that are read from *snapshot* and *own*, in pieces.

        Pieces may be empty: each is an occasion to let others run, none took long to make.
        """
        rows: list[_Lines] = []
        known: dict[int, _Lines] = {}
        for start in range(0, len(snapshot.connections), _BATCH):
            self._take(snapshot.connections[start : start + _BATCH], rows, known)
            yield b""
        self._known = known
        columns: Sequence[Sequence[bytes]] = list(zip(*[row.lines for row in rows], strict=True))
        for family, column in zip(families.PER_CONNECTION, columns, strict=False):
            yield header(family, openmetrics=openmetrics)
            if family is families.EXPIRES_IN:
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


def overall(snapshot: Snapshot, own: Own, *, openmetrics: bool) -> Iterator[bytes]:
    """The families that are not about single connections."""
    incidents = Counter((kind_of(view), view.severity) for view in snapshot.incidents)
    owed = {**dict.fromkeys(own.receivers, 0), **{name: view.pending for name, view in snapshot.outbox.items()}}
    oldest = min((view.oldest_at for view in snapshot.outbox.values() if view.oldest_at is not None), default=None)
    samples: dict[Family, list[tuple[Sequence[str], str | None]]] = {
        families.ACCOUNT_UP: [((name,), _truth(up)) for name, up in sorted(snapshot.accounts.items())],
        families.API_UP: [((), _truth(snapshot.api_up))],
        families.STORAGE_UP: [((), _truth(snapshot.storage_up))],
        families.INCIDENTS: [((kind, severity), whole(incidents[kind, severity])) for kind in KINDS for severity in Severity],
        families.PENDING: [((name,), whole(count)) for name, count in sorted(owed.items())],
        families.OLDEST: [((), _moment(oldest))],
        families.GONE: [((name,), _truth(gone)) for name, gone in sorted(own.gone.items())],
        families.LOOP_STEP: [((name,), timestamp(at)) for name, at in sorted(own.loops.items())],
        families.RELOADED: [((), _truth(own.reloaded))],
        families.RELOADED_AT: [((), _moment(own.reloaded_at))],
        families.HEARTBEAT_AT: [((), _moment(own.heartbeat_at))],
    }
    for family in families.OVERALL:
        yield header(family, openmetrics=openmetrics)
        for values, value in samples[family]:
            yield _line(family, pairs(zip(family.labels, values, strict=True)), value)


def kind_of(view: IncidentView) -> str:
    """The kind of an incident: its scope when that is wider than a connection, else its topic."""
    return view.scope.value if view.scope is not Scope.CONNECTION else view.incident.topic.value


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
    name, account = families.HEALTH.name, escape(connection.account_label)
    tail = pairs((("platform", connection.platform), ("platform_id", connection.platform_id)))
    lines = [f'{name}{{account="{account}",health="{one.value}",{tail}}} {YES if one is health else NO}\n' for one in Health]
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
