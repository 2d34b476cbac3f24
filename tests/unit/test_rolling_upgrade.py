"""Two releases on one database: what an older program may do on a newer schema, and that it keeps what it does not know."""

import json
from pathlib import Path

import pytest

from monitor.db import migrations
from monitor.db.codec import decode_scope, dump_state, encode_scope, load_state
from monitor.db.migrations import Migration
from monitor.domain.copies import replace
from monitor.errors import SchemaMismatch

EXPAND, CONTRACT, BREAK = (
    Migration("0102", "0101", contract=False),
    Migration("0103", "0102", contract=True),
    Migration("0104", "0104", contract=False),
)


@pytest.fixture(autouse=True)
def _plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_all_migrations", lambda _folder: (Migration("0101", "0101", contract=False), EXPAND, CONTRACT))


@pytest.mark.parametrize(
    ("current", "lowest", "contract", "target"),
    [
        ("0101", "0101", False, "0102"),
        ("0101", None, False, "0102"),
        ("0101", None, True, "0103"),
        ("0102", None, False, None),
        ("0102", "0102", True, "0103"),
        ("0103", "0102", True, None),
        (None, None, False, "0103"),
    ],
)
def test_target(current: str | None, lowest: str | None, *, contract: bool, target: str | None) -> None:
    """Beside older programs the schema is expanded; what they need is removed when that is asked for, and from an empty database at once."""
    assert migrations._target(current, lowest, contract=contract) == target


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a running program needs is not removed, and a migration that it can't go on with is not begun."""
    with pytest.raises(SchemaMismatch, match="need what the upgrade removes"):
        migrations._target("0102", "0101", contract=True)
    monkeypatch.setattr(migrations, "_all_migrations", lambda _folder: (EXPAND, BREAK))
    with pytest.raises(SchemaMismatch, match="need schema 0102"):
        migrations._target("0102", "0102", contract=False)


def test_serves() -> None:
    """A program works with a schema that lacks only what its own release removes."""
    assert [migrations.serves(one) for one in (None, "0101", "0102", "0103", "0109")] == [False, False, True, True, True]


def test_files_say_it() -> None:
    """The oldest schema whose programs go on, as the files of the migrations say it."""
    versions = Path(__file__).parents[2] / "alembic" / "versions"
    assert migrations._read(versions / "0015_cluster.py") == Migration("0015", "0015", contract=False)
    assert migrations._read(versions / "0016_schema_of_nodes.py") == Migration("0016", "0015", contract=False)


def test_unknown_fields_are_kept() -> None:
    """Also those of a part, as long as there is one; a field within an entry of a list goes with its entry."""
    error = {"at": "2026-01-01T00:00:00Z", "message": "no", "novel": 4}
    document = {"detail": "before", "novel": {"a": [1]}, "last_error": error}
    state = load_state(json.dumps(document), "a row")
    assert json.loads(dump_state(state)) == document
    assert json.loads(dump_state(replace(state, detail="after", last_error=None))) == {"detail": "after", "novel": {"a": [1]}}
    scope = decode_scope("account:main", b'{"detail":"before","buckets":[{"at":"2026-01-01T00:00:00Z","novel":1}],"novel":2}')
    assert json.loads(encode_scope(replace(scope, buckets=()))) == {"detail": "before", "novel": 2}
