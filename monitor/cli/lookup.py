"""What the reading verbs read: the database beside a running monitor, and one connection of it by its id."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from monitor.clock import Clock
from monitor.config import Config
from monitor.db import Reader, reading
from monitor.domain.connections import Connection, matching, platform_of
from monitor.errors import UsageError
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.text.format import one_line

_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """
    One consistent view of the database.

    Attributes:
        fleet: every watched connection with what is known of it, as the running monitor has it.
        instance: names the monitor in incident keys.
    """

    reader: Reader
    fleet: Registry
    instance: str


@contextmanager
def opened(config: Config, clock: Clock) -> Iterator[OpenDatabase]:
    """The database of *config*, read without a lock; raises StoreError when it can't be read."""
    with reading(config.database.url.reveal()) as reader:
        plan = EvaluationConfig.from_config(config, reader.meta("instance_id") or "")
        fleet = Registry(plan, clock)
        fleet.load(reader)
        fleet.set_connections(reader.connections())
        fleet.set_outbox(reader.outbox())
        yield OpenDatabase(reader, fleet, plan.identity.instance)


def find(reader: Reader, platform_id: str, account: str | None) -> tuple[Connection, bool]:
    """
    The connection with this id, and whether it is retired; one that is watched goes before one that was.

    Raises:
        UsageError: there is none, or there are several; says what to write.
    """
    for retired in (False, True):
        found = matching(reader.connections(retired=retired), platform_id, account)
        if len(found) > 1:
            raise UsageError(several(platform_id, [connection.account_label for connection in found]))
        if found:
            return found[0], retired
    known = [connection.platform_id for retired in (False, True) for connection in reader.connections(retired=retired)]
    raise UsageError(unknown(platform_id, account, known))


def configured(config: Config, platform_id: str, account: str | None) -> Connection:
    """
    A connection that may be in no database: as the configuration names it, else in *account* or in the first account.

    Raises:
        UsageError: several accounts have it, or there is no such account; says what to write.
    """
    named = [
        Connection(0, one.account, one.user_id, one.id, one.platform, one.name, one.labels, one.interval, one.expect)
        for one in config.connections
    ]
    found = matching(named, platform_id, account)
    if len(found) > 1:
        raise UsageError(several(platform_id, [connection.account_label for connection in found]))
    if found:
        return found[0]
    name, _, user = (account or config.accounts[0].name).partition("/")
    settings = next((one for one in config.accounts if one.name == name), None)
    if settings is None:
        raise UsageError(f"there is no account {name!r}; the configuration has {', '.join(one.name for one in config.accounts)}")
    return Connection(0, name, user or settings.user_id, platform_id, platform_of(platform_id))


def several(platform_id: str, accounts: Sequence[str]) -> str:
    """That more than one account has this id, and what to write."""
    return f"{one_line(platform_id, 120)} belongs to several accounts: add {' or '.join(f'--account {name}' for name in accounts)}"


def unknown(platform_id: str, account: str | None, known: Sequence[str]) -> str:
    """That there is no such connection, and which id may be meant."""
    where = f" in account {one_line(account, 120)}" if account is not None else ""
    text = f"there is no connection {one_line(platform_id, 120)}{where}"
    near = difflib.get_close_matches(platform_id, sorted(set(known)), _SUGGESTIONS, cutoff=0.5)
    if platform_id in near:
        return f"{text}; other accounts have it"
    if near:
        return f"{text}; did you mean {' or '.join(near)}?"
    return f"{text}; `postpost-monitor status` lists what there is"
