"""The file of `web.config_file`: strict, problems with file and line, checked together with every file that it names."""

import os
import subprocess
from pathlib import Path

import pytest

from monitor.config.model import Config
from monitor.config.secrets import MASK
from tests.certificates import Authority
from tests.configured import ACCOUNT, configured, refused

HASH = "$2y$10$0K9sxW6mqzFVLnQ4XLZ2uOj0wpqNeoQC0QEQXbBhKbCAOQtf3rZgq"
TLS = "tls_server_config:\n  cert_file: web.crt\n  key_file: web.key\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues `web.crt` and `web.key`."""
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.issue("web", "monitor.example.com")
    made.issue("other", "other.example.com")
    return made


RECEIVER = 'receivers: [{name: a, url: "http://127.0.0.1:9"}]\n'


def written(folder: Path, text: str, web: str = "", mode: int = 0o600) -> str:
    """Write the web-config file *text*; returns the configuration that names it."""
    path = folder / "web.yml"
    path.write_text(text)
    path.chmod(mode)
    return f"{ACCOUNT}{RECEIVER}web: {{config_file: web.yml{web}}}"


def with_file(folder: Path, text: str, web: str = "", mode: int = 0o600) -> Config:
    """The configuration with this web-config file."""
    return configured(written(folder, text, web, mode), folder=folder)


def refusal(folder: Path, text: str, web: str = "", mode: int = 0o600) -> list[str]:
    """The problems of this web-config file, without the folder's name."""
    return [str(problem).replace(f"{folder}/", "") for problem in refused(written(folder, text, web, mode), folder=folder).problems]


def test_everything(authority: Authority) -> None:
    """All keys together, paths relative to the file's folder; hashes are secrets."""
    text = f"""{TLS}  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: authority.pem
  client_allowed_sans: [prometheus.example.com]
  min_version: TLS12
  max_version: TLS13
basic_auth_users:
  prometheus: {HASH}
"""
    config = with_file(authority.folder, text)
    assert config.warnings == ()
    tls = config.web_file.tls_server_config
    assert tls is not None
    assert tls.files == tuple(str(authority.folder / name) for name in ("web.crt", "web.key", "authority.pem"))
    assert HASH in config.secrets()
    assert MASK in repr(config.web_file)
    assert HASH not in repr(config)
    assert config.web_file.authenticates


def test_without_a_file() -> None:
    """Without a file there is neither TLS nor authentication."""
    assert Config().web_file.tls_server_config is None
    assert not Config().web_file.authenticates


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("tls_server_confg: {}", ["web.yml:1: tls_server_confg is an unknown key (did you mean tls_server_config?)"]),
        (
            "\ntls_server_config: {cert_fil: a}\nbasic_auth_users: {a: b}",
            [
                "web.yml:2: tls_server_config.cert_file is missing (add it)",
                "web.yml:2: tls_server_config.key_file is missing (add it)",
                "web.yml:2: tls_server_config.cert_fil is an unknown key (did you mean cert_file?)",
                "web.yml:3: basic_auth_users.a is not a bcrypt hash (make one with: postpost-monitor config hash-password)",
            ],
        ),
        ("basic_auth_users:\n  a:\n", ["web.yml:2: basic_auth_users.a must be text (put it in quotes)"]),
        (
            "basic_auth_users: {'a:b': " + HASH + "}",
            ["web.yml:1: basic_auth_users.a:b is not a valid username (use printable characters without ':')"],
        ),
        (
            "basic_auth_users: {a: " + HASH.replace("$10$", "$31$") + "}",
            ["web.yml:1: basic_auth_users.a has a cost that is not between 4 and 16 (make one with: postpost-monitor config hash-password)"],
        ),
        ("basic_auth_users: [a]", ["web.yml:1: basic_auth_users must be keys with values (one 'key: value' per line, indented)"]),
        ("- a", ["web.yml:1: must be keys with values (such as basic_auth_users:)"]),
        ("a: [", ["web.yml:2: not valid YAML: did not find expected node content"]),
        (
            TLS.replace("web.key", "gone.key"),
            ["web.yml:1: the key gone.key can't be read: No such file or directory (check the path and its permissions)"],
        ),
        (TLS.replace("web.key", "other.key"), ["web.yml:1: the key other.key does not belong to the certificate web.crt (name the key of this certificate)"]),
        (
            TLS.replace("web.crt", "web.key"),
            ["web.yml:1: web.key and web.key are not a certificate and its key in PEM form (both start with a line -----BEGIN)"],
        ),
        (
            TLS.replace("web.key", "."),
            ["web.yml:1: the secret file {folder} is not a regular file (name a plain file that contains the secret)"],
        ),
        (
            TLS + "  client_auth_type: RequireAnyClientCert\n",
            ["web.yml:4: tls_server_config.client_auth_type must be one of: NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert (did you mean RequireAndVerifyClientCert?)"],
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            ["web.yml:1: tls_server_config client_auth_type RequireAndVerifyClientCert needs client_ca_file (name the file with the clients' authority)"],
        ),
        (
            TLS + "  client_ca_file: authority.pem\n",
            ["web.yml:1: tls_server_config client_ca_file needs a client_auth_type (such as RequireAndVerifyClientCert)"],
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: web.yml\n",
            ["web.yml:1: web.yml contains no certificate in PEM form (it starts with a line -----BEGIN CERTIFICATE-----)"],
        ),
        (TLS + "  min_version: TLS10\n", ["web.yml:4: tls_server_config.min_version must be one of: TLS12, TLS13 (did you mean TLS13?)"]),
        (TLS + "  min_version: TLS13\n  max_version: TLS12\n", ["web.yml:1: tls_server_config min_version is newer than max_version"]),
        (
            TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\nhttp_server_config: {http2: true}",
            [
                "web.yml:4: tls_server_config.cipher_suites is not supported (remove it; the suites of the system's OpenSSL are used)",
                "web.yml:5: http_server_config is not supported (remove it; HTTP/1.1 with fixed security headers is served, a reverse proxy can set others)",
            ],
        ),
    ],
)  # fmt: skip
def test_refused(authority: Authority, text: str, problems: list[str]) -> None:
    """Every problem at once, with file, line and what to do; a broken file is not reported as an open port too."""
    actual = refusal(authority.folder, text, ', listen: ":9840"')
    assert [line.split(" (")[0] if "YAML" in line else line for line in actual] == [
        line.replace("{folder}", str(authority.folder)) for line in problems
    ]


def test_missing(tmp_path: Path) -> None:
    """A missing file is named."""
    assert "gone.yml: can't be read: No such file" in str(refused(ACCOUNT + "web: {config_file: gone.yml}", folder=tmp_path))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x00"])
def test_not_text(tmp_path: Path, content: bytes) -> None:
    """A binary file is refused."""
    (tmp_path / "web.yml").write_bytes(content)
    assert "web.yml" in str(refused(ACCOUNT + "web: {config_file: web.yml}", folder=tmp_path))


def test_permissions(authority: Authority) -> None:
    """A file that others can write is refused. There is a warning about one that others can read."""
    users = f"basic_auth_users: {{a: {HASH}}}"
    [problem] = refusal(authority.folder, users, mode=0o660)
    assert problem == "web.yml: web.yml is writable by other users (mode 0660) (chmod go-w web.yml)"
    [warning] = with_file(authority.folder, users, mode=0o644).warnings
    assert "readable by every user of this machine" in str(warning)


def test_file_of_another_user(authority: Authority) -> None:
    """A file of another user is refused: that user could change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = authority.folder / "web.yml"
    with_file(authority.folder, f"basic_auth_users: {{a: {HASH}}}")
    os.chown(path, 12345, 12345)
    try:
        [problem] = refusal(authority.folder, f"basic_auth_users: {{a: {HASH}}}")
    finally:
        os.chown(path, 0, 0)
    assert problem == "web.yml: web.yml belongs to another user, who could add users to it (chown root web.yml)"


def test_key_permissions(tmp_path: Path) -> None:
    """A key that others can read is refused, also behind a link."""
    authority = Authority(tmp_path)
    _, key = authority.issue("web", "monitor.example.com")
    key.rename(tmp_path / "real.key")
    key.symlink_to(tmp_path / "real.key")
    (tmp_path / "real.key").chmod(0o640)
    [problem] = refusal(tmp_path, TLS)
    assert problem == "web.yml:1: the secret file web.key is open to others (mode 0640) (chmod 0400 web.key)"


def test_encrypted_key(authority: Authority) -> None:
    """An encrypted key is refused without asking for its password."""
    plain, key = authority.folder / "web.key", authority.folder / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", plain, "-aes256", "-passout", "pass:abcd", "-out", key], check=True, capture_output=True)
    key.chmod(0o600)
    [problem] = refusal(authority.folder, TLS.replace("web.key", "locked.key"))
    assert "locked.key is encrypted" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "sets neither a password nor TLS"),
        (f"basic_auth_users: {{a: {HASH.replace('$10$', '$05$')}}}", "cost 5 is weak"),
        (f"basic_auth_users: {{a: {HASH}, b: {HASH.replace('$10$', '$12$')}}}", "reveal which usernames exist"),
    ],
)
def test_warnings(authority: Authority, text: str, message: str) -> None:
    """There is a warning about what works but is probably not meant."""
    assert [message in str(warning) for warning in with_file(authority.folder, text).warnings] == [True]


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (f"{TLS}basic_auth_users: {{a: {HASH}}}", []),
        (f"basic_auth_users: {{a: {HASH}}}", ["without TLS"]),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n", []),
    ],
)
def test_open_port(authority: Authority, text: str, warned: list[str]) -> None:
    """Users or client certificates allow an open port; without TLS there is a warning."""
    config = with_file(authority.folder, text, ', listen: ":9840"')
    assert [word in str(warning) for word, warning in zip(warned, config.warnings, strict=True)] == [True] * len(warned)


@pytest.mark.parametrize("text", [TLS, f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: authority.pem\n"])
def test_open_port_without_a_password(authority: Authority, text: str) -> None:
    """TLS without authentication is refused on an open port unless it is accepted."""
    [problem] = refusal(authority.folder, text, ', listen: ":9840"')
    assert problem.startswith("config.yaml:3: web.listen opens the port to the network without a password or token")
    [warning] = with_file(authority.folder, text, ', listen: ":9840", insecure_listen: true').warnings
    assert "without a password" in str(warning)
