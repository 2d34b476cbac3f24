"""Two releases on one database, as real processes: a copy of the program with two more migrations is the next one."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.db.tables import REVISION
from tests.cluster.judge import findings
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(2)] for name in ("one", "two", "three")}
MIGRATION = '''"""A migration of the next release."""

from alembic import op

revision = "{revision}"
down_revision = "{before}"
{more}


def upgrade() -> None:
    op.execute("{statement}")
'''
CHANGES = {
    "monitor/db/tables.py": (f'REVISION = "{REVISION}"', 'REVISION = "9002"'),
    "monitor/__init__.py": ("__version__ = ", "__version__ = '9.0.0'\n_before = "),
    "monitor/domain/states.py": (
        '    last_known: Self | None = None\n    unknown: str = ""\n',
        '    last_known: Self | None = None\n    unknown: str = ""\n    novel: str = ""\n',
    ),
    # What the next release writes, and this one does not know.
    "monitor/db/codec.py": (
        "return _with_unknown(_dump(ConnectionState, state), state.unknown).decode()",
        'return _with_unknown(_dump(ConnectionState, replace(state, novel="kept")), state.unknown).decode()',
    ),
}


def next_release(folder: Path) -> Path:
    """A copy of the program with an expanding and a contracting migration."""
    for name in ("monitor", "alembic"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in CHANGES.items():
        text = (folder / name).read_text()
        assert old in text, name
        (folder / name).write_text(text.replace(old, new))
    versions = folder / "alembic" / "versions"
    for revision, before, more, statement in (
        ("9001", REVISION, f'reads = "{REVISION}"', "ALTER TABLE connections ADD COLUMN novelty TEXT"),
        ("9002", "9001", "contract = True", "ALTER TABLE findings ADD COLUMN contracted TEXT"),
    ):
        (versions / f"{revision}_next.py").write_text(MIGRATION.format(revision=revision, before=before, more=more, statement=statement))
    return folder


def _upgrade(made: Cluster, release: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor", "db", "upgrade", *words, "--config", str(made.folder / "new.yaml")]
    return subprocess.run(command, cwd=release, capture_output=True, text=True, check=False)


async def test_node_by_node(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """
    The new node expands the schema and shares the work with the old one, which keeps what the new one wrote, also after a restart.

    What the old one needs is removed only once it is gone; then it is refused.
    """
    release = next_release(tmp_path / "next")
    async with cluster(tmp_path / "nodes", migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        made.start("old")
        await made.until_tended({"old"})
        made.start("new", folder=release)
        await eventually(lambda: set(made.tended().values()) == {"old", "new"}, what="both work")
        assert made.rows("SELECT version_num FROM alembic_version") == [("9001",)]
        assert made.rows("SELECT value FROM meta WHERE key = 'schema_reads'") <= [(REVISION,)]
        refused = _upgrade(made, release, "--contract")
        assert refused.returncode == 78
        assert "which need what the upgrade removes: upgrade or stop them first" in refused.stderr
        assert _upgrade(made, release).returncode == 0

        # Each connection becomes known to the new one; all go to the old one, which writes them.
        made.signal("old", signal.SIGTERM)
        assert await made.ended("old") == 0
        await made.until_tended({"new"})
        for _, _, connection in made.api.world.every():
            connection.fail("Error validating access token: Session has expired")
        await eventually(lambda: _written(made, "error") == (6, 6), what="the new one wrote all")
        made.start("old")
        await made.until_tended({"old", "new"})
        made.signal("new", signal.SIGTERM)
        assert await made.ended("new") == 0
        await made.until_tended({"old"})
        for _, _, connection in made.api.world.every():
            connection.heal()
        await eventually(lambda: _written(made, "ok")[0] == 6, what="the old one wrote all")
        assert _written(made, "ok") == (6, 6)

        made.start("new", folder=release)
        await made.until_tended({"old", "new"})
        made.signal("old", signal.SIGTERM)
        assert await made.ended("old") == 0
        contracted = _upgrade(made, release, "--contract")
        assert contracted.returncode == 0, contracted.stderr
        assert made.rows("SELECT version_num FROM alembic_version") == [("9002",)]
        made.start("old")
        assert await made.ended("old") == 78
        assert "the database has schema 9002, which is newer than this program's" in made.log("old")
        made.signal("new", signal.SIGTERM)
        assert await made.ended("new") == 0
        assert findings(made, interval=1.0) == []


def _written(made: Cluster, health: str) -> tuple[int, int]:
    """How many connections have this health, and how many of these what the next release wrote."""
    documents = [json.loads(row) for (row,) in made.rows(f"SELECT document FROM connection_states WHERE health = '{health}'")]
    return len(documents), sum(document.get("novel") == "kept" for document in documents)
