"""The architecture as rules that a machine checks."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.project.source import ROOT, Module, imports, modules

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"

PURE_IMPORTS = {
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
"""What the pure core may import from the standard library: modules of values, without effects."""

FAULTS = {
    "domain/states.py": ("import httpx", "import asyncio"),
    "domain/policy.py": ("import monitor.clock",),
    "errors.py": ("import monitor.config",),
    "clock.py": ("import sqlalchemy", "import monitor.domain"),
    "unplaced.py": ("",),
}
"""File of the package -> lines that break a rule when they are added to it."""

BROKEN_BY_THE_FAULTS = (
    "Imports point down, and packages on one floor do not know each other BROKEN",
    "The domain is pure: no I/O, no framework, no clock, no randomness BROKEN",
    "Requests out are httpx's; only the transport and its two users know it BROKEN",
    "Only monitor.db knows the database libraries BROKEN",
)


def _lint_imports(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--config", ROOT / ".importlinter"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_contracts_are_kept() -> None:
    """Imports point down, siblings are independent, the domain is pure, and each library has one door."""
    status, said = _lint_imports(ROOT)

    assert status == 0, said


@pytest.mark.slow
def test_contracts_see_a_fault(tmp_path: Path) -> None:
    """The contracts are no decoration: imports that break them are reported, and so is a module without a layer."""
    package = tmp_path / "monitor"
    shutil.copytree(ROOT / "monitor", package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, lines in FAULTS.items():
        with (package / file).open("a", encoding="utf-8") as source:
            source.writelines(f"{line}\n" for line in lines)

    status, said = _lint_imports(tmp_path)

    assert status != 0
    assert "monitor.unplaced" in said
    assert [broken for broken in BROKEN_BY_THE_FAULTS if broken not in said] == [], said


def _impure(module: Module) -> Iterator[str]:
    for line, name in imports(module):
        allowed = name.startswith(("monitor.domain.", "monitor.errors."))
        if not allowed and not any(name == pure or name.startswith(f"{pure}.") for pure in PURE_IMPORTS):
            yield f"{module.shown}:{line}: {name}"


def test_domain_imports_values_only() -> None:
    """The pure core imports nothing but modules of values from the standard library, itself and the errors."""
    assert [fault for module in modules("monitor/domain") for fault in _impure(module)] == []


@cache
def _names(module: Module) -> tuple[tuple[int, str], ...]:
    """Every name in *module*, dotted or not, with its line."""
    return tuple((node.lineno, ast.unparse(node)) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute | ast.Name))


@pytest.mark.parametrize(
    ("names", "homes"),
    [
        (("os.environ", "os.environb", "os.getenv"), ("monitor.config", "monitor.cli", "monitor.runtime", "monitor.__main__")),
        (("sys.exit", "os._exit", "exit", "quit"), ("monitor.cli", "monitor.__main__")),
        (("signal.signal", "os.kill"), ("monitor.runtime", "monitor.cli", "monitor.__main__")),
    ],
    ids=["environment", "exit", "signals"],
)
def test_one_home(names: tuple[str, ...], homes: tuple[str, ...]) -> None:
    """Only the configuration reads the environment, only the command line exits, only the lifecycle handles signals."""
    found = [
        f"{module.shown}:{line}: {name}"
        for module in modules("monitor")
        if not any(module.name == home or module.name.startswith(f"{home}.") for home in homes)
        and any(name in module.text for name in names)
        for line, name in _names(module)
        if name in names
    ]

    assert found == []


def test_every_part_is_in_the_picture() -> None:
    """The table of layers in docs/explanation/architecture.md names every part of the package, and no other."""
    table = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8").partition("| layer |")[2].partition("\n\n")[0]
    parts = {module.name.split(".")[1] for module in modules("monitor") if "." in module.name} - {"__main__"}

    assert set(re.findall(r"`([a-z_]+)`", table)) == parts


def test_alembic_is_no_package() -> None:
    """A top-level `alembic` package would shadow the library of that name."""
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_migrations_stand_alone() -> None:
    """A migration is history and never imports the program, which moves on."""
    found = [
        f"{module.shown}:{line}: {name}" for module in modules("alembic/versions") for line, name in imports(module) if "monitor" in name
    ]

    assert found == []
