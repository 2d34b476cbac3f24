"""Secrets: used but never seen, and read only from files that nobody else can read."""

import base64
import copy
import itertools
import json
import os
import pickle
from pathlib import Path

import pytest

from monitor.config import AccountSettings, Config, ReceiverSettings, Secret
from monitor.config.loader import load_text
from monitor.config.secrets import KEPT_IN, MASK, SecretProblem, check_file, check_key, check_signing, read_secret_file
from monitor.errors import ConfigError
from monitor.notify import templates

ROOT = Path(__file__).parents[2]
CANARY = "sk_telltale.0123456789abcdef"


def test_secret_is_never_seen() -> None:
    """Printing, formatting, pickling and serialising a secret give the mask."""
    secret = Secret(CANARY)
    config = Config(accounts=(AccountSettings(name="main", api_key=secret),))
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{[secret]}",
        f"{secret!r}",
        pickle.loads(pickle.dumps(secret)),
        repr(config),
        config.model_dump_json(),
        json.dumps(config.masked()),
    ]
    assert not [text for text in shown if "telltale" in text]
    assert all(MASK in text for text in shown)
    assert secret.reveal() == CANARY


def test_secret_is_no_text() -> None:
    """A secret never equals a plain text and can't be turned into JSON by accident."""
    secret = Secret(CANARY)
    assert secret != CANARY
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secrets_compare_with_each_other() -> None:
    """Two secrets are equal when their values are, so that a reload notices a new key; copies stay usable."""
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert hash(Secret(CANARY)) == hash(Secret(CANARY))
    assert copy.deepcopy(Secret(CANARY)).reveal() == CANARY


def write(path: Path, content: bytes, mode: int = 0o400) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_file_for_its_owner(tmp_path: Path, mode: int) -> None:
    """A file that only its owner can open is read, without its one line end."""
    assert read_secret_file(write(tmp_path / "key", CANARY.encode() + b"\n", mode)).reveal() == CANARY


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o640, 0o644, 0o666, 0o610, 0o601])
def test_file_open_to_others(tmp_path: Path, mode: int) -> None:
    """A file that its group or anybody can open is refused with the command that closes it."""
    path = write(tmp_path / "key", CANARY.encode(), mode)
    with pytest.raises(SecretProblem, match=f"mode {mode:04o}") as caught:
        read_secret_file(path)
    assert caught.value.fix == f"chmod 0400 {path}"


def test_file_in_credentials_directory(tmp_path: Path) -> None:
    """In the credentials directory systemd has seen to the rights; a link out of it has not that excuse."""
    inside = write(tmp_path / "key", CANARY.encode(), 0o440)
    assert read_secret_file(inside, credentials_directory=tmp_path).reveal() == CANARY
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "key").symlink_to(inside)
    with pytest.raises(SecretProblem, match="open to others"):
        read_secret_file(folder / "key", credentials_directory=folder)


def test_file_where_the_operator_keeps_it(tmp_path: Path) -> None:
    """The folder that secrets are handed over from excuses nothing, also where the command names it as the one that they are handed over in."""
    path = write(tmp_path / "key", CANARY.encode(), 0o644)
    command = (ROOT / "deploy/systemd/postpost-monitor.sh").read_text(encoding="utf-8")

    assert f"CREDENTIALS_DIRECTORY:-{KEPT_IN}}}" in command
    with pytest.raises(SecretProblem, match="open to others"):
        check_file(KEPT_IN / "key", path.stat(), KEPT_IN)
    check_file(path, path.stat(), tmp_path)


def test_file_of_another_user(tmp_path: Path) -> None:
    """A file of another user is refused: that user could change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = write(tmp_path / "key", CANARY.encode())
    os.chown(path, 12345, 12345)
    with pytest.raises(SecretProblem, match="belongs to another user"):
        read_secret_file(path)


def test_file_that_is_none(tmp_path: Path) -> None:
    """Folders, FIFOs, missing and oversized files are refused without waiting."""
    os.mkfifo(tmp_path / "fifo", 0o400)
    write(tmp_path / "large", b"x" * 4097)
    for name, words in {
        "fifo": "not a regular file",
        "none": "can't be read",
        "large": "larger than 4 KiB",
        "": "not a regular file",
    }.items():
        with pytest.raises(SecretProblem, match=words):
            read_secret_file(tmp_path / name)


def test_files_are_closed(tmp_path: Path) -> None:
    """Neither a good nor a refused file stays open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    good, bad = write(tmp_path / "good", CANARY.encode()), write(tmp_path / "bad", CANARY.encode(), 0o644)
    for path in (good, bad, tmp_path):
        try:
            read_secret_file(path)
        except SecretProblem:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b" \t \n", "is empty"),
        (CANARY.encode() + b"\n\n", "holds a line break"),
        (b"\n" + CANARY.encode(), "holds a line break"),
        (CANARY.encode() + b"\r\n", "holds a line break"),
        (b"sk_telltale\nsk_telltale", "holds a line break"),
        (CANARY.encode() + b" ", "holds a blank"),
        (CANARY.encode() + b"\t", "holds a blank"),
        (CANARY.encode() + b"\x00", "not visible ASCII"),
        (CANARY.encode() + b"\x7f", "not visible ASCII"),
        ("sk_telltale-ünïcode".encode(), "not ASCII"),
        (b"\xef\xbb\xbf" + CANARY.encode(), "not ASCII"),
        (b"\xff\xfe\x00telltale", "not ASCII"),
        (b"telltal", "not between 8 and 512"),
        (b"telltale" * 90, "not between 8 and 512"),
    ],
    ids=itertools.count(),
)
def test_file_content(tmp_path: Path, content: bytes, words: str) -> None:
    """Content that is no single visible word is refused; the text names the file, says what to do, and never what is in it."""
    path = write(tmp_path / "key", content)
    text = f"accounts:\n  - name: main\n    api_key_file: {path}\n"
    with pytest.raises(ConfigError) as caught:
        load_text(text, "config.yaml", {}, folder=tmp_path, check_template=templates.problems)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert str(path) in problem.message
    assert problem.location == "config.yaml:3"
    assert problem.fix
    assert "telltale" not in str(problem)


def test_key_lengths() -> None:
    """Keys of 8 to 512 visible characters are fine."""
    for length in (8, 512):
        assert check_key(Secret("~" * length), "key").reveal() == "~" * length


@pytest.mark.parametrize("size", [24, 32, 64])
def test_signing_secret(size: int) -> None:
    """Signing secrets of 24 to 64 bytes are fine."""
    secret = Secret("whsec_" + base64.b64encode(bytes(size)).decode())
    assert check_signing(secret, "secret") is secret


@pytest.mark.parametrize(
    "value",
    [
        "https://hooks.slack.com/services/telltale",
        "whsec_",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + base64.b64encode(bytes(32)).decode() + " ",
        "whsec_" + "-_" * 22,
        "whsec_ünïcode" + "A" * 32,
    ],
)
def test_bad_signing_secret(value: str) -> None:
    """A signing secret that is not `whsec_` and strict base64 of 24 to 64 bytes is refused: receivers could not verify it."""
    with pytest.raises(SecretProblem) as caught:
        check_signing(Secret(value), "secret")
    assert value.removeprefix("whsec_") not in str(caught.value) or value == "whsec_"


def test_signing_secrets_in_rotation(tmp_path: Path) -> None:
    """Signing secrets from all places are gathered in order, so that bodies carry the old and the new signature."""
    values = ["whsec_" + base64.b64encode(bytes([index] * 32)).decode() for index in range(3)]
    for index in (1, 2):
        write(tmp_path / f"secret{index}", values[index].encode() + b"\n")
    text = (
        "accounts: [{name: main, api_key: sk_0123456789}]\nreceivers:\n  - name: on-call\n    url: https://example.org/hook\n"
        f"    secret: {values[0]}\n    secret_file: secret1\n    secret_files: [secret2]\n"
    )
    receiver = load_text(text, "config.yaml", {}, folder=tmp_path, check_template=templates.problems).receivers[0]
    assert [secret.reveal() for secret in receiver.secrets] == values


def test_written_secret_is_warned_about() -> None:
    """A secret written into the file works, with a warning; one from the environment has none."""
    text = "accounts: [{name: main, api_key: %s}]\nreceivers: [{name: on-call, url: 'https://example.org/'}]\n"
    written = load_text(text % CANARY, "config.yaml", {}, folder=Path("/"), check_template=templates.problems)
    assert ["is a secret written into" in warning.message for warning in written.warnings] == [True]
    referred = load_text(text % '"${KEY}"', "config.yaml", {"KEY": CANARY}, folder=Path("/"), check_template=templates.problems)
    assert referred.warnings == ()
    assert referred.accounts[0].api_key == written.accounts[0].api_key


def test_odd_key_is_warned_about() -> None:
    """A key that does not begin with sk_ may be a legacy one: a warning, no refusal."""
    config = load_text(
        'accounts: [{name: main, api_key: "${KEY}"}]',
        "config.yaml",
        {"KEY": "legacy-0123456"},
        folder=Path("/"),
        check_template=templates.problems,
    )
    assert any("sk_" in warning.message for warning in config.warnings)


def test_headers_are_secrets() -> None:
    """Header values are masked, since they carry tokens."""
    receiver = ReceiverSettings(name="on-call", url=Secret("https://example.org"), headers={"Authorization": Secret(CANARY)})
    assert "telltale" not in repr(receiver)
    assert receiver.headers["Authorization"].reveal() == CANARY


@pytest.mark.parametrize(
    ("url", "suffix"),
    [
        ("postgresql://monitor:p?#x@db.example/monitor", "?sslmode=verify-full"),
        ("postgresql+psycopg://db.example:5432/monitor?connect_timeout=3", "&sslmode=verify-full"),
        ("postgresql://[2001:db8::1]/monitor", "?sslmode=verify-full"),
        ("postgresql://db.example/monitor?sslmode=require", ""),
        ("postgresql://monitor:pw@localhost/monitor", ""),
        ("postgresql://127.0.0.1:5432/monitor", ""),
        ("postgresql://[::1]/monitor", ""),
        ("postgresql:///monitor?host=/run/postgresql", ""),
        ("sqlite:////var/lib/postpost-monitor/monitor.db", ""),
    ],
)
def test_database_on_another_machine(url: str, suffix: str) -> None:
    """PostgreSQL on another machine must show a verified certificate, unless the address says how TLS is used."""
    text = f"accounts: [{{name: main, api_key: {CANARY}}}]\ndatabase: {{url: '{url}'}}\n"
    config = load_text(text, "config.yaml", {}, folder=Path("/"), check_template=templates.problems)
    assert config.database.url.reveal() == url + suffix
