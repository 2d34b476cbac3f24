"""Secrets are never printed, and read only from files that others cannot read."""

import base64
import copy
import itertools
import json
import os
import pickle
import re
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from monitor.config import AccountSettings, Config, ReceiverSettings, Secret, read_database_url
from monitor.config.secrets import KEPT_IN, MASK, SecretProblem, check_file, check_key, check_signing, read_secret_file
from monitor.db.cluster.members import conninfo
from monitor.errors import ConfigError
from tests.configured import ACCOUNT, configured, refused

ROOT = Path(__file__).parents[2]
CANARY = "sk_telltale.0123456789abcdef"


def test_secret_is_masked() -> None:
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


def test_secret_is_not_text() -> None:
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
    """A file that only its owner can read is read, without its line ending."""
    assert read_secret_file(write(tmp_path / "key", CANARY.encode() + b"\n", mode)).reveal() == CANARY


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o640, 0o644, 0o666, 0o610, 0o601])
def test_file_open_to_others(tmp_path: Path, mode: int) -> None:
    """A file with permissions for group or others is refused with the command that removes them."""
    path = write(tmp_path / "key", CANARY.encode(), mode)
    with pytest.raises(SecretProblem, match=f"mode {mode:04o}") as caught:
        read_secret_file(path)
    assert caught.value.fix == f"chmod 0400 {path}"


def test_file_in_credentials_directory(tmp_path: Path) -> None:
    """In the credentials directory permissions are not checked, except for links out of it."""
    inside = write(tmp_path / "key", CANARY.encode(), 0o440)
    assert read_secret_file(inside, credentials_directory=tmp_path).reveal() == CANARY
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "key").symlink_to(inside)
    with pytest.raises(SecretProblem, match="open to others"):
        read_secret_file(folder / "key", credentials_directory=folder)


def test_file_in_source_folder(tmp_path: Path) -> None:
    """In the source folder of the credentials permissions are checked, although the command sets `$CREDENTIALS_DIRECTORY` to it."""
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


MISPLACED = {
    "accounts: [{name: main, api_key_file: %s}]": "0123456789abcdef0123456789abcdef",
    ACCOUNT + "receivers: [{name: a, url_file: '%s'}]": "https://hooks.example.org/hunter2-uuid",
    ACCOUNT + "receivers: [{name: a, url: 'https://a.example', secret_files: ['%s']}]": "whsec_hunter2+hunter2/hunter2=",
    ACCOUNT + "heartbeat: {url_file: '%s'}": "https://user:hunter2@hc.example.org",
    ACCOUNT + "database: {url_file: '%s'}": "postgresql://u:hunter2@127.0.0.1/db",
    ACCOUNT + "web: {token_file: %s}": "hunter2token",
}


@pytest.mark.parametrize(("text", "secret"), MISPLACED.items())
def test_secret_in_place_of_its_file(text: str, secret: str) -> None:
    """A secret where the path of its file belongs is never quoted, whole or in part; the advice says what belongs there."""
    said = str(refused(text % secret))
    assert "hunter2" not in said
    assert "0123" not in said
    assert "write its path" in said


def test_not_a_file(tmp_path: Path) -> None:
    """Folders, FIFOs, missing and oversized files are refused without waiting."""
    os.mkfifo(tmp_path / "fifo", 0o400)
    write(tmp_path / "large", b"x" * 4097)
    for name, message in {
        "fifo": "not a regular file",
        "none": "can't be read",
        "large": "larger than 4 KiB",
        "": "not a regular file",
    }.items():
        with pytest.raises(SecretProblem, match=message):
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
    ("content", "message"),
    [
        (b" \t \n", "is empty"),
        (CANARY.encode() + b"\n\n", "contains a line break"),
        (CANARY.encode() + b"\r\n", "contains a line break"),
        (CANARY.encode() + b"\t", "contains a blank"),
        (CANARY.encode() + b"\x7f", "not visible ASCII"),
        (b"\xef\xbb\xbf" + CANARY.encode(), "not ASCII"),
        (b"telltal", "not between 8 and 512"),
        (b"telltale" * 90, "not between 8 and 512"),
    ],
    ids=itertools.count(),
)
def test_file_content(tmp_path: Path, content: bytes, message: str) -> None:
    """Content other than one visible word is refused; the problem names the file and what to do, without the content."""
    path = write(tmp_path / "key", content)
    text = f"accounts:\n  - name: main\n    api_key_file: {path}\n"
    (problem,) = refused(text).problems
    assert message in problem.message
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
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + "-_" * 22,
    ],
)
def test_bad_signing_secret(value: str) -> None:
    """A signing secret that is not `whsec_` and strict base64 of 24 to 64 bytes is refused: receivers could not verify it."""
    with pytest.raises(SecretProblem) as caught:
        check_signing(Secret(value), "secret")
    assert value.removeprefix("whsec_") not in str(caught.value)


def test_signing_secrets_in_rotation(tmp_path: Path) -> None:
    """Signing secrets from all keys are collected in order, so that bodies are signed with the old and the new one."""
    values = ["whsec_" + base64.b64encode(bytes([index] * 32)).decode() for index in range(3)]
    for index in (1, 2):
        write(tmp_path / f"secret{index}", values[index].encode() + b"\n")
    text = (
        "accounts: [{name: main, api_key: sk_0123456789}]\nreceivers:\n  - name: on-call\n    url: https://example.org/hook\n"
        f"    secret: {values[0]}\n    secret_file: secret1\n    secret_files: [secret2]\n"
    )
    receiver = configured(text, folder=tmp_path).receivers[0]
    assert [secret.reveal() for secret in receiver.secrets] == values


def test_warning_about_plain_secret() -> None:
    """A secret in plain text works, with a warning; one from the environment has none."""
    text = "accounts: [{name: main, api_key: %s}]\nreceivers: [{name: on-call, url: 'https://example.org/'}]\n"
    plain = configured(text % CANARY)
    assert ["is a secret in plain text" in warning.message for warning in plain.warnings] == [True]
    referred = configured(text % '"${KEY}"', {"KEY": CANARY})
    assert referred.warnings == ()
    assert referred.accounts[0].api_key == plain.accounts[0].api_key


def test_warning_about_legacy_key() -> None:
    """A key that does not start with sk_ may be a legacy one: a warning, no refusal."""
    config = configured(ACCOUNT, {"KEY": "legacy-0123456"})
    assert any("sk_" in warning.message for warning in config.warnings)


def test_headers_are_secrets() -> None:
    """Header values are masked."""
    receiver = ReceiverSettings(name="on-call", url=Secret("https://example.org"), headers={"Authorization": Secret(CANARY)})
    assert "telltale" not in repr(receiver)
    assert receiver.headers["Authorization"].reveal() == CANARY


@pytest.mark.parametrize(
    ("url", "suffix"),
    [
        ("postgresql://monitor:p?#x@db.example/monitor", "?sslmode=verify-full&sslrootcert=/etc/ca.pem"),
        ("postgresql+psycopg://db.example:5432/monitor?connect_timeout=3", "&sslmode=verify-full&sslrootcert=/etc/ca.pem"),
        ("postgresql://[2001:db8::1]/monitor", "?sslmode=verify-full&sslrootcert=/etc/ca.pem"),
        ("postgresql:///m?host=/run/pg,db.example", "&target_session_attrs=read-write&sslmode=verify-full&sslrootcert=/etc/ca.pem"),
        ("postgresql:///monitor?host=localhost:5,::1&target_session_attrs=any", ""),
        ("postgresql://db.example/monitor?sslmode=verify-ca", "&sslrootcert=/etc/ca.pem"),
        ("postgresql://db.example/monitor?sslrootcert=/etc/own.pem", "&sslmode=verify-full"),
        ("postgresql://db.example/monitor?sslmode=verify-full&sslrootcert=/etc/own.pem", ""),
        ("postgresql://db.example/monitor?sslmode=require", ""),
        ("postgresql://monitor:pw@localhost/monitor", ""),
        ("postgresql://127.0.0.1:5432/monitor", ""),
        ("postgresql://[::1]/monitor", ""),
        ("postgresql:///monitor?host=/run/postgresql", ""),
        ("sqlite:////var/lib/postpost-monitor/monitor.db", ""),
    ],
)
def test_database_on_another_machine(url: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL on another machine must show a certificate of the system's authorities, unless the address says how TLS is used."""
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ca.pem")
    config = configured(f"{ACCOUNT}database: {{url: '{url}'}}\n")
    assert config.database.url.reveal() == url + suffix


@pytest.mark.parametrize(
    ("hosts", "parameters"),
    [
        ("me:pw@127.0.0.1:5433,localhost/name", "me:pw@/name?host=127.0.0.1,localhost&port=5433,5432&target_session_attrs=read-write"),
        ("[::1]:1,127.0.0.1:2", "/?host=::1,127.0.0.1&port=1,2&target_session_attrs=read-write"),
        ("/name?host=127.0.0.1:1&host=127.0.0.1:2", "/name?host=127.0.0.1:1&host=127.0.0.1:2&target_session_attrs=read-write"),
        ("127.0.0.1,[::1]/name?target_session_attrs=any", "/name?host=127.0.0.1,::1&port=5432,5432&target_session_attrs=any"),
    ],
)
def test_database_on_several_hosts(hosts: str, parameters: str) -> None:
    """The forms of libpq and SQLAlchemy mean the same to both; without `target_session_attrs` the one that takes writes is meant."""
    url = configured(f"{ACCOUNT}database: {{url: 'postgresql://{hosts}'}}\n").database.url.reveal()
    assert url == f"postgresql://{parameters}"
    read = conninfo_to_dict(conninfo(url))
    assert read["target_session_attrs"] == parameters.rpartition("=")[2]
    assert [len(str(read[name]).split(",")) for name in ("host", "port")] == [2, 2]


@pytest.mark.parametrize(
    "url", ["monitor:p@w@db.example/monitor", "monitor:p@a/b@db:5432/monitor", "mon@itor:pw@db/monitor", "monitor:pw@db:54x2/monitor"]
)
def test_database_password_that_is_not_encoded(url: str) -> None:
    """What would be taken for the name of the host is refused by us, with how to write it and without a part of it."""
    with pytest.raises(ConfigError) as raised:
        configured(f"{ACCOUNT}database: {{url: 'postgresql://{url}'}}\n")
    (problem,) = raised.value.problems
    assert problem.message == "database.url is not a valid PostgreSQL URL"
    assert "%40" in problem.fix
    assert not any(part in str(problem) for part in ("p@", "w@", "a/b", "itor:", "54x2"))


@pytest.mark.parametrize(
    ("rest", "message", "fix"),
    [
        (":99999/monitor", "has a port that does not exist", "write a port from 1 to 65535, usually 5432"),
        ("/monitor?port=0", "has a port that does not exist", "write a port from 1 to 65535, usually 5432"),
        ("/monitor?sslmode=requir", "has a value of sslmode that PostgreSQL does not know", "did you mean require? known: disable, allow,"),
        ("/monitor?sslmode=require&conect_timeout=3", "has a parameter that PostgreSQL does not know", "did you mean connect_timeout?"),
        ("/monitor?canary=3", "has a parameter that PostgreSQL does not know", "such as sslmode or connect_timeout"),
        ("/monitor?connect_timeout=3s", "has a value of connect_timeout that is not a whole number", "write it without a unit"),
    ],
)
def test_database_address_that_libpq_refuses(rest: str, message: str, fix: str) -> None:
    """A port, parameter or value that does not exist is refused with its line and the nearest right one, not taken for an absent server."""
    with pytest.raises(ConfigError) as raised:
        configured(f"{ACCOUNT}database: {{url: 'postgresql://monitor:pw@db{rest}'}}\n")
    (problem,) = raised.value.problems
    assert problem.message == f"database.url {message}"
    assert problem.fix.startswith(fix)
    assert re.search(r":[0-9]+$", problem.location)
    assert "canary" not in str(problem)


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("url", "https://ann:t1lle@ps2q@hooks.example/x"),
        ("url", "https://t1lle@ps2q:secret@hooks.example/x"),
        ("url", "https://ann:t1lle/ps2q@hooks.example/x"),
        ("url", "ntfys://ann:t1lle@ps2q@ntfy.example/topic"),
        ("proxy", "http://ann:t1lle@ps2q@proxy.example:3128"),
        ("proxy", "http://ann:t1lle/ps2q@proxy.example:3128"),
        ("proxy", "http://ann:t1lle@a/ps2q@proxy.example:3128"),
        ("proxy", "http://ann:12/ps2q@proxy.example:3128"),
    ],
)
def test_password_of_a_receiver_that_is_not_encoded(key: str, url: str) -> None:
    """An address whose user name or password can't be told from its host is refused with how to write it, and without a part of it."""
    kind = "apprise" if url.startswith("ntfy") else "webhook"
    other = "" if key == "url" else ", url: 'https://hooks.example/x'"
    with pytest.raises(ConfigError) as raised:
        configured(f"{ACCOUNT}receivers: [{{name: chat, type: {kind}, {key}: '{url}'{other}}}]\n")
    (problem,) = raised.value.problems
    assert problem.message == f"receivers[0].{key} has a user name or password that is not encoded"
    assert "%40" in problem.fix
    assert not any(part in str(problem) for part in ("t1lle", "ps2q", "ann"))


@pytest.mark.parametrize(
    "url", ["https://ann:p%40w@hooks.example:8443/@team?to=a@b.example", "https://[::1]:8443/@team", "https://hooks.example/@team"]
)
def test_address_with_an_at_sign_beyond_the_host(url: str) -> None:
    """The path may hold what it likes."""
    config = configured(f"{ACCOUNT}receivers: [{{name: chat, url: '{url}'}}]\n")
    assert config.receivers[0].url.reveal() == url


def test_address_in_place_of_its_file() -> None:
    """`db copy` does not quote the address that it is given instead of a file with it."""
    with pytest.raises(ConfigError) as caught:
        read_database_url(Path("postgresql://u:hunter2@127.0.0.1/copy"), {})
    assert "hunter2" not in str(caught.value)
