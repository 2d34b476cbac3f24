"""Finding connections: in the database beside a running daemon, or in the configuration."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from monitor.clock import Clock
from monitor.config import Config
from monitor.db import Reader, read_connections, read_meta, reading
from monitor.domain.connections import Connection, ConnectionSpec, matching, platform_of
from monitor.errors import UsageError
from monitor.state import connection_sync
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.text.format import one_line

_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """
    One consistent view of the database.

    Attributes:
        registry: connections and states as the running daemon has them.
        instance: names the daemon in incident keys.
    """

    reader: Reader
    registry: Registry
    instance: str


@contextmanager
def opened(config: Config, clock: Clock) -> Iterator[OpenDatabase]:
    """The database of *config*, read without a lock; raises StoreError when it cannot be read."""
    with reading(config.database.url.reveal()) as reader:
        evaluation = EvaluationConfig.from_config(config, read_meta(reader, "instance_id") or "")
        registry = Registry(evaluation, clock)
        registry.load_to_show(reader)
        yield OpenDatabase(reader, registry, evaluation.identity.instance)


def find(reader: Reader, platform_id: str, account: str | None) -> tuple[Connection, bool]:
    """
    The connection with this id and whether it is retired; one that is not goes first.

    Raises:
        UsageError: it is unknown or ambiguous.
    """
    known: list[str] = []
    for retired in (False, True):
        connections = read_connections(reader, retired=retired)
        connection = only(matching(connections, platform_id, account))
        if connection is not None:
            return connection, retired
        known += [connection.platform_id for connection in connections]
    raise UsageError(_unknown(platform_id, account, known))


def configured(config: Config, platform_id: str, account: str | None) -> Connection:
    """
    A connection that may be in no database: as configured, else in *account* or in the first account.

    Raises:
        UsageError: it is ambiguous, or there is no such account.
    """
    settings = [Connection(0, connection_sync.configured(each, listed=False)) for each in config.connections]
    connection = only(matching(settings, platform_id, account))
    if connection is not None:
        return connection
    name, _, user = (account or config.accounts[0].name).partition("/")
    owner = next((each for each in config.accounts if each.name == name), None)
    if owner is None:
        raise no_account(config, name)
    return Connection(0, ConnectionSpec(name, user or owner.user_id, platform_id, platform_of(platform_id)))


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
