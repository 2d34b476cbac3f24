"""
The exporter-style web-config file and the TLS of the web port.

Source: the exporter toolkit's `docs/web-configuration.md`. Keys that this port cannot honour are refused, not ignored.
"""

import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from monitor.config.problems import translate
from monitor.config.secrets import Secret, SecretProblem, check_file
from monitor.config.types import Items, Section, problem
from monitor.config.yaml import YamlDocument, parse
from monitor.errors import Problem

FILE_LIMIT = 1024 * 1024

_HASH = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")
_HASH_FIX = "make one with: postpost-monitor config hash-password"
_LEAST_COST, _MOST_COST = 4, 16
_STRONG_COST = 10


def cost_of(hashed: Secret) -> int:
    """The cost of a bcrypt hash (2 to the power of it rounds); 0 if it is not one."""
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
        raise problem("is not a valid username", "use printable characters without ':'")
    return value


Hashed = Annotated[Secret, AfterValidator(_check_hash)]
User = Annotated[str, AfterValidator(_check_user)]

_SUITES_FIX = "remove it; the suites of the system's OpenSSL are used"


class TlsServerSettings(Section):
    """TLS. Without this section the port speaks plain HTTP. Paths are relative to the folder of the file."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "cipher_suites": _SUITES_FIX,
        "curve_preferences": _SUITES_FIX,
        "prefer_server_cipher_suites": _SUITES_FIX,
        "cert": "name a file with cert_file",
        "key": "name a file with key_file",
        "client_ca": "name a file with client_ca_file",
    }

    cert_file: str
    """PEM file with the certificate and the intermediate certificates. Reloaded when it changes."""
    key_file: str
    """PEM file with its key, not readable by other users and not encrypted. Reloaded when it changes."""
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    """Whether clients present a certificate. The toolkit's two other values, which do not verify it, are refused."""
    client_ca_file: str | None = None
    """PEM file with the authorities that sign client certificates. Reloaded when it changes."""
    client_allowed_sans: Items[str] = ()
    """Names (DNS, IP, e-mail, URI) of which a client certificate must have one; empty: any certificate of the authorities is allowed."""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    """Oldest TLS version."""
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    """Newest TLS version."""

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


class WebConfig(Section):
    """The file of `web.config_file`."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "http_server_config": "remove it; HTTP/1.1 with fixed security headers is served, a reverse proxy can set others",
        "rate_limit": "remove it; connections are limited without it",
    }

    tls_server_config: TlsServerSettings | None = None
    """TLS; without it plain HTTP."""
    basic_auth_users: Mapping[User, Hashed] = Field(default_factory=dict)
    """Usernames and the bcrypt hashes of their passwords, as made by `htpasswd -nBC 10` and `postpost-monitor config hash-password`."""

    @property
    def authenticates(self) -> bool:
        """Whether every client has to authenticate, with a password or a certificate."""
        tls = self.tls_server_config
        return bool(self.basic_auth_users) or (tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert")


@dataclass(slots=True)
class WebConfigReader:
    """
    Reads one web-config file and checks the files that it names.

    Attributes:
        config: the content of the file, as far as it can be used.
        warnings: what works but is probably not meant.
    """

    path: Path
    credentials_directory: Path | None = None
    config: WebConfig = field(default_factory=WebConfig)
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
            self._refuse(document.location(()), "must be keys with values", "such as basic_auth_users:")
        elif not document.problems:
            self._validate(document, document.data or {})

    def _text(self) -> str | None:
        place, name = str(self.path), self.path.name
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor has no path
                status = os.fstat(descriptor)
                content = stream.read(FILE_LIMIT)
            text = content.decode("utf-8-sig")
        except OSError as error:
            self._refuse(place, f"can't be read: {error.strerror}", "check the path in web.config_file and the file's permissions")
            return None
        except UnicodeDecodeError:
            self._refuse(place, "is not UTF-8 text", "save it as UTF-8")
            return None
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in (0, os.geteuid()):
            self._refuse(place, f"{name} belongs to another user, who could add users to it", f"chown root {self.path}")
        if mode & 0o022:
            self._refuse(place, f"{name} is writable by other users (mode {mode:04o})", f"chmod go-w {self.path}")
        if mode & 0o004 and "basic_auth_users" in text:
            message = f"the password hashes in {name} are readable by every user of this machine (mode {mode:04o})"
            self.warnings.append(Problem(place, message, f"chmod o-r {self.path}"))
        return text

    def _validate(self, document: YamlDocument, data: dict[str, Any]) -> None:
        users = data.get("basic_auth_users")
        if isinstance(users, dict):
            hashes = {name: Secret(value) if isinstance(value, str) else value for name, value in users.items()}
            data = {**data, "basic_auth_users": hashes}
        try:
            config = WebConfig.model_validate(data)
        except ValidationError as error:
            self.problems.extend(translate(detail, (), document, WebConfig) for detail in error.errors(include_url=False))
            return
        tls = config.tls_server_config
        if tls is not None:
            tls = tls.within(self.path.parent)
            try:
                server_context(tls, credentials_directory=self.credentials_directory)
            except SecretProblem as error:
                self._refuse(document.location(("tls_server_config",)), str(error), error.fix)
        self.config = config.model_copy(update={"tls_server_config": tls})
        self._warn(document)

    def _warn(self, document: YamlDocument) -> None:
        users = self.config.basic_auth_users
        location = document.location(("basic_auth_users",))
        costs = sorted({cost_of(hashed) for hashed in users.values()})
        if not users and self.config.tls_server_config is None:
            message = "sets neither a password nor TLS"
            self.warnings.append(Problem(document.name, message, "add basic_auth_users or tls_server_config"))
        if costs and costs[0] < _STRONG_COST:
            message = f"a bcrypt hash of cost {costs[0]} is weak"
            self.warnings.append(Problem(location, message, f"use a cost of at least {_STRONG_COST}"))
        if len(costs) > 1:
            message = "the hashes differ in cost: response times reveal which usernames exist"
            self.warnings.append(Problem(location, message, "make all of them with the same cost"))

    def _refuse(self, location: str, message: str, fix: str) -> None:
        self.problems.append(Problem(location, message, fix))


class ServerTls:
    """The TLS context of a listening port, *context* for new handshakes; a reload replaces it once the new one is complete."""

    def __init__(self, settings: TlsServerSettings) -> None:
        """Load the files. Raises `SecretProblem` if they can't be used."""
        self._settings = settings
        # Taken before the files are read: what changes in between is read once more.
        self._stamp = self._current_stamp()
        self.context = server_context(settings)

    def changed(self) -> bool:
        """Whether a file was changed since they were loaded or refused."""
        return self._current_stamp() != self._stamp

    def reload(self) -> None:
        """Load the files again. Raises `SecretProblem` if they can't be used; the context stays as it was."""
        self._stamp = self._current_stamp()
        self.context = server_context(self._settings)

    def _current_stamp(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_stamp(file) for file in self._settings.files)


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = Path(file).stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)


_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFICATION = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def server_context(tls: TlsServerSettings, *, credentials_directory: Path | None = None) -> ssl.SSLContext:
    """
    A TLS context for servers, made from the files.

    Args:
        tls: paths are absolute.
        credentials_directory: where systemd sets the permissions of files; None: `$CREDENTIALS_DIRECTORY`, if it is set.

    Raises:
        SecretProblem: a file can't be read or used, or its key is readable by other users; names the file.
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials_directory is None and handed_over:
        credentials_directory = Path(handed_over)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, Path(tls.cert_file), Path(tls.key_file), credentials_directory)
    if tls.client_ca_file is not None:
        _load_authorities(context, Path(tls.client_ca_file))
    context.verify_mode = _VERIFICATION[tls.client_auth_type]
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path, credentials_directory: Path | None) -> None:
    _check_readable(certificate, "the certificate")
    _check_readable(key, "the key", secret=True, credentials_directory=credentials_directory)
    try:
        context.load_cert_chain(certificate, key, password=lambda: _encrypted(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SecretProblem(
                f"the key {key} does not belong to the certificate {certificate}", "name the key of this certificate"
            ) from None
        message = f"{certificate} and {key} are not a certificate and its key in PEM form"
        raise SecretProblem(message, "both start with a line -----BEGIN") from None
    except OSError as error:
        raise SecretProblem(f"{certificate} or {key} can't be read: {error.strerror}", "check their permissions") from None


def _load_authorities(context: ssl.SSLContext, authorities: Path) -> None:
    _check_readable(authorities, "the clients' authority")
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError):
        message = f"{authorities} contains no certificate in PEM form"
        raise SecretProblem(message, "it starts with a line -----BEGIN CERTIFICATE-----") from None


def _encrypted(key: Path) -> str:
    # OpenSSL would ask the terminal.
    raise SecretProblem(f"the key {key} is encrypted", f"decrypt it: openssl pkey -in {key} -out plain.key")


def _check_readable(path: Path, what: str, *, secret: bool = False, credentials_directory: Path | None = None) -> None:
    """Raise `SecretProblem` unless *path* is a readable file and, if *secret*, closed to others; OpenSSL says less, and blocks on a FIFO."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretProblem(f"{what} {path} can't be read: {error.strerror}", "check the path and its permissions") from None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    check_file(path, status, credentials_directory, secret=secret)
