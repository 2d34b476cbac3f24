"""Which connections are watched: those the configuration names, and those that the API listed for accounts that discover."""

from collections.abc import Iterable, Sequence

from monitor.config import Config, ConnectionSettings
from monitor.db import Database, Store, read_connections
from monitor.domain.connections import Connection, ConnectionSpec, platform_of
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work

Key = tuple[str, str, str]


def configured(settings: ConnectionSettings, *, listed: bool) -> ConnectionSpec:
    """The connection that the configuration names; *listed* when the API's list has it too."""
    return ConnectionSpec(
        account=settings.account,
        user_id=settings.user_id,
        platform_id=settings.id,
        platform=settings.platform,
        name=settings.name,
        labels=settings.labels,
        interval=settings.interval,
        expect=settings.expect,
        require_permissions=settings.require_permissions,
        listed=listed,
    )


def discovered(config: Config, key: Key) -> ConnectionSpec:
    """The connection that the API listed and the configuration does not name."""
    account, user_id, platform_id = key
    return ConnectionSpec(account, user_id, platform_id, platform_of(platform_id), interval=config.schedule.interval, listed=True)


def desired(
    config: Config, known: Iterable[Connection], *, appeared: Iterable[Key] = (), vanished: Iterable[Key] = ()
) -> list[ConnectionSpec]:
    """
    All connections to watch.

    Args:
        config: names connections, and says which accounts discover.
        known: connections of the database that are not retired.
        appeared: keys that are new in a list.
        vanished: keys that are no longer listed; those that the configuration names stay watched.
    """
    discovering = {account.name for account in config.accounts if account.discover != "off"}
    listed = {connection.key for connection in known if connection.listed and connection.account in discovering}
    listed = (listed | set(appeared)) - set(vanished)
    named = {settings.key: settings for settings in config.connections}
    explicit = [configured(settings, listed=key in listed) for key, settings in named.items()]
    return explicit + [discovered(config, key) for key in sorted(listed - named.keys())]


def reconcile(store: Store, registry: Registry, connections: Sequence[ConnectionSpec]) -> list[Connection]:
    """
    Watch exactly *connections*; others are retired and their incidents closed.

    Returns the watched connections with their ids. After the commit they must be given to the registry.
    """
    unit = unit_of_work(registry, store)
    before = {connection.key: connection for connection in read_connections(store)}
    ids = store.ensure_connections(connections)
    removed = [connection for key, connection in before.items() if key not in ids]
    now = unit.now()
    for connection in removed:
        unit.retire(connection, now)
    store.retire([connection.id for connection in removed], now)
    return [Connection(ids[spec.key], spec) for spec in connections]


async def sync(
    database: Database, registry: Registry, config: Config, *, appeared: Iterable[Key] = (), vanished: Iterable[Key] = ()
) -> None:
    """Bring the database and the registry in line with *config* and with what appeared in a list or vanished from it."""

    def work(store: Store) -> list[Connection]:
        return reconcile(store, registry, desired(config, read_connections(store), appeared=appeared, vanished=vanished))

    registry.set_connections(await database.write(work))
