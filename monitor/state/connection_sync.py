"""Which connections are watched: those the configuration names, and those that the API listed for accounts that discover."""

from collections.abc import Iterable, Sequence

from monitor.config import Config
from monitor.db import Database, Store, read_connections
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.routing.connection_entries import Key
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work


def desired(
    config: Config,
    known: Iterable[Connection],
    *,
    account: str | None = None,
    appeared: Iterable[Key] = (),
    vanished: Iterable[Key] = (),
) -> list[ConnectionSpec]:
    """
    All connections to watch, or those of one *account*.

    Args:
        known: connections of the database that are not retired; with *account* its own.
        appeared: keys that are new in a list.
        vanished: keys that are no longer listed; those that the configuration names stay watched.
    """
    discovering = {settings.name for settings in config.accounts if settings.discover != "off"}
    listed = {spec.key for spec in (connection.spec for connection in known) if spec.listed and spec.account in discovering}
    listed = (listed | set(appeared)) - set(vanished)
    entries = config.entries()
    named = [key for key in entries.named if account in (None, key[0])]
    return [entries.spec(key, listed=key in listed) for key in (*named, *sorted(listed.difference(named)))]


def reconcile(store: Store, registry: Registry, known: Iterable[Connection], connections: Sequence[ConnectionSpec]) -> list[Connection]:
    """Watch exactly *connections* and retire the *known* others; returns the watched ones with their ids, for the registry."""
    unit = unit_of_work(registry, store)
    before = {connection.spec.key: connection for connection in known}
    found = [(spec, before.pop(spec.key, None)) for spec in connections]
    ids = store.ensure_connections([spec for spec, old in found if old is None or old.spec != spec])
    now = unit.now()
    for connection in before.values():
        unit.retire(connection, now)
    store.retire([connection.id for connection in before.values()], now)
    changed = {spec.account for spec, old in found if old is None or old.spec != spec} | {one.account for one in before.values()}
    for account in sorted(changed):
        unit.note_relisted(account)
    return [old if old is not None and old.spec == spec else Connection(ids[spec.key], spec) for spec, old in found]


async def sync(
    database: Database,
    registry: Registry,
    config: Config,
    *,
    account: str | None = None,
    appeared: Iterable[Key] = (),
    vanished: Iterable[Key] = (),
    retire: bool = True,
) -> None:
    """
    Bring database and registry in line with *config* and the changes of a list; with *account* only its rows are read and written.

    Unless they are to *retire*, known connections that *config* does not name stay watched.
    """

    def work(store: Store) -> list[Connection]:
        known = read_connections(store, account=account)
        wanted = desired(config, known, account=account, appeared=appeared, vanished=vanished)
        keys = {spec.key for spec in wanted}
        kept = () if retire else [one.spec for one in known if one.spec.key not in keys]
        return reconcile(store, registry, known, [*wanted, *kept])

    registry.set_connections(await database.write(work), account=account)
    registry.find_unmatched()
    registry.find_loads()
