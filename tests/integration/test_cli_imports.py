"""What a verb imports before it prints anything: most of the time that a short one takes."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.project.source import ROOT
from tests.watched import watched, write_config

FOREIGN = {
    "aiohttp",
    "alembic",
    "apscheduler",
    "bcrypt",
    "httptools",
    "httpx",
    "jinja2",
    "monitor.db.postgres",
    "prometheus_client",
    "psycopg",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
    "standardwebhooks",
    "structlog",
    "tomllib",
    "wcwidth",
}
DAEMON = {"monitor.app", "monitor.metrics", "monitor.postpost", "monitor.runtime", "monitor.simulator", "monitor.web", "monitor.workers"}
WRITING = {
    "monitor.db.controls",
    "monitor.db.outbox",
    "monitor.db.store",
    "monitor.db.writer",
    "monitor.notify.payload",
    "monitor.notify.templates",
    "monitor.schemas.shapes",
}
DECIDING = {
    "monitor.domain.engine",
    "monitor.domain.evaluation",
    "monitor.domain.projections.forecast",
    "monitor.domain.notifications.decide",
}
MOST = 514
"""Modules in all, those of the standard library included; 350 of them come with SQLAlchemy and pydantic."""
MOST_OWN = 117
ROWS = ("history threads-1784", "silence list", "incidents", "deliveries list")
"""The verbs that show rows as they are stored."""
STATES = ("status", "explain threads-1784")
"""The verbs that show what the engine makes of the rows."""


def _imported(code: str) -> list[set[str]]:
    """The modules that are imported wherever *code* calls `note`."""
    script = f"import json, sys\nnoted = []\ndef note(): noted.append(sorted(sys.modules))\n{code}\nprint(json.dumps(noted))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return [set(modules) for modules in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture
async def path(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Path]:
    """The configuration of a daemon that runs and has checked nothing."""
    path = write_config(tmp_path, sqlite_url)
    async with watched(path):
        yield path


def _run(path: Path, verbs: Sequence[str]) -> str:
    commands = [["", *verb.split(), "--config", str(path)] for verb in verbs]
    return f"for sys.argv in {commands}:\n    assert main() == 0"


def test_reading(path: Path) -> None:
    """Verbs that read import neither the daemon, nor a library that only it needs, nor what writes; those that show rows no engine."""
    rows, states = _imported(f"from monitor.__main__ import main\n{_run(path, ROWS)}\nnote()\n{_run(path, STATES)}\nnote()")
    assert states & (FOREIGN | DAEMON | WRITING) == set()
    assert rows & DECIDING == set()
    assert len(rows) <= MOST
    assert len(states) <= MOST + 40
    assert len({name for name in rows if name.startswith("monitor.")}) <= MOST_OWN


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help(option: str) -> None:
    """Help and version import the parser, and nothing that reads."""
    (imported,) = _imported(f"from monitor.cli.main import main\ntry:\n    main([{option!r}])\nexcept SystemExit:\n    note()")
    assert {name for name in imported if name.startswith("monitor.")} == {
        "monitor.cli",
        "monitor.cli.main",
        "monitor.cli.verb",
        "monitor.errors",
    }
    assert imported & {"asyncio", "pydantic", "sqlalchemy", "yaml"} == set()
