"""Finding connections: in the database beside a running daemon, or in the configuration."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from monitor.cli.directory import Directory
from monitor.clock import Clock
from monitor.config import Config
from monitor.db import Reader, read_connections, read_state, read_states, reading, write_problem
from monitor.domain.connections import Connection, matching
from monitor.domain.routing.names import shown_names
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import Snapshot, StorageFailure, as_known
from monitor.errors import UsageError
from monitor.text.format import one_line, subject_name

if TYPE_CHECKING:
    from monitor.state.registry import Registry

_SUGGESTIONS = 3
_OVERDUE_INTERVALS = 3
_OVERDUE_MINIMUM = timedelta(minutes=5)
_NOTHING_KNOWN = ConnectionState()


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """
    One consistent view of the database.

    Attributes:
        registry: connections and states as the running daemon has them.
        instance: names the daemon in incident keys.
        storage: why the database takes no writes; None while it does.
    """

    reader: Reader
    registry: "Registry"
    instance: str
    storage: StorageFailure | None = None

    def snapshot(self, now: datetime) -> Snapshot:
        """The snapshot at *now*, as far as it is known."""
        return as_known(replace(self.registry.snapshot(now), storage_up=self.storage is None, storage_failure=self.storage))


@contextmanager
def opened(config: Config, clock: Clock) -> Iterator[OpenDatabase]:
    """The database of *config*, read without a lock; raises StoreError when it cannot be read."""
    from monitor.state.registry import Registry  # noqa: PLC0415 - with it comes the engine, which most verbs that read do without

    with reading(config.database.url.reveal()) as reader:
        registry = Registry.of_rows(reader, config, clock)
        now = clock.now()
        idle_since = overdue_since([(each.interval, registry.state(each.id).last_check_at) for each in registry.connections()], now)
        problem = write_problem(reader, config.database.url.reveal(), idle=idle_since is not None)
        storage = StorageFailure(idle_since or now, problem) if problem else None
        yield OpenDatabase(reader, registry, registry.config.identity.instance, storage)


def overdue_since(checks: Sequence[tuple[timedelta, datetime | None]], now: datetime) -> datetime | None:
    """The last of *checks*, each an interval and a time, when it is so long ago that they seem to have stopped; else None."""
    last = max((at for _, at in checks if at is not None), default=None)
    interval = min((interval for interval, _ in checks), default=timedelta(0))
    return last if last is not None and now - last > max(_OVERDUE_INTERVALS * interval, _OVERDUE_MINIMUM) else None


def connections_by_number(reader: Reader) -> dict[int, Connection]:
    """Every connection, retired ones included."""
    return {connection.id: connection for retired in (True, False) for connection in read_connections(reader, retired=retired)}


def directory(reader: Reader, config: Config) -> Directory:
    """Everything that is known by a name."""
    connections = read_connections(reader)
    return Directory(
        connections,
        names_of(reader, connections),
        {user.id: user.name for user in config.users},
        [account.name for account in config.accounts],
        {label for user in config.users for label in user.labels} | {label for entry in config.connections for label in entry.labels},
    )


def names_of(reader: Reader, connections: Sequence[Connection]) -> dict[int, set[str]]:
    """Connection id to all names that it is shown with."""
    states = read_states(reader)
    return {one.id: shown_names(one, states.get(one.id, (0, _NOTHING_KNOWN))[1]) for one in connections}


def named(reader: Reader, connection: Connection) -> Connection:
    """*connection* under the name that it is shown with."""
    known = read_state(reader, connection.id) or _NOTHING_KNOWN
    name = connection.name or known.display_name or known.username
    return connection if name == connection.name else replace(connection, spec=replace(connection.spec, name=name))


def find(reader: Reader, platform_id: str, account: str | None) -> tuple[Connection, bool]:
    """The connection with this id, else this name, and whether it is retired (others first). Raises UsageError without a single one."""
    known: list[str] = []
    for retired in (False, True):
        connections = read_connections(reader, retired=retired)
        connection = only(matching(connections, platform_id, account))
        if connection is not None:
            return connection, retired
        known += [connection.platform_id for connection in connections]
    connections = read_connections(reader)
    names = names_of(reader, connections)
    named = [each for each in connections if platform_id in names[each.id] and matching([each], each.platform_id, account)]
    if len(named) > 1:
        ids = " or ".join(subject_name(each.platform_id, each) for each in named[:5])
        raise UsageError(f"{one_line(platform_id, 120)} is the name of {len(named)} connections; write the id: {ids}")
    if named:
        return named[0], False
    raise UsageError(_unknown(platform_id, account, [*known, *(name for each in names.values() for name in each)]))


def configured(config: Config, platform_id: str, account: str | None) -> Connection:
    """A connection that may be in no database: as configured, else in *account* or the first one. Raises UsageError if ambiguous."""
    entries = config.entries()
    named = [Connection(0, entries.spec(key, listed=False)) for key in entries.named]
    connection = only(matching(named, platform_id, account))
    if connection is not None:
        return connection
    name, _, user = (account or config.accounts[0].name).partition("/")
    owner = next((each for each in config.accounts if each.name == name), None)
    if owner is None:
        raise no_account(config, name)
    return Connection(0, entries.spec((name, user_id(config, user) or owner.user_id, platform_id), listed=False))


def user_id(config: Config, word: str) -> str:
    """The id of the managed user that *word* names; *word* itself, when the configuration has no such name."""
    return config.aliases()["user"].get(word, (word,))[0]


def only(connections: Sequence[Connection]) -> Connection | None:
    """The only one of *connections*, None if there is none; raises UsageError if there are several."""
    if len(connections) > 1:
        accounts = " or ".join(f"--account {connection.account_label}" for connection in connections)
        raise UsageError(f"{one_line(connections[0].platform_id, 120)} belongs to several accounts: add {accounts}")
    return connections[0] if connections else None


def no_account(config: Config, name: str) -> UsageError:
    """The error that no account has this name."""
    return UsageError(f"unknown account {name!r}; the configuration has {', '.join(account.name for account in config.accounts)}")


def _unknown(platform_id: str, account: str | None, known: Sequence[str]) -> str:
    where = f" in account {one_line(account, 120)}" if account is not None else ""
    text = f"unknown connection {one_line(platform_id, 120)}{where}"
    near = difflib.get_close_matches(platform_id, sorted(set(known)), _SUGGESTIONS, cutoff=0.5)
    if platform_id in near:
        return f"{text}; other accounts have it"
    if near:
        return f"{text}; did you mean {' or '.join(near)}?"
    return f"{text}; `postpost-monitor status` lists all connections"
