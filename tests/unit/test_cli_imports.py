"""What a verb imports before it does anything: most of the time that a short one takes."""

import json
import subprocess
import sys

import pytest

from tests.project.source import ROOT

READING = ("status", "history", "incidents", "explain", "silence", "deliveries")

FOREIGN = {
    "aiohttp",
    "alembic",
    "apscheduler",
    "bcrypt",
    "httptools",
    "httpx",
    "jinja2",
    "prometheus_client",
    "psycopg",
    "standardwebhooks",
    "structlog",
}
OWN = {"monitor.app", "monitor.metrics", "monitor.postpost", "monitor.runtime", "monitor.simulator", "monitor.web", "monitor.workers"}
UNUSED = {"monitor.notify.webhook", "sqlalchemy.dialects.postgresql"}
MOST = 560
"""Modules in all, those of the standard library included; 350 of them come with SQLAlchemy and pydantic."""


def _imported(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_reading() -> None:
    """The verbs that read the database import neither the daemon nor a library that only it needs."""
    loading = "\n".join(f"importlib.import_module('monitor.cli.{verb}')" for verb in READING)
    imported = _imported(f"import importlib\n{loading}")
    assert imported & (FOREIGN | OWN | UNUSED) == set()
    assert len(imported) <= MOST


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help(option: str) -> None:
    """Help and version import the parser, and nothing that reads."""
    code = f"from monitor.cli.main import main\ntry:\n    main([{option!r}])\nexcept SystemExit:\n    pass"
    imported = _imported(code)
    assert {name for name in imported if name.startswith("monitor.")} == {
        "monitor.cli",
        "monitor.cli.main",
        "monitor.cli.verb",
        "monitor.errors",
    }
    assert imported & {"asyncio", "pydantic", "sqlalchemy", "yaml"} == set()
