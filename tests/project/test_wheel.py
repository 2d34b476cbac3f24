"""The package as users install it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.source import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def _files(folder: Path, *patterns: str) -> set[str]:
    return {
        str(path.relative_to(folder))
        for pattern in patterns
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_everything_is_inside(installed: Path) -> None:
    """Every file of the package is in the wheel, templates and type marker included."""
    assert _files(ROOT / "monitor", "*") - _files(installed / "monitor", "*") == set()
    assert (installed / "monitor" / "py.typed").exists()


def test_migrations_are_inside(installed: Path) -> None:
    """The migrations are inside the package, so that an installed program can prepare its database."""
    expected = _files(ROOT / "alembic", "*.py", "*.mako")

    assert {"env.py", "script.py.mako"} <= expected
    assert _files(installed / "monitor" / "_alembic", "*.py", "*.mako") == expected


def test_rules_are_inside(installed: Path) -> None:
    """So are the rules that `config rules` prints."""
    assert _files(installed / "monitor" / "_rules", "*") == _files(ROOT / "deploy/prometheus/rules", "*") != set()


def test_nothing_else_is_inside(installed: Path) -> None:
    """Tests, tools and notes stay out, and no other top-level name is taken."""
    assert [path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")] == ["monitor"]


def test_command_is_declared(installed: Path) -> None:
    """Installing brings the command."""
    entry_points = next(installed.glob("*.dist-info/entry_points.txt")).read_text(encoding="utf-8")

    assert "postpost-monitor = monitor.__main__:main" in entry_points


def _run_installed(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_installed_program_starts(installed: Path, tmp_path: Path) -> None:
    """The installed package runs from any folder, without the source beside it."""
    done = _run_installed(installed, tmp_path, "--help")

    assert done.returncode == 0, done.stderr
    assert "postpost-monitor demo" in done.stdout


@pytest.mark.slow
def test_installed_program_finds_its_migrations(installed: Path, tmp_path: Path) -> None:
    """The installed package brings a database up to date with the migrations inside of it."""
    config = tmp_path / "config.yaml"
    config.write_text(f"accounts: [{{name: main, api_key: made-up-for-this-test}}]\ndatabase: {{url: 'sqlite:///{tmp_path}/monitor.db'}}\n")

    done = _run_installed(installed, tmp_path, "db", "upgrade", "--config", str(config))

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "monitor.db").exists()
