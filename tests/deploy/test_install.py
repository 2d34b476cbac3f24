"""The installer, into a folder of its own."""

import os
import re
import sqlite3
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from monitor.db.tables import REVISION as NEWEST
from tests import marked
from tests.deploy.daemon import ROOT
from tests.deploy.notify import own_environment
from tests.deploy.stand_ins import REVISION, next_release, stand_in_python, stand_in_systemctl
from tests.tools import require_tool

INSTALL = ROOT / "deploy" / "install"
KEY = marked.API_KEY


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


class Machine:
    """A folder that stands for a machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.etc = self.root / "etc/postpost-monitor"
        self.opt = self.root / "opt/postpost-monitor"
        self.database = self.root / "var/lib/postpost-monitor/monitor.db"
        self.python = stand_in_python(folder)
        self.environment = own_environment()

    def install(self, *options: str | Path, code: int = 0) -> str:
        """Run the installer; everything that it says."""
        command: list[str | Path] = [INSTALL, "--root", self.root, "--python", self.python, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def program(self, *words: str) -> str:
        """Run the installed program; what it prints."""
        environment = self.environment | {"CREDENTIALS_DIRECTORY": str(self.etc / "credentials")}
        command: list[str | Path] = [self.opt / "current/bin/postpost-monitor", *words, "--config", self.etc / "config.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def set_up(self) -> None:
        """What a person does after the installation; and the service has run once."""
        key = self.etc / "credentials/api-key"
        key.chmod(0o600)
        key.write_text(KEY)
        key.chmod(0o400)
        config = self.etc / "config.yaml"
        config.write_text(config.read_text().replace("sqlite:////var", f"sqlite:///{self.root}/var"))
        self.program("db", "upgrade")
        self.execute("INSERT INTO meta (key, value) VALUES ('mark', 'ours')")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement on the database."""
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def with_systemctl(self) -> Path:
        """From now on the service runs; the log of what systemctl is asked for."""
        self.environment["INSTALL_SYSTEMCTL"] = str(stand_in_systemctl(self.folder))
        return self.folder / "systemctl.log"

    def release(self) -> str:
        """The version that is current."""
        return (self.opt / "current").readlink().name.partition("-")[0]

    def files(self) -> dict[str, str]:
        """Path -> permissions and time of every file outside of releases."""
        return {
            str(path.relative_to(self.root)): f"{path.stat().st_mode:o} {path.stat().st_mtime_ns}"
            for path in self.root.rglob("*")
            if path.is_file() and "releases" not in path.parts
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with nothing of ours on it."""
    return Machine(tmp_path)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.slow
def test_first_installation(machine: Machine, wheel: Path) -> None:
    """Everything is in its place, secrets are closed to others, the text says what to do next, and doing so is enough."""
    said = machine.install("--wheel", wheel)

    assert "systemctl enable --now postpost-monitor" in said
    assert "credentials/api-key" in said
    assert _mode(machine.etc) == 0o750
    assert _mode(machine.etc / "config.yaml") == 0o640
    assert _mode(machine.etc / "credentials") == 0o750
    assert _mode(machine.etc / "credentials/api-key") == 0o400
    assert _mode(machine.database.parent) == 0o700
    for path in (
        "etc/systemd/system/postpost-monitor.service",
        "etc/sysusers.d/postpost-monitor.conf",
        "etc/tmpfiles.d/postpost-monitor.conf",
        "usr/local/share/man/man1/postpost-monitor.1",
    ):
        assert (machine.root / path).is_file()
    completion = machine.root / "usr/local/share/bash-completion/completions/postpost-monitor"
    assert "-F _shtab_postpost_monitor postpost-monitor" in completion.read_text()
    assert _mode(completion) == 0o644
    assert os.access(machine.root / "usr/local/bin/postpost-monitor", os.X_OK)
    machine.set_up()
    assert ": valid" in machine.program("config", "check")


@pytest.mark.slow
def test_repeated_installation(machine: Machine, wheel: Path) -> None:
    """A second run changes no file, above all none that was edited."""
    machine.install("--wheel", wheel)
    machine.set_up()
    before = machine.files()

    machine.install("--wheel", wheel)

    assert machine.files() == before
    assert len(list((machine.opt / "releases").iterdir())) == 1


@pytest.mark.slow
def test_upgrade(machine: Machine, wheel: Path) -> None:
    """An upgrade stops the service, backs the database up, migrates it, and starts the new release."""
    machine.install("--wheel", wheel)
    machine.set_up()
    log = machine.with_systemctl()

    machine.install("--wheel", next_release(wheel, machine.folder, "9.0.0"))

    assert machine.release() == "9.0.0"
    assert machine.execute("SELECT version_num FROM alembic_version") == [(REVISION,)]
    assert machine.execute("SELECT value FROM meta WHERE key = 'mark'") == [("ours",)]
    (backup,) = (machine.database.parent / "backups").glob("before-9.0.0-*.db")
    assert _mode(backup) == 0o600
    calls = log.read_text().splitlines()
    assert [call for call in calls if call.startswith(("stop", "start"))] == ["stop postpost-monitor", "start postpost-monitor"]
    assert calls.index("stop postpost-monitor") < calls.index("daemon-reload")


@pytest.mark.slow
def test_failed_migration(machine: Machine, wheel: Path) -> None:
    """A migration that fails changes nothing: the old release runs again on the old database, under the old unit."""
    machine.install("--wheel", wheel)
    machine.set_up()
    unit, tmpfiles = (
        machine.root / "etc" / name for name in ("systemd/system/postpost-monitor.service", "tmpfiles.d/postpost-monitor.conf")
    )
    unit.write_text("# of an older release\n")
    tmpfiles.unlink()
    log = machine.with_systemctl()
    old = machine.release()

    said = machine.install("--wheel", next_release(wheel, machine.folder, "9.0.0", more='op.execute("nonsense")'), code=1)

    assert "taken back" in said
    assert "of an older release" in unit.read_text()
    assert not tmpfiles.exists()
    assert machine.release() == old
    assert machine.execute("SELECT version_num FROM alembic_version") == [(NEWEST,)]
    assert "sound" in machine.program("db", "check")
    assert log.read_text().splitlines()[-1] == "start postpost-monitor"


@pytest.mark.slow
def test_release_that_does_not_start(machine: Machine, wheel: Path) -> None:
    """A release that migrates well but does not start is taken back too, its migration included, and nothing is lost."""
    machine.install("--wheel", wheel)
    machine.set_up()
    log = machine.with_systemctl()
    old = machine.release()
    (machine.folder / "start-fails").touch()

    machine.install("--wheel", next_release(wheel, machine.folder, "9.0.0"), code=1)

    assert machine.release() == old
    assert machine.execute("SELECT version_num FROM alembic_version") == [(NEWEST,)]
    assert machine.execute("SELECT value FROM meta WHERE key = 'mark'") == [("ours",)]
    assert "sound" in machine.program("db", "check")
    assert [call for call in log.read_text().splitlines() if call.startswith(("stop", "start"))] == [
        "stop postpost-monitor",
        "start postpost-monitor",
        "stop postpost-monitor",
        "start postpost-monitor",
    ]


@pytest.mark.slow
def test_configuration_that_does_not_tell_of_its_database(machine: Machine, wheel: Path) -> None:
    """A database that can't be found by the configuration can't be copied: the upgrade is refused before anything stops or changes."""
    machine.install("--wheel", wheel)
    machine.set_up()
    log = machine.with_systemctl()
    old = machine.release()
    config = machine.etc / "config.yaml"
    config.write_text(config.read_text().replace("api_key_file: ${CREDENTIALS_DIRECTORY:-", "api_key_file: ${OF_THE_UNIT_ALONE}${"))
    unit = machine.root / "etc/systemd/system/postpost-monitor.service"
    unit.write_text("# of an older release\n")

    said = machine.install("--wheel", next_release(wheel, machine.folder, "9.0.0"), code=1)

    assert "OF_THE_UNIT_ALONE" in said
    assert "nothing was changed" in said
    assert machine.release() == old
    assert unit.read_text() == "# of an older release\n"
    assert machine.execute("SELECT version_num FROM alembic_version") == [(NEWEST,)]
    assert not log.exists()


def test_the_command_has_the_credentials(tmp_path: Path) -> None:
    """What a person runs finds the API key in the same words as the service, as root and as somebody else."""
    script = (ROOT / "deploy/systemd/postpost-monitor.sh").read_text(encoding="utf-8")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$CREDENTIALS_DIRECTORY"\n')
    program.chmod(0o755)
    command = re.sub(r"^program=.*$", f"program={program}", script, flags=re.MULTILINE).replace("runuser -u postpost-monitor --", "env")
    environment = {name: value for name, value in own_environment().items() if name != "CREDENTIALS_DIRECTORY"}
    given = environment | {"CREDENTIALS_DIRECTORY": "/elsewhere"}

    for uid in ("echo 0", "echo 1000"):
        said = [
            subprocess.run(["sh", "-c", command.replace("id -u", uid)], capture_output=True, text=True, check=True, env=one).stdout
            for one in (environment, given)
        ]
        assert said == ["/etc/postpost-monitor/credentials\n", "/elsewhere\n"]


@pytest.mark.slow
def test_upgrade_without_a_stop(machine: Machine, wheel: Path) -> None:
    """With --no-start a running service is not stopped behind anybody's back: the upgrade is refused."""
    machine.install("--wheel", wheel)
    machine.set_up()
    log = machine.with_systemctl()
    old = machine.release()

    said = machine.install("--wheel", next_release(wheel, machine.folder, "9.0.0"), "--no-start", code=1)

    assert "stop it first" in said
    assert machine.release() == old
    assert not [call for call in log.read_text().splitlines() if call.startswith(("stop", "start"))]


@pytest.mark.slow
def test_uninstallation(machine: Machine, wheel: Path) -> None:
    """Removing takes the program and leaves what people made; purging takes everything."""
    machine.install("--wheel", wheel)
    machine.set_up()

    machine.install("--uninstall")
    left = {path.name for path in machine.root.rglob("*") if path.is_file()}
    assert {"config.yaml", "api-key", "monitor.db"} <= left
    assert not left & {"postpost-monitor.service", "postpost-monitor.conf", "postpost-monitor", "postpost-monitor.1"}

    machine.install("--uninstall", "--purge")
    assert [path for path in machine.root.rglob("*") if path.is_file()] == []


def test_wrong_use(machine: Machine, tmp_path: Path) -> None:
    """Options that do not exist, and a Python that is too old, are refused before anything is written."""
    machine.install("--nonsense", code=2)
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    machine.install("--python", old, code=1)

    assert machine.files() == {}


def test_build_requirements() -> None:
    """What the installer takes from requirements-dev.txt to build the wheel is all that the builder needs."""
    text = INSTALL.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "pins_of hatchling" in line)
    needed = {
        requirement.partition(">")[0].partition(";")[0].strip()
        for requirement in requires("hatchling") or []
        if "tomli>" not in requirement
    }

    assert needed <= set(line.split())


@pytest.mark.slow
def test_from_the_checkout(tmp_path: Path) -> None:
    """Without a wheel one is built, with pinned and hashed tools, real Python and real pip; what is installed is this source."""
    (tmp_path / "none.txt").touch()
    command: list[str | Path] = [INSTALL, "--root", tmp_path / "root", "--python", sys.executable, "--requirements", tmp_path / "none.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own_environment() | {"PIP_NO_COMPILE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr

    current = tmp_path / "root/opt/postpost-monitor/current"
    (package,) = (current / "lib").glob("python3*/site-packages/monitor")
    assert (package / "_alembic" / "env.py").is_file()
    assert (package / "app.py").read_bytes() == (ROOT / "monitor/app.py").read_bytes()
    assert os.access(current / "bin/postpost-monitor", os.X_OK)


def test_shellcheck() -> None:
    """Shell scripts have none of the faults that shellcheck knows."""
    ours = [path for path in (ROOT / ".ci").iterdir() if path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash")]
    maintainer = [ROOT / "deploy/debian" / name for name in ("preinst", "postinst", "prerm", "postrm")]
    scripts = [INSTALL, ROOT / "deploy/systemd/postpost-monitor.sh", *ours, *maintainer]
    done = subprocess.run([require_tool("shellcheck"), *scripts], capture_output=True, text=True, check=False)

    assert done.stdout == ""
