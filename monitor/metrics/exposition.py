"""The snapshot as Prometheus text; the text of a block of connections is kept until one of them has another state."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from math import ceil
from operator import is_

from monitor.clock import EPOCH
from monitor.domain.delivery import receiver_outages
from monitor.domain.events import FINE, Severity
from monitor.domain.expiry import estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.reasons import Health, Scope, outcome_of
from monitor.domain.scopes.key import STORAGE
from monitor.domain.scopes.state import FAILED
from monitor.domain.silencing.silences import SilenceState
from monitor.domain.views.alert_labels import IncidentLabels
from monitor.domain.views.snapshot import ClusterFacts, ConnectionView, IncidentView, Snapshot
from monitor.errors import Reason
from monitor.metrics import definitions
from monitor.metrics.definitions import Family, MetricType

# Known not to work: the API says so, does not know the connection, or refuses its id.
_UP = {Health.OK: 1, Health.ERROR: 0, Health.MISSING: 0, Health.MISCONFIGURED: 0, Health.UNKNOWN: None, Health.UNSUPPORTED: None}

_BLOCK = 64
"""Connections of which one text is made and kept: few, so that a change makes few lines again; many, so that their texts are joined soon."""

# As pages and messages do, the uncertainty of a token's end is left out where it is as small as the estimate becomes.
_UNCERTAIN_SECONDS = 30

# Between two batches other tasks run; each takes a millisecond or two.
_VISITED = 200
_JOINED = 32
_WRITTEN = 500

_LOOPS = {"checker": "account", "discoverer": "account", "deliverer": "receiver"}
"""The loops of which there is one for each account or receiver, and the label that tells them apart."""

_NOT_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """
    The process's own values.

    Attributes:
        receivers: names of all that are configured, so that one without pending deliveries shows a zero.
        disabled: receiver name -> whether its deliveries are disabled; without those of which that is not known yet.
        loops: loop name -> when it last finished a step.
        checks: account, platform and reason -> how many checks ended so.
        reloaded: whether the configuration was applied when it was last read; None before the first time.
        reloaded_at: when the one in use was applied.
        heartbeat_failing: whether the last one that was due was not accepted; None before the first.
        heartbeat_at: when the last heartbeat was accepted; None before the first.
    """

    monitor: str = ""
    receivers: tuple[str, ...] = ()
    disabled: Mapping[str, bool] = field(default_factory=dict)
    loops: Mapping[str, datetime] = field(default_factory=dict)
    checks: Mapping[tuple[str, str, Reason], int] = field(default_factory=dict)
    reloaded: bool | None = None
    reloaded_at: datetime | None = None
    heartbeat_failing: bool | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """
    Some connections in a row.

    Attributes:
        texts: the lines of each family of `PER_CONNECTION`.
        ends: the lines of `EXPIRES_IN`, each up to its value, and when the token ends.
    """

    views: Sequence[ConnectionView]
    texts: tuple[bytes, ...]
    ends: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class ConnectionLines:
    """
    The lines of all connections at one moment.

    Attributes:
        views, blocks: of each connection, in the same order.
        version: another one whenever a line differs.
        tested: whether checks count: not while the database takes no writes, so that what works is not known.
    """

    views: Sequence[ConnectionView] = ()
    blocks: Sequence[Block] = ()
    version: int = 0
    tested: bool = True

    def pieces(self, *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the families of `PER_CONNECTION`."""
        for number, family in enumerate(definitions.PER_CONNECTION if self.blocks else ()):
            yield header(family, openmetrics=openmetrics)
            blocks = self.blocks if self.tested or family is not definitions.UP else ()
            for start in range(0, len(blocks), _JOINED):
                yield b"".join([block.texts[number] for block in blocks[start : start + _JOINED]])

    def expires_in(self, now: datetime, *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the family that differs at every scrape."""
        if not any(block.ends for block in self.blocks):
            return
        yield header(definitions.EXPIRES_IN, openmetrics=openmetrics)
        seconds = int((now - EPOCH).total_seconds())
        for start in range(0, len(self.blocks), _JOINED):
            ends = chain.from_iterable(block.ends for block in self.blocks[start : start + _JOINED])
            yield "".join([f"{begin}{at - seconds}\n" for begin, at in ends]).encode(errors="replace")


class Exposition:
    """Keeps the lines of the connections for the next scrape."""

    def __init__(self) -> None:
        self._kept = ConnectionLines()

    def update(self, snapshot: Snapshot) -> Generator[bytes, None, ConnectionLines]:
        """Return the lines of the connections of *snapshot*. What it yields is empty: chances for other tasks to run."""
        before, views = self._kept, snapshot.connections
        if views is before.views and snapshot.storage_up is before.tested:
            return before
        blocks: list[Block] = []
        changed = snapshot.storage_up is not before.tested or len(views) != len(before.views)
        for start in range(0, len(views), _BLOCK):
            part = views[start : start + _BLOCK]
            old = before.blocks[len(blocks)] if len(blocks) < len(before.blocks) else None
            if old is None or len(old.views) != len(part) or not all(map(is_, old.views, part)):
                block = _block(part)
                if old is None or block.texts != old.texts:
                    changed = True
                old = block
                yield b""
            blocks.append(old)
            if len(blocks) % _VISITED == 0:
                yield b""
        self._kept = ConnectionLines(views, blocks, before.version + changed, snapshot.storage_up)
        return self._kept


def _block(views: Sequence[ConnectionView]) -> Block:
    families: list[list[str]] = [[] for _ in definitions.PER_CONNECTION]
    ends: list[tuple[str, int]] = []
    for view in views:
        _add_lines(view, families, ends)
    return Block(views, tuple(["".join(lines).encode(errors="replace") for lines in families]), ends)


def _add_lines(view: ConnectionView, families: Sequence[list[str]], ends: list[tuple[str, int]]) -> None:
    """Add the lines of *view* to those of the *families* of `PER_CONNECTION`, and to *ends*, see `Block`."""
    spec, state = view.connection.spec, view.state
    up, health, expiry, uncertainty, last_check, last_conclusive, last_post, failures, info = families
    begin, end = _group_labels(spec.account, spec.platform, spec.user_id)
    labels = f"{{{begin}{escape(spec.platform_id)}{end}"
    works = None if view.frozen else _UP[state.health]
    # No label holds a line break: they are escaped.
    if works is not None:
        up.append(f"postpost_connection_up{labels}}} {works}\n")
    health.append(f'postpost_connection_health{labels},health="{state.health._value_}"}} 1\n')
    ends_at, uncertain = _token_end(state.token)
    if ends_at is not None:
        expiry.append(f"postpost_connection_token_expiry_timestamp_seconds{labels}}} {ends_at}\n")
        ends.append((f"{definitions.EXPIRES_IN.name}{labels}}} ", ends_at))
    if uncertain > _UNCERTAIN_SECONDS:
        uncertainty.append(f"postpost_connection_token_expiry_uncertainty_seconds{labels}}} {uncertain}\n")
    checked, evidence, posted = state.last_check_at, state.last_evidence_at, state.last_successful_post_at
    seconds = int(checked.timestamp()) if checked is not None else 0
    if checked is not None:
        last_check.append(f"postpost_connection_last_check_timestamp_seconds{labels}}} {seconds}\n")
    if evidence is not None:
        of_evidence = seconds if evidence is checked else int(evidence.timestamp())
        last_conclusive.append(f"postpost_connection_last_conclusive_check_timestamp_seconds{labels}}} {of_evidence}\n")
    if posted is not None:
        last_post.append(f"postpost_connection_last_successful_post_timestamp_seconds{labels}}} {int(posted.timestamp())}\n")
    if state.failures:
        failures.append(f"postpost_connection_consecutive_failures{labels}}} {state.failures}\n")
    info.append(f"postpost_connection_info{labels}{_info_labels(view)}}} 1\n")


@lru_cache(maxsize=4096)
def _group_labels(account: str, platform: str, user_id: str) -> tuple[str, str]:
    """What stands before and behind the platform id in the labels of a connection; thousands share it."""
    begin = f'account="{escape(account)}",platform="{escape(platform)}",platform_id="'
    return begin, f'",user_id="{escape(user_id)}"' if user_id else '"'


def _token_end(token: TokenBelief) -> tuple[int | None, int]:
    """The best estimate in seconds since 1970, and by how many seconds it may be off, rounded up."""
    ends = estimate.window(token)
    if ends is None:
        at = estimate.best_estimate(token)
        return (None if at is None else int(at.timestamp())), 0
    earliest = ends[0].timestamp()
    if ends[1] is ends[0]:
        return int(earliest), 0
    half = (ends[1].timestamp() - earliest) / 2
    return int(earliest + half), ceil(half)


def _info_labels(view: ConnectionView) -> str:
    """Fixed names first: a label of the configuration has a prefix and can't take their place."""
    connection, state = view.connection.spec, view.state
    name, username = connection.name or state.display_name, state.username
    text = f',name="{escape(name)}"' if name else ""
    if username:
        text += f',username="{escape(username)}"'
    if connection.user_name:
        text += f',user_name="{escape(connection.user_name)}"'
    if connection.labels:
        own = {f"label_{_NOT_A_LABEL.sub('_', name)}": value for name, value in sorted(connection.labels.items(), reverse=True)}
        text += "".join(f',{name}="{escape(value)}"' for name, value in sorted(own.items()))
    return text


def overall(snapshot: Snapshot, own: ProcessState, now: datetime, *, openmetrics: bool) -> Iterator[bytes]:
    """Yield the families that are not per connection."""
    for family, samples in _samples(snapshot, own, now):
        yield header(family, openmetrics=openmetrics)
        batch: list[str] = []
        for values, value in samples:
            if value is not None:
                labels = ",".join([f'{name}="{escape(label)}"' for name, label in zip(family.labels, values, strict=True) if label])
                batch.append(f"{family.name}{{{labels}}} {value}\n" if labels else f"{family.name} {value}\n")
            if len(batch) == _WRITTEN:
                yield "".join(batch).encode(errors="replace")
                batch.clear()
        yield "".join(batch).encode(errors="replace")


Samples = Iterable[tuple[Sequence[str], object]]


def _samples(snapshot: Snapshot, own: ProcessState, now: datetime) -> Iterator[tuple[Family, Samples]]:
    """Each family of `OVERALL` with its label values and values; a value of None is absent, and so is an empty label."""
    yield definitions.ACTIVE, [((), _truth(not snapshot.active))]
    if snapshot.active:
        return
    outbox, silences = snapshot.outbox, [silence.state(now) for silence in snapshot.controls.silences]
    yield definitions.ACCOUNT_UP, (((name,), _truth(up)) for name, up in sorted(snapshot.accounts.items()))
    yield definitions.API_UP, [((), _truth(snapshot.api_up))]
    yield definitions.INCIDENT_OPEN, ((incident_labels(view)[:-1], 1) for view in snapshot.incidents)
    yield definitions.INCIDENT_NOTIFIED, (((own.monitor, *labels), 1) for labels in _notified(snapshot))
    yield (
        definitions.INCIDENT_ACKNOWLEDGED,
        ((incident_labels(view)[:-1], 1) for view in snapshot.incidents if _is_acknowledged(view, snapshot)),
    )
    if snapshot.owns_global:
        yield definitions.SILENCES, [((state.value,), silences.count(state)) for state in (SilenceState.ACTIVE, SilenceState.PENDING)]
    yield (
        definitions.CHECKS,
        (
            ((account, platform, outcome_of(reason).value, reason.value), count)
            for (account, platform, reason), count in sorted(own.checks.items())
        ),
    )
    configured = own.receivers if snapshot.cluster is None else ()
    pending = {**dict.fromkeys(configured, 0), **{name: view.pending for name, view in outbox.items()}}
    yield definitions.PENDING, [((name,), count) for name, count in sorted(pending.items())]
    yield definitions.OLDEST, [((name,), _moment(view.oldest_at)) for name, view in sorted(outbox.items()) if not view.disabled]
    yield definitions.DISABLED, [((name,), _truth(disabled)) for name, disabled in sorted(own.disabled.items())]
    yield (
        definitions.FAILING,
        [((name,), _truth(view.failing_since is not None or view.disabled)) for name, view in sorted(outbox.items())],
    )
    if snapshot.owns_global:
        yield definitions.UNMATCHED, [((), len(snapshot.unmatched))]
    yield definitions.LOAD, [((load.account,), round(load.share, 4)) for load in snapshot.loads]
    if snapshot.cluster is not None:
        yield from _cluster_samples(snapshot.cluster)
    yield definitions.STORAGE_UP, [((), _truth(snapshot.storage_up))]
    yield definitions.LOOP_STEP, [(labels, _moment(at)) for labels, at in sorted(_oldest_steps(own.loops).items())]
    yield definitions.RELOADED, [((), _truth(own.reloaded))]
    yield definitions.RELOADED_AT, [((), _moment(own.reloaded_at))]
    yield definitions.HEARTBEAT_FAILING, [((), _truth(own.heartbeat_failing))]
    yield definitions.HEARTBEAT_AT, [((), _moment(own.heartbeat_at))]


def _cluster_samples(facts: ClusterFacts) -> Iterator[tuple[Family, Samples]]:
    yield definitions.CLUSTER_NODE, [((facts.node, facts.version, facts.config), 1)]
    yield definitions.CLUSTER_NODES, [((), facts.nodes)]
    yield definitions.CLUSTER_SHARDS, [((), facts.shards)]
    yield definitions.CLUSTER_FREE, [((), facts.free)]
    yield definitions.CLUSTER_LEASE, [((), round(facts.lease_remaining, 1))]
    yield definitions.CLUSTER_CONFIG, [((), _truth(facts.config_current))]
    yield definitions.CLUSTER_QUEUE, [((), _truth(facts.queue_up))]
    yield definitions.CLUSTER_LOST, [((), facts.nodes_lost)]


def incident_labels(view: IncidentView) -> IncidentLabels:
    """Return the labels of an incident."""
    level, severity, connection = view.level, view.severity.value, view.connection
    if connection is None:
        return IncidentLabels.of_scope(view.incident.subject, view.scope, level, severity)
    owner = (connection.account, connection.user_id, connection.platform, connection.platform_id)
    return IncidentLabels(view.incident.topic.value, view.scope.value, "", level, severity, *owner)


def _notified(snapshot: Snapshot) -> Iterator[IncidentLabels]:
    """The labels of the open incidents of which receivers were notified, those of the storage and of receivers included."""
    for incident in snapshot.incidents:
        if incident.notified != FINE:
            yield incident_labels(incident)._replace(level=incident.notified)
    if snapshot.storage_failure is not None and snapshot.storage_failure.lasting:
        yield IncidentLabels.of_scope(str(STORAGE), Scope.STORAGE, FAILED, Severity.CRITICAL.value)
    for notice in snapshot.notices:
        yield IncidentLabels.of_scope(notice.incident.subject, notice.scope, notice.level_to, notice.severity.value)
    for name, view in sorted(snapshot.outbox.items()):
        if view.in_trouble:
            level = receiver_outages.level_of(disabled=view.disabled, refusing=view.refusing)
            yield IncidentLabels.of_scope(f"receiver:{name}", Scope.RECEIVER, level, receiver_outages.severity_of(level).value)


def _is_acknowledged(view: IncidentView, snapshot: Snapshot) -> bool:
    ack = snapshot.controls.acks.get((view.incident.topic, view.incident.subject))
    return ack is not None and ack.number == view.incident.number


def loop_labels(name: str) -> tuple[str, str, str]:
    """Return the labels of the loop called *name*: what kind of loop it is, and its account or receiver."""
    kind, _, rest = name.partition("-")
    label = _LOOPS.get(kind) if rest else None
    if label is None:
        return name, "", ""
    return (kind, rest, "") if label == "account" else (kind, "", rest)


def _oldest_steps(loops: Mapping[str, datetime]) -> dict[tuple[str, str, str], datetime]:
    """Labels -> when the loop finished a step; of several loops that share the labels, the one that did so longest ago."""
    steps: dict[tuple[str, str, str], datetime] = {}
    for name, at in loops.items():
        labels = loop_labels(name)
        steps[labels] = min(at, steps.get(labels, at))
    return steps


def _moment(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def _truth(known: bool | None) -> int | None:
    return None if known is None else int(known)


_MICROSECOND = timedelta(microseconds=1)
_MILLION = 1_000_000


def header(family: Family, *, openmetrics: bool) -> bytes:
    """The lines that introduce *family*. Before OpenMetrics an info is a gauge, and units are not told."""
    if not openmetrics:
        kind = MetricType.GAUGE if family.kind is MetricType.INFO else family.kind
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {kind}\n".encode()
    suffixes = {MetricType.INFO: "_info", MetricType.COUNTER: "_total"}
    name = family.name.removesuffix(suffixes.get(family.kind, ""))
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{unit}".encode()


def escape(value: str) -> str:
    """A label's value between its quotes."""
    if '"' not in value and "\\" not in value and "\n" not in value:
        return value
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def timestamp(at: datetime) -> str:
    """A moment in seconds since 1970, without digits that say nothing."""
    seconds, microseconds = divmod((at - EPOCH) // _MICROSECOND, _MILLION)
    return f"{seconds}.{microseconds:06}".rstrip("0").rstrip(".") if seconds >= 0 else repr((at - EPOCH).total_seconds())
