"""An account under a new name: its rows keep their numbers and keys."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import BindParameter, bindparam, func, select, text, update

from monitor.clock import to_milliseconds
from monitor.db.codec import dump_labels, load_labels
from monitor.db.tables import acknowledgements, connections, incidents, notifications, replaced_acknowledgements, scopes, silences
from monitor.db.tables import deliveries as delivery_rows
from monitor.db.transaction import Reader, Transaction
from monitor.domain.scopes.key import ACCOUNT_KINDS, ScopeKey

_old: BindParameter[str] = bindparam("b_old")
_new: BindParameter[str] = bindparam("b_new")
_OF_ACCOUNT = select(connections.c.user_id, connections.c.platform).where(connections.c.account == _old).distinct()
_SCOPES = select(scopes.c.name)
_RENAME = update(connections).where(connections.c.account == _old).values(account=_new)
_RENAME_SCOPE = update(scopes).where(scopes.c.name == _old).values(name=_new)
_RENAME_SUBJECTS = (
    update(incidents).where(incidents.c.topic == "scope", incidents.c.subject == _old).values(subject=_new),
    *(
        update(table).where(table.c.topic == "scope", table.c.subject == _old).values(subject=_new)
        for table in (acknowledgements, replaced_acknowledgements)
    ),
    update(delivery_rows).where(text("deliveries.state = 'pending'"), delivery_rows.c.subject == _old).values(subject=_new),
    # Not `incident_key`: receivers close by it what they opened.
    update(notifications)
    .where(notifications.c.subject == _old)
    .values(subject=_new, document=func.replace(notifications.c.document, bindparam("b_old_json"), bindparam("b_new_json"))),
)
_SILENCES = select(silences.c.id, silences.c.match).where(silences.c.ends_at > bindparam("now"))
_PUT_MATCH = update(silences).where(silences.c.id == bindparam("b_id")).values(match=bindparam("b_match"))


def is_known(reader: Reader, account: str) -> bool:
    """Whether there are rows of an account with this name."""
    return bool(reader.rows(_OF_ACCOUNT, {"b_old": account})) or any(_scopes(reader, account))


def rename_account(transaction: Transaction, old: str, new: str, now: datetime) -> int:
    """Give everything of the account *old* to *new*, of which no rows are known; returns how many of its connections there are."""
    rows = transaction.rows(_OF_ACCOUNT, {"b_old": old})
    subjects = set(_scopes(transaction, old))
    subjects |= {ScopeKey(kind, old, user) for kind in ACCOUNT_KINDS for user in {"", *(row.user_id for row in rows)}}
    subjects |= {ScopeKey("group", old, row.user_id, row.platform) for row in rows}
    pairs = [{"b_old": str(key), "b_new": str(key._replace(name=new))} for key in sorted(subjects)]
    transaction.change(_RENAME_SCOPE, pairs)
    for pair in pairs:
        quoted = {f"{name}_json": f'"subject":"{subject}"' for name, subject in pair.items()}
        for statement in _RENAME_SUBJECTS[:-1]:
            transaction.change(statement, pair)
        transaction.change(_RENAME_SUBJECTS[-1], pair | quoted)
    for row in transaction.rows(_SILENCES, {"now": to_milliseconds(now)}):
        match = load_labels(row.match, f"silences row {row.id}")
        choices = [new if choice.strip() == old else choice for choice in match.get("account", "").split("|")]
        if "account" in match and "|".join(choices) != match["account"]:
            transaction.change(_PUT_MATCH, {"b_id": row.id, "b_match": dump_labels(match | {"account": "|".join(choices)})})
    return transaction.change(_RENAME, {"b_old": old, "b_new": new})


def _scopes(reader: Reader, account: str) -> Iterator[ScopeKey]:
    """The scopes of *account* that have a row."""
    for row in reader.rows(_SCOPES):
        key = ScopeKey.parse(row.name)
        if key.account == account:
            yield key
