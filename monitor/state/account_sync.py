"""Brings the database in line with the accounts: a new name with the key and user of one that left is the same account."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial

from monitor.config import AccountSettings, Config
from monitor.db import Database, Reader, Store, read_meta
from monitor.db.renames import accounts
from monitor.logs import get_logger
from monitor.state.registry import Registry

_META = "accounts"

Later = Callable[[Store, Mapping[str, str]], Iterable[str]]
"""Which of the accounts to rename, old to new name, keep the old name for now."""

_log = get_logger(__name__)


async def sync(database: Database, registry: Registry, config: Config) -> None:
    """Give the rows of renamed accounts to their new names, and log each; the registry is loaded again then."""
    if await rename(database, config, registry.clock.now()):
        await database.read(registry.load)


async def rename(database: Database, config: Config, now: datetime, *, later: Later = lambda _store, _pairs: ()) -> bool:
    """Give the rows of renamed accounts to their new names, but for those to be renamed *later*, and log each; whether there were any."""
    renamed = await database.write(partial(reconcile, identities(config), now, later=later))
    for old, (new, connections) in renamed.items():
        _log.info("account.renamed", before=old, account=new, connections=connections)
    return bool(renamed)


def identities(config: Config) -> dict[str, str]:
    """The name of each account to its identity."""
    return {account.name: _identity(account) for account in config.accounts}


def renames(desired: Mapping[str, str], reader: Reader) -> dict[str, str]:
    """The accounts that have another name in *desired* than in the rows: old to new name."""
    known = _known(reader)
    new = {identity: name for name, identity in desired.items() if name not in known}
    pairs = {old: new.pop(identity) for old, identity in known.items() if old not in desired and identity in new}
    # A name that another account had keeps that one's rows.
    return {old: name for old, name in pairs.items() if not accounts.is_known(reader, name)}


def reconcile(
    desired: Mapping[str, str], now: datetime, store: Store, *, later: Later = lambda _store, _pairs: ()
) -> dict[str, tuple[str, int]]:
    """Rename accounts; *desired* is name to identity. Returns the old name of each to its new one and its number of connections."""
    pairs, known = renames(desired, store), _known(store)
    waiting = {old: pairs.pop(old) for old in later(store, pairs)} if pairs else {}
    kept = {name: identity for name, identity in desired.items() if name not in waiting.values()} | {old: known[old] for old in waiting}
    if known != kept:
        store.put_meta(_META, json.dumps(kept))
    return {old: (name, accounts.rename_account(store, old, name, now)) for old, name in pairs.items()}


def _known(reader: Reader) -> dict[str, str]:
    """Name to identity, as noted last."""
    stored = read_meta(reader, _META)
    known: dict[str, str] = json.loads(stored) if stored is not None else {}
    return known


def _identity(account: AccountSettings) -> str:
    """A hash of what an account is to the API; it gives no secret away."""
    return hashlib.sha256("\0".join([account.api_key.reveal(), account.user_id or ""]).encode()).hexdigest()[:16]
