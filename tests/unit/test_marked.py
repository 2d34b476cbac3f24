"""The search for secrets can find them: whoever leaks on purpose is caught."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import marked

ROOT = Path(__file__).parents[2]
SECRETS = (
    marked.API_KEY,
    marked.SECOND_API_KEY,
    marked.PASSWORD,
    marked.TOKEN,
    marked.HEADER,
    marked.ROUTING_KEY,
    marked.PATH,
    marked.TEMPLATE_TOKEN,
)


@pytest.mark.parametrize("secret", SECRETS)
def test_every_secret_is_marked(secret: str) -> None:
    """Each secret of the tests is found by its first sixteen characters, and in each disguise."""
    encoded = secret.encode()
    for content in (
        encoded, encoded[:16], secret[::-1].encode(), encoded.hex().encode(), secret.lower().encode(), secret.encode("utf-16-le"),
        base64.b64encode(encoded), base64.b64encode(encoded[:16]), base64.b64encode(b"prometheus:" + encoded), base64.b64encode(b"ab" + encoded),
        base64.b64encode(base64.b64encode(b"x" + encoded)), "".join(f"%{byte:02X}" for byte in encoded).encode(), quote(secret).encode(),
    ):  # fmt: skip
        assert marked.disguises_in(b"before " + content + b" after"), content


def test_signing_secrets_are_marked() -> None:
    """A signing secret is found as it is written, and as the bytes it stands for."""
    written = marked.signing("x")
    assert marked.disguises_in(written.encode())
    assert marked.disguises_in(base64.b64decode(written.removeprefix("whsec_")))
    assert marked.disguises_in(written.removeprefix("whsec_").encode())


def test_nothing_is_found_in_nothing() -> None:
    """Ordinary bytes hold no secret."""
    assert marked.disguises_in(bytes(range(256)) * 100) == []
    assert marked.disguises_in((ROOT / "README.md").read_bytes()) == []


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not searched after the test: what leaks here leaks on purpose."""
    return tmp_path_factory.mktemp("leaks")


def test_files(folder: Path) -> None:
    """Files that the program wrote are searched, folders below included; those that a test hands over are not."""
    for name in ("config.yaml", "api-key", "web.key", "monitor.db", "daemon.log", "backup/monitor.db-wal", "export"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"... {marked.API_KEY} ...")
    (folder / "link").symlink_to(folder / "api-key")
    found = [one.partition(":")[0] for one in marked.leaks_below(folder)]
    assert found == ["backup/monitor.db-wal", "daemon.log", "export", "monitor.db"]


_LEAKS = """
import logging
import sys

from tests import marked


def test_on_stdout(capsys):
    print("the key is", marked.API_KEY)


def test_in_the_log(caplog):
    logging.getLogger("x").warning("told %s", marked.PATH)


def test_in_a_file(tmp_path):
    (tmp_path / "monitor.db").write_text(marked.TOKEN)


def test_handed_over(tmp_path):
    (tmp_path / "config.yaml").write_text(marked.TOKEN)


def test_clean(tmp_path):
    (tmp_path / "monitor.db").write_text("nothing")
    print("nothing")
"""


@pytest.mark.slow
def test_leaks_on_purpose(folder: Path) -> None:
    """Run as tests are: one that prints, logs or stores a secret fails although it passed, and says where; others pass."""
    (folder / "test_leaks.py").write_text(_LEAKS)
    (folder / "conftest.py").write_text("from tests.watch_for_leaks import *\n")
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--rootdir",
        folder,
        "--basetemp",
        folder / "work",
        folder,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    lines = [line.partition(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert {line.rpartition("::")[2] for line in lines} == {"test_on_stdout", "test_in_the_log", "test_in_a_file"}, done.stdout
    assert "monitor.db: plain" in done.stdout
