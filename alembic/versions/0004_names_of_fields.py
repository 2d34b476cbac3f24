"""
New names for fields of the stored states of connections and scopes, and an index less.

The documents are rewritten in batches, nothing else in them changes. Reversible: going down brings the old names back.
"""

import json
from typing import Any

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Table, path to the object within its document (`*`: every member), old name, new name. Paths are spelled in the old names.
RENAMED = (
    ("connection_states", "topics.*.told", "doubted", "false_negative_suspected"),
    ("connection_states", "topics.*", "told", "notified"),
    ("connection_states", "", "hints", "pending_levels"),
    ("connection_states", "", "quiet", "suppression"),
    ("connection_states", "", "notice_owed", "notice_pending"),
    ("connection_states", "", "review_at", "next_evaluation_at"),
    ("scopes", "topic.told", "doubted", "false_negative_suspected"),
    ("scopes", "topic", "told", "notified"),
    ("scopes", "", "calm", "recovery"),
    ("scopes", "", "turned", "recent_failures"),
)
_KEYS = {"connection_states": "connection_id", "scopes": "name"}
_BATCH = 500


def upgrade() -> None:
    for table in _KEYS:
        _rewrite(table, [(path, old, new) for name, path, old, new in RENAMED if name == table], down=False)
    op.drop_index("ix_deliveries_pending_subject", "deliveries")


def downgrade() -> None:
    op.create_index(
        "ix_deliveries_pending_subject",
        "deliveries",
        ["receiver", "subject", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    # Outside in: a path is spelled in the old names, which its outer objects have by then.
    for table in _KEYS:
        _rewrite(table, [(path, new, old) for name, path, old, new in reversed(RENAMED) if name == table], down=True)


def _rewrite(table: str, renamed: list[tuple[str, str, str]], *, down: bool) -> None:
    key, document = sa.column(_KEYS[table]), sa.column("document")
    rows = sa.table(table, key, document)
    page = sa.select(key, document).order_by(key).limit(_BATCH)
    change = sa.update(rows).where(key == sa.bindparam("b_key")).values(document=sa.bindparam("b_document"))
    connection = op.get_bind()
    batch = connection.execute(page).all()
    while batch:
        values = []
        for row_key, text in batch:
            changed = _renamed(text, renamed)
            if changed is not None and table == "scopes":
                _name(changed, row_key if down else None)
            new_text = text if changed is None else json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
            if new_text != text:
                values.append({"b_key": row_key, "b_document": new_text})
        if values:
            connection.execute(change, values)
        batch = connection.execute(page.where(key > batch[-1][0])).all()


def _renamed(text: str, renamed: list[tuple[str, str, str]]) -> dict[str, Any] | None:
    """The document *text* under the other names; None for a damaged one, which the program reports when it reads it."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    for path, old, new in renamed:
        for holder in _at(document, path):
            if old in holder:
                holder[new] = holder.pop(old)
    return document


def _name(document: dict[str, Any], name: str | None) -> None:
    """A scope's name was in its document too; now it is the key of the row alone."""
    document.pop("name", None)
    if name is not None:
        document["name"] = name


def _at(document: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The objects at *path*."""
    found: list[Any] = [document]
    for name in path.split(".") if path else ():
        holders = [value for value in found if isinstance(value, dict)]
        found = [value for holder in holders for value in (holder.values() if name == "*" else [holder.get(name)])]
    return [value for value in found if isinstance(value, dict)]
