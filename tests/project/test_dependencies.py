"""What the program is made of: declared, pinned, hashed, and nothing else."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monitor.extras import EXTRAS
from tests.project.source import ROOT, imports, modules

LOADED_BY_NAME = {
    "psycopg": "SQLAlchemy loads the driver that the database's address names",
}
"""Declared distributions that no module imports -> why they are needed."""

PARTS = {"pydantic-core": "pydantic"}
"""Distributions that are a documented part of another one, which pins them exactly."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]


def _declared(lines: Iterable[str]) -> dict[str, Requirement]:
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


CORE = _declared(PROJECT["dependencies"])
DEV = _declared(OPTIONAL["dev"])
RUNTIME = CORE | _declared(line for extra, lines in OPTIONAL.items() if extra not in ("dev", "all") for line in lines)


_owners = cache(packages_distributions)


@cache
def _foreign(folder: str) -> dict[str, str]:
    """Distribution -> where a module below *folder* imports it."""
    owners = _owners()
    found: dict[str, str] = {}
    for module in modules(folder):
        for line, name in imports(module):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("monitor", folder) or (folder == "tests" and top == "docs"):
                continue
            distribution = canonicalize_name(owners.get(top, [top])[0])
            found[PARTS.get(distribution, distribution)] = f"{module.shown}:{line}"
    return found


def _locked(file: str) -> dict[str, tuple[str, int]]:
    """Distribution -> its pinned version and how many hashes it has."""
    return {canonicalize_name(name): (version, hashes) for name, version, hashes in _pins((ROOT / file).read_text(encoding="utf-8"))}


def _pins(text: str) -> Iterator[tuple[str, str, int]]:
    for block in re.split(r"\n(?=[a-z0-9])", text):
        pin = re.match(r"([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", block)
        if pin:
            yield pin[1], pin[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))


def test_imports_are_declared() -> None:
    """Every library that the program imports is a dependency of its own, not one that happens to come along."""
    assert {name: where for name, where in _foreign("monitor").items() if name not in RUNTIME} == {}


@pytest.mark.slow
def test_imports_of_tests_are_declared() -> None:
    """What tests and migrations import is declared too."""
    found = _foreign("tests") | _foreign("alembic")

    assert {name: where for name, where in found.items() if name not in RUNTIME | DEV} == {}


def test_dependencies_are_used() -> None:
    """Nothing is installed that the program does not use."""
    assert set(RUNTIME) - set(_foreign("monitor")) - set(LOADED_BY_NAME) == set()


@pytest.mark.parametrize(("file", "wanted"), [("requirements.txt", RUNTIME), ("requirements-dev.txt", RUNTIME | DEV)])
def test_lock_is_complete(file: str, wanted: dict[str, Requirement]) -> None:
    """Every dependency is pinned to a version that the declaration allows, and every pin has its hashes."""
    locked = _locked(file)

    assert {name for name, requirement in wanted.items() if not requirement.specifier.contains(locked[name][0])} == set()
    assert {name for name, (_, hashes) in locked.items() if hashes == 0} == set()


def test_locks_agree() -> None:
    """Tests run on the very versions that are shipped."""
    dev = _locked("requirements-dev.txt")

    assert {name: pin for name, pin in _locked("requirements.txt").items() if dev[name] != pin} == {}


def test_nothing_is_patched() -> None:
    """No test patches our own modules: where one wants to, a parameter is missing."""
    found = [
        f"{module.shown}:{line}"
        for module in modules("tests")
        if "unittest" in module.text
        for line, name in imports(module)
        if name.startswith("unittest.mock")
    ]

    assert found == []


def test_tests_state_their_claim() -> None:
    """Every test has a docstring: the claim it proves."""
    silent = [
        f"{module.shown}:{node.lineno}: {node.name}"
        for module in modules("tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_extras() -> None:
    """Every extra is what the program asks for when its library is missing, and `all` has each of them."""
    extras = set(OPTIONAL) - {"dev", "all"}
    (every,) = OPTIONAL["all"]

    assert Requirement(every).extras == extras == set(EXTRAS.values())
    assert {extra: set(_declared(OPTIONAL[extra])) for extra in extras} == {extra: {library} for library, extra in EXTRAS.items()}
    assert set(EXTRAS) & set(CORE) == set()


@pytest.mark.slow
def test_without_extras(tmp_path: Path) -> None:
    """The program needs no extra for a database in SQLite, and names the one that PostgreSQL and the feed need."""
    config = tmp_path / "config.yaml"
    script = f"""
import pkgutil, sys
sys.modules.update(dict.fromkeys({sorted(EXTRAS)}))
import monitor
from importlib import import_module
for module in pkgutil.walk_packages(monitor.__path__, "monitor."):
    if module.name not in ("monitor.__main__", "monitor.web.pages.feed") and "_alembic" not in module.name:
        import_module(module.name)
sys.exit(import_module("monitor.cli.main").main(["config", "check", {str(config)!r}]))
"""
    said = {}
    for url in (f"sqlite:///{tmp_path}/monitor.db", "postgresql://localhost/monitor"):
        config.write_text(f"accounts: [{{name: main, api_key: made-up-for-this-test}}]\ndatabase: {{url: '{url}'}}\n")
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        said[done.returncode] = done.stdout + done.stderr

    assert set(said) == {0, 78}, said
    assert "pip install 'postpost-monitor[postgresql]'" in said[78]
