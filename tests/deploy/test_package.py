"""The Debian package: built, and looked into. `make boot` installs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor import __version__
from tests.deploy.daemon import ROOT
from tests.tools import require_tool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as `make deb` does, which lints it, and unpacked; `DEBIAN/` holds what controls it."""
    for tool in ("dh", "dpkg-buildpackage", "lintian"):
        require_tool(tool)
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([str(ROOT / ".ci/dist"), sys.executable, str(folder)], capture_output=True, check=True)
    done = subprocess.run([str(ROOT / ".ci/deb"), str(folder)], capture_output=True, text=True, check=False)
    # lintian prints what it finds.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (built,) = folder.glob("*.deb")
    assert f"{built.name}\n" in (folder / "SHA256SUMS").read_text()
    subprocess.run(["dpkg-deb", "--raw-extract", built, folder / "unpacked"], check=True)
    return folder / "unpacked"


def test_places(package: Path) -> None:
    """Nothing names the folders of deploy/install; the unit starts the program of the package; the configuration is a conffile."""
    texts = {
        path: (package / path).read_text(encoding="utf-8")
        for path in (
            "lib/systemd/system/postpost-monitor.service",
            "usr/bin/postpost-monitor",
            "usr/lib/postpost-monitor/bin/postpost-monitor",
            "etc/postpost-monitor/config.yaml",
            "DEBIAN/postinst",
        )
    }

    assert [path for path, text in texts.items() if "/opt/" in text] == []
    assert "ExecStart=/usr/lib/postpost-monitor/bin/postpost-monitor run" in texts["lib/systemd/system/postpost-monitor.service"]
    assert (package / "DEBIAN/conffiles").read_text().split() == ["/etc/postpost-monitor/config.yaml"]
    for path in (
        "usr/lib/sysusers.d/postpost-monitor.conf",
        "usr/lib/tmpfiles.d/postpost-monitor.conf",
        "usr/share/man/man1/postpost-monitor.1.gz",
        "usr/share/bash-completion/completions/postpost-monitor",
        "usr/share/doc/postpost-monitor/docs/tutorial/install.md",
        "usr/share/doc/postpost-monitor/deploy/prometheus/rules/alerts.yml",
    ):
        assert (package / path).is_file(), path


def test_program(package: Path, tmp_path: Path) -> None:
    """The program runs with the libraries of the package alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    python = package / "usr/lib/postpost-monitor/bin/python3"
    # Of a package that this one depends on.
    (package / "usr/bin/python3").symlink_to("/usr/bin/python3")
    command: list[str | Path] = [python, "-P", "-c", "import monitor, psycopg, icalendar, sys; print(monitor.__version__, sys.prefix)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [__version__, str(package / "usr/lib/postpost-monitor")]
