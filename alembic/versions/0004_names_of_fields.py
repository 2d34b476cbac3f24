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
    ("scopes", "", "turned", "recent_failures"),
)
_KEYS = {"connection_states": "connection_id", "scopes": "name"}
_BATCH = 500


def upgrade() -> None:
    for table in _KEYS:
        _rewrite(table, [(path, old, new) for name, path, old, new in RENAMED if name == table])
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
        _rewrite(table, [(path, new, old) for name, path, old, new in reversed(RENAMED) if name == table])


def _rewrite(table: str, renamed: list[tuple[str, str, str]]) -> None:
    key, document = sa.column(_KEYS[table]), sa.column("document")
    rows = sa.table(table, key, document)
    page = sa.select(key, document).order_by(key).limit(_BATCH)
    change = sa.update(rows).where(key == sa.bindparam("b_key")).values(document=sa.bindparam("b_document"))
    connection = op.get_bind()
    batch = connection.execute(page).all()
    while batch:
        values = [{"b_key": row[0], "b_document": text} for row in batch if (text := _renamed(row[1], renamed)) != row[1]]
        if values:
            connection.execute(change, values)
        batch = connection.execute(page.where(key > batch[-1][0])).all()


def _renamed(text: str, renamed: list[tuple[str, str, str]]) -> str:
    """The document *text* under the other names; as it is when it is damaged, which the program reports when it reads it."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    changes = [_rename(holder, old, new) for path, old, new in renamed for holder in _at(document, path)]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) if any(changes) else text


def _rename(holder: dict[str, Any], old: str, new: str) -> bool:
    if old not in holder:
        return False
    holder[new] = holder.pop(old)
    return True


def _at(document: Any, path: str) -> list[dict[str, Any]]:
    """The objects at *path*."""
    found = [document]
    for name in path.split(".") if path else ():
        inner = [value for value in found if isinstance(value, dict)]
        found = [value for holder in inner for value in (holder.values() if name == "*" else [holder[name]] if name in holder else [])]
    return [value for value in found if isinstance(value, dict)]
