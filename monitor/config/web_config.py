"""
The exporter-style web-config file and its TLS context.

Source: the exporter toolkit's `docs/web-configuration.md`. What can't be kept here is refused and not ignored: client
certificates that nobody verifies, TLS below 1.2, curves.
"""

import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field, ValidationError, model_validator

from monitor.config.problems import translate
from monitor.config.secrets import Secret, SecretProblem, check_file
from monitor.config.types import Items, Section, Switch, problem
from monitor.config.yaml import YamlDocument, parse
from monitor.errors import Problem

FILE_LIMIT = 1024 * 1024

_HASH = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")
_HASH_FIX = "make one with: postpost-monitor config hash-password"
_LEAST_COST, _MOST_COST = 4, 16
_STRONG_COST = 10
_SHARED = "others may change {path} (mode {mode:04o}): whoever can could let themselves in"


def cost_of(hashed: Secret) -> int:
    """How dear a bcrypt hash is to try out: 2 to the power of this many rounds; 0 for what is none."""
    match = _HASH.fullmatch(hashed.reveal())
    return int(match["cost"]) if match else 0


def _check_hash(value: Secret) -> Secret:
    if not _HASH.fullmatch(value.reveal()):
        raise problem("is not a bcrypt hash", _HASH_FIX)
    if not _LEAST_COST <= cost_of(value) <= _MOST_COST:
        raise problem(f"has a cost that is not between {_LEAST_COST} and {_MOST_COST}", _HASH_FIX)
    return value


def _check_user(value: str) -> str:
    if not value.strip() or ":" in value or not value.isprintable() or len(value) > 255:
        raise problem("is no usable name of a user", "use printable characters without ':'")
    return value


def _check_header(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,4000}", value) or value != value.strip():
        raise problem("must be 1 to 4000 visible ASCII characters on one line", "remove line breaks and outer blanks")
    return value


Hashed = Annotated[Secret, AfterValidator(_check_hash)]
User = Annotated[str, AfterValidator(_check_user)]
HeaderText = Annotated[str, AfterValidator(_check_header)]

CipherSuite = Literal[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
]


class TlsServerSettings(Section):
    """TLS. Without this section the port speaks plain HTTP. Paths are relative to the folder of the file."""

    cert_file: str
    """PEM file with the certificate and the certificates between it and the authority. Read again when it changes."""
    key_file: str
    """PEM file with its key, closed to others and not encrypted. Read again when it changes."""
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    """Whether clients show a certificate. One that nobody verifies proves nothing: the toolkit's other two words are refused."""
    client_ca_file: str | None = None
    """PEM file with the authorities of the clients' certificates."""
    client_allowed_sans: Items[str] = ()
    """Names (DNS, IP, e-mail, URI) of which a client's certificate must hold one; empty: any certificate of the authorities will do."""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    """Oldest version that is spoken."""
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    """Newest version that is spoken."""
    cipher_suites: Items[CipherSuite] = ()
    """Cipher suites for TLS 1.2, as Go names them; empty: the good ones. Those of TLS 1.3 can't be chosen."""
    prefer_server_cipher_suites: Switch = True
    """Whether the port's order of cipher suites counts, and not the client's."""

    @model_validator(mode="after")
    def _fits_together(self) -> "TlsServerSettings":
        wants_certificates = self.client_auth_type != "NoClientCert"
        if wants_certificates and self.client_ca_file is None:
            raise problem(f"client_auth_type {self.client_auth_type} needs client_ca_file", "name the file with the clients' authority")
        if self.client_ca_file is not None and not wants_certificates:
            raise problem("client_ca_file needs a client_auth_type", "such as RequireAndVerifyClientCert")
        if self.client_allowed_sans and self.client_auth_type != "RequireAndVerifyClientCert":
            raise problem("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert", "")
        if self.min_version > self.max_version:
            raise problem("min_version is newer than max_version", "")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read."""
        return (self.cert_file, self.key_file, *((self.client_ca_file,) if self.client_ca_file else ()))

    def within(self, folder: Path) -> "TlsServerSettings":
        """The same with paths that start in *folder*."""
        paths = {name: getattr(self, name) for name in ("cert_file", "key_file", "client_ca_file")}
        return self.model_copy(update={name: str(folder / path) for name, path in paths.items() if path is not None})


class HeaderSettings(Section):
    """Headers of every answer, in place of our own of the same name."""

    strict_transport_security: HeaderText | None = Field(default=None, alias="Strict-Transport-Security")
    """Tells browsers to come by TLS only, such as `max-age=31536000`. It holds for every port of the name."""
    x_content_type_options: Literal["nosniff"] | None = Field(default=None, alias="X-Content-Type-Options")
    """Ours is `nosniff`."""
    x_frame_options: Literal["deny", "sameorigin"] | None = Field(default=None, alias="X-Frame-Options")
    """Ours is `deny`."""
    x_xss_protection: HeaderText | None = Field(default=None, alias="X-XSS-Protection")
    """For browsers of old."""
    content_security_policy: HeaderText | None = Field(default=None, alias="Content-Security-Policy")
    """Ours allows what the status page needs and nothing else."""

    def given(self) -> dict[str, str]:
        """Name → value of those that are set."""
        return {name: value for name, value in self.masked().items() if value is not None}


class HttpServerSettings(Section):
    """What is said besides the answers."""

    http2: Switch = True
    """Taken for the form's sake: HTTP/1.1 is spoken in any case."""
    headers: HeaderSettings = HeaderSettings()
    """Headers of every answer."""


class WebConfig(Section):
    """The file of `web.config_file`."""

    tls_server_config: TlsServerSettings | None = None
    """TLS; without it plain HTTP."""
    http_server_config: HttpServerSettings = HttpServerSettings()
    """Headers."""
    basic_auth_users: Mapping[User, Hashed] = Field(default_factory=dict)
    """Users and the bcrypt hashes of their passwords, as `htpasswd -nBC 10` and `postpost-monitor config hash-password` make them."""

    @property
    def authenticates(self) -> bool:
        """Whether nobody comes in who has not shown who they are."""
        tls = self.tls_server_config
        return bool(self.basic_auth_users) or (tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert")


@dataclass(slots=True)
class WebConfigReader:
    """
    The work on one file.

    Attributes:
        found: what it says, as far as it can be used.
        problems: what is wrong with it, each with file and line.
        warnings: what works but is probably not meant.
    """

    path: Path
    credentials_directory: Path | None = None
    found: WebConfig = field(default_factory=WebConfig)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def read(self) -> None:
        """Read the file and every file that it names."""
        text = self._text()
        if text is None:
            return
        document = parse(text, str(self.path))
        self.problems.extend(document.problems)
        if document.data is not None and not isinstance(document.data, dict):
            self._refuse(document, (), "must be keys with values", "such as basic_auth_users:")
        elif not document.problems:
            self._judge(document, document.data or {})

    def _text(self) -> str | None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor has no path
                status = os.fstat(descriptor)
                content = stream.read(FILE_LIMIT)
            text = content.decode("utf-8-sig")
        except OSError as error:
            self._note(str(self.path), f"can't be read: {error.strerror}", "check the path of web.config_file, and who may read it")
            return None
        except UnicodeDecodeError:
            self._note(str(self.path), "is not UTF-8 text", "save it as UTF-8")
            return None
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in (0, os.geteuid()):
            message = f"{self.path.name} belongs to another user, who could let themselves in"
            self._note(str(self.path), message, f"chown root {self.path}")
        if mode & 0o022:
            self._note(str(self.path), _SHARED.format(path=self.path.name, mode=mode), f"chmod go-w {self.path}")
        if mode & 0o004 and "basic_auth_users" in text:
            warning = f"everybody on this machine can read the hashes in {self.path.name} (mode {mode:04o})"
            self.warnings.append(Problem(str(self.path), warning, f"chmod o-r {self.path}"))
        return text

    def _judge(self, document: YamlDocument, data: dict[str, Any]) -> None:
        try:
            found = WebConfig.model_validate(
                {name: _secret_hashes(value) if name == "basic_auth_users" else value for name, value in data.items()}
            )
        except ValidationError as error:
            self.problems.extend(translate(one, (), document, WebConfig) for one in error.errors(include_url=False))
            return
        tls = found.tls_server_config
        if tls is not None:
            tls = tls.within(self.path.parent)
            try:
                server_context(tls, credentials_directory=self.credentials_directory)
            except SecretProblem as error:
                self._refuse(document, ("tls_server_config",), str(error), error.fix)
        self.found = found.model_copy(update={"tls_server_config": tls})
        self._doubt(document)

    def _doubt(self, document: YamlDocument) -> None:
        users = self.found.basic_auth_users
        location = document.location(("basic_auth_users",))
        costs = sorted({cost_of(hashed) for hashed in users.values()})
        if not users and self.found.tls_server_config is None:
            self.warnings.append(
                Problem(document.name, "asks for no password and no encryption", "add basic_auth_users or tls_server_config")
            )
        if costs and costs[0] < _STRONG_COST:
            message = f"a hash of cost {costs[0]} is found out fast by whoever gets hold of it"
            self.warnings.append(Problem(location, message, f"cost {_STRONG_COST} is a sensible least"))
        if len(costs) > 1:
            message = "the hashes differ in cost: the time of an answer tells who is a user"
            self.warnings.append(Problem(location, message, "make all of them with the same cost"))

    def _refuse(self, document: YamlDocument, path: tuple[str | int, ...], message: str, fix: str) -> None:
        self._note(document.location(path), message, fix)

    def _note(self, location: str, message: str, fix: str) -> None:
        self.problems.append(Problem(location, message, fix))


def _secret_hashes(users: Any) -> Any:
    return {name: Secret(value) if isinstance(value, str) else value for name, value in users.items()} if isinstance(users, dict) else users


CIPHERS: dict[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Go's name → OpenSSL's, of every suite of TLS 1.2 that is forward secret and authenticated."""

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFICATION = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class _Tls(Protocol):
    """What `TlsServerSettings` says, paths absolute."""

    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...
    @property
    def client_auth_type(self) -> str: ...
    @property
    def client_ca_file(self) -> str | None: ...
    @property
    def min_version(self) -> str: ...
    @property
    def max_version(self) -> str: ...
    @property
    def cipher_suites(self) -> tuple[CipherSuite, ...]: ...
    @property
    def prefer_server_cipher_suites(self) -> bool: ...


def server_context(tls: _Tls, *, credentials_directory: Path | None = None) -> ssl.SSLContext:
    """
    What new connections are encrypted with, read from the files afresh.

    Args:
        tls: paths are absolute.
        credentials_directory: where systemd has seen to the rights of files; None: `$CREDENTIALS_DIRECTORY`, if there is one.

    Raises:
        SecretProblem: a file can't be read or used, or its key is open to others; names the file.
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials_directory is None and handed_over:
        credentials_directory = Path(handed_over)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.cipher_suites:
        context.set_ciphers(":".join(CIPHERS[name] for name in tls.cipher_suites))
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, Path(tls.cert_file), Path(tls.key_file), credentials_directory)
    if tls.client_ca_file is not None:
        _load_authorities(context, Path(tls.client_ca_file))
    context.verify_mode = _VERIFICATION[tls.client_auth_type]
    return context


def stamp_of(files: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """What changes when one of *files* is replaced or written; a missing one counts as empty."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = Path(file).stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path, credentials_directory: Path | None) -> None:
    _open_once(certificate, "the certificate")
    _open_once(key, "the key", secret=True, credentials_directory=credentials_directory)
    try:
        context.load_cert_chain(certificate, key, password=lambda: _encrypted(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key {key} is not the one of the certificate {certificate}"
            raise SecretProblem(message, "name the two that were made together") from None
        message = f"{certificate} and {key} are not a certificate and its key in PEM form"
        raise SecretProblem(message, "both begin with a line -----BEGIN") from None
    except OSError as error:
        raise SecretProblem(f"{certificate} or {key} can't be read: {error.strerror}", "check who may read them") from None


def _load_authorities(context: ssl.SSLContext, authorities: Path) -> None:
    _open_once(authorities, "the clients' authority")
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError):
        raise SecretProblem(
            f"{authorities} holds no certificate in PEM form", "it begins with a line -----BEGIN CERTIFICATE-----"
        ) from None


def _encrypted(key: Path) -> str:
    # OpenSSL would ask the terminal.
    raise SecretProblem(f"the key {key} is encrypted, and nobody is there to type its password", f"openssl pkey -in {key} -out plain.key")


def _open_once(path: Path, what: str, *, secret: bool = False, credentials_directory: Path | None = None) -> None:
    """See that *path* is a file that can be read, and if it is *secret*, by nobody else; OpenSSL's errors tell less, and a FIFO blocks it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretProblem(f"{what} {path} can't be read: {error.strerror}", "check the path, and who may read it") from None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    check_file(path, status, credentials_directory, secret=secret)
