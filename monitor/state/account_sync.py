"""
Brings the database in line with the names of the accounts, at the start and at every reload.

An account is known by its name, its API key and its managed user. A new name with the key of one that left is the same account: it
keeps connections, incidents, history and silences.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from monitor.config import AccountSettings, Config
from monitor.db import Database, Store, read_meta
from monitor.db.renames import accounts
from monitor.logs import get_logger
from monitor.state.registry import Registry

_META = "accounts"
_log = get_logger(__name__)


async def sync(database: Database, registry: Registry, config: Config) -> None:
    """Give the rows of renamed accounts to their new names, and log each; the registry is loaded again then."""
    desired = {account.name: _identity(account) for account in config.accounts}
    renamed = await database.write(partial(reconcile, desired, registry.clock.now()))
    for old, (new, connections) in renamed.items():
        _log.info("account.renamed", before=old, account=new, connections=connections)
    if renamed:
        await database.read(registry.load)


def reconcile(desired: Mapping[str, str], now: datetime, store: Store) -> dict[str, tuple[str, int]]:
    """Rename accounts; *desired* is name to identity. Returns the old name of each to its new one and its number of connections."""
    stored = read_meta(store, _META)
    known: dict[str, str] = json.loads(stored) if stored is not None else {}
    new = {identity: name for name, identity in desired.items() if name not in known}
    pairs = {old: new.pop(identity) for old, identity in known.items() if old not in desired and identity in new}
    # A name that another account had keeps that one's rows.
    free = {old: name for old, name in pairs.items() if not accounts.is_known(store, name)}
    if known != desired:
        store.put_meta(_META, json.dumps(desired))
    return {old: (name, accounts.rename_account(store, old, name, now)) for old, name in free.items()}


def _identity(account: AccountSettings) -> str:
    """A hash of what an account is to the API; it gives no secret away."""
    return hashlib.sha256("\0".join([account.api_key.reveal(), account.user_id or ""]).encode()).hexdigest()[:16]
