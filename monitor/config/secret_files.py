"""Reads secrets from the files that the configuration names, and checks every secret before a library sees it."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import quote, unquote

from pydantic_core import PydanticCustomError

from monitor import extras
from monitor.config.secrets import Secret, SecretProblem, check_address, check_key, check_signing, read_secret_file
from monitor.config.sections.receivers import PUBLIC_URLS
from monitor.config.types import check_receiver_url
from monitor.config.web_config import WebConfig, WebConfigReader
from monitor.config.yaml import Path, YamlDocument, dotted
from monitor.errors import ConfigError, Problem
from monitor.http.addresses import is_forbidden, is_loopback
from monitor.http.proxy import proxy_of

Check = Callable[[Secret, str], Secret]

_UNUSABLE = Secret("unusable")


_ENCODED = "write @ in a user name or password as %40, : as %3A, / as %2F, % as %25"


def _check_credentials(secret: Secret, origin: str) -> Secret:
    """*secret*, if it is clear where the user name and password in it end: what is taken for the host may be quoted in errors."""
    check_address(secret, origin)
    match = re.match(r"([a-z][a-z0-9+.-]*)://([^/?#\\]*)(.*)", secret.reveal(), re.IGNORECASE)
    if match is None:
        return secret
    # A colon without a port is the beginning of a password that holds a slash.
    cut = (
        match[1].lower() in {"http", "https"}
        and "@" in match[3]
        and re.search(r"(?:^[^\[\]]*|\]):[0-9]*[^0-9]", match[2].rpartition("@")[2])
    )
    if match[2].count("@") > 1 or cut:
        raise SecretProblem(f"{origin} has a user name or password that is not encoded", _ENCODED)
    return secret


def _check_receiver(secret: Secret, origin: str) -> Secret:
    _check_credentials(secret, origin)
    try:
        check_receiver_url(secret.reveal())
    except PydanticCustomError as error:
        context = error.context or {}
        raise SecretProblem(f"{origin} {context['message']}", str(context["fix"])) from None
    return secret


def _check_apprise(secret: Secret, origin: str) -> Secret:
    """Any scheme; a host is refused where it is one by its spelling. What the library looks up later is not vetted."""
    _check_credentials(secret, origin)
    match = re.match(r"[a-z][a-z0-9+.-]*://(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^/?#:@]*)", secret.reveal(), re.IGNORECASE)
    if match is None:
        raise SecretProblem(f"{origin} is not an address of Apprise", "such as ntfys://ntfy.example.org/topic")
    # A number is the id of a bot, not an address.
    if not match[1].isdigit() and is_forbidden(match[1].strip("[]")):
        raise SecretProblem(f"{origin} points to a link-local or cloud-metadata address", "receivers are never there; check the address")
    return secret


def _check_proxy(secret: Secret, origin: str) -> Secret:
    _check_credentials(secret, origin)
    if re.search(r"[/?#].*@", secret.reveal().partition("://")[2]):
        raise SecretProblem(f"{origin} has a user name or password that is not encoded", _ENCODED)
    try:
        proxy = proxy_of(secret.reveal())
    except ValueError as error:
        raise SecretProblem(f"{origin} {error}", "such as http://proxy.example.org:3128; https proxies are not supported") from None
    if is_forbidden(proxy.host):
        raise SecretProblem(f"{origin} points to a link-local or cloud-metadata address", "proxies are never there; check the address")
    return secret


# Up to the host, as SQLAlchemy reads a URL.
_POSTGRES_HOST = re.compile(r"postgresql(?:\+psycopg)?://(?:[^:/]*(?::[^@]*)?@)?(?:\[([^/?]+)\]|([^/:?]*))")

_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""The file with the system's certificate authorities: of Debian, Red Hat, and others. The OpenSSL inside psycopg knows none of them."""


# What a library takes for the host may be the rest of a password, and would be quoted in its errors.
_POSTGRES_URL = re.compile(
    r"postgresql(?:\+psycopg)?://(?:[^:/@]*(?::[^@]*)?@)?(?:\[[0-9A-Fa-f:.]+\]|[\w.-]*)(?::[0-9]{1,5})?(?:/[^@?]*)?(?:\?.*)?"
)


def _with_verified_tls(url: str) -> str:
    """*url*, asking for a verified certificate where a server is on another machine, unless it says otherwise."""
    match = _POSTGRES_HOST.match(url)
    if match is None:
        return url
    rest = url[match.end() :]
    named = [
        host
        for hosts in re.findall(r"[?&]host=([^&]*)", rest)
        for one in unquote(hosts).split(",")
        for host in [one.partition(":")[0] if one.count(":") == 1 else one]
    ]
    if all(not host or host.startswith("/") or is_loopback(host) for host in (match[1] or match[2], *named)):
        return url
    more = [] if "sslmode=" in rest else ["sslmode=verify-full"]
    if "sslrootcert=" not in rest and (more or "sslmode=verify-" in rest):
        more.append(f"sslrootcert={_authorities()}")
    return "&".join([url, *more] if "?" in rest or not more else [f"{url}?{more[0]}", *more[1:]])


def _authorities() -> str:
    named = (os.environ.get("PGSSLROOTCERT"), os.environ.get("SSL_CERT_FILE"))
    files = (*(quote(name) for name in named if name), *(name for name in _AUTHORITIES if FilePath(name).exists()))
    return files[0] if files else "system"


def read_database_url(path: FilePath, environ: Mapping[str, str]) -> Secret:
    """The address of a database in the file at *path*, as `database.url_file` names one; raises ConfigError."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    try:
        secret = read_secret_file(path, credentials_directory=FilePath(directory) if directory else None)
        return _check_database(secret, f"the secret in {path}")
    except SecretProblem as error:
        raise ConfigError((Problem("FILE", str(error), error.fix),)) from None


def _check_database(secret: Secret, origin: str) -> Secret:
    if re.match(r"\s*\w+\s*=", secret.reveal()):
        fix = "write an address: postgresql://host/name, and before the host the user and password, as postgresql.md shows"
        raise SecretProblem(f"{origin} is a list of parameters, not a database URL", fix)
    check_address(secret, origin)
    if secret.reveal().startswith("postgresql"):
        from monitor.config.postgres_url import with_hosts  # noqa: PLC0415 - SQLite needs none of it

        secret = Secret(with_hosts(secret.reveal()))
    if not re.match(r"(sqlite:///.|postgresql(\+psycopg)?://.)", secret.reveal()):
        fix = "such as sqlite:////var/lib/postpost-monitor/monitor.db or postgresql://host/name"
        if re.match(r"postgres(\+\w+)?:|postgresql\+", secret.reveal()):
            fix = "write postgresql:// and leave the rest as it is"
        raise SecretProblem(f"{origin} is not a database URL", fix)
    if secret.reveal().startswith("postgresql") and not _POSTGRES_URL.fullmatch(secret.reveal()):
        raise SecretProblem(f"{origin} is not a valid PostgreSQL URL", _ENCODED)
    if host := _POSTGRES_HOST.match(secret.reveal()):
        from monitor.config.postgres_url import problem_after_host  # noqa: PLC0415 - SQLite needs none of it

        if found := problem_after_host(secret.reveal()[host.end() :]):
            raise SecretProblem(f"{origin} {found[0]}", found[1])
    if secret.reveal().startswith("postgresql") and (advice := extras.missing("psycopg")):
        raise SecretProblem(f"{origin} is the address of a PostgreSQL server, which needs the library psycopg", advice)
    return Secret(_with_verified_tls(secret.reveal()))


@dataclass(slots=True)
class SecretFiles:
    """
    The secrets of one document.

    Attributes:
        original: the document before expansion; distinguishes a secret in plain text from a reference.
        values: every secret, to be masked in error texts.
        web_file: the content of the file of `web.config_file`; None if it is broken.
    """

    document: YamlDocument
    original: YamlDocument
    folder: FilePath
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    values: set[str] = field(default_factory=set)
    web_file: WebConfig | None = field(default_factory=WebConfig.defaults)
    files: set[str] = field(default_factory=set)

    def resolve(self) -> None:
        """Put a `Secret` in place of every secret in the document's data. What can't be used is a problem."""
        for index, account in self.document.items("accounts"):
            self._pair(account, ("accounts", index), "api_key", check_key, needed=True)
            self._warn_about_form(account, ("accounts", index))
        for index, receiver in self.document.items("receivers"):
            self._receiver(receiver, ("receivers", index))
        for name, key, check in (("heartbeat", "url", _check_receiver), ("database", "url", _check_database), ("web", "token", check_key)):
            if isinstance(section := self.document.at((name,)), dict):
                self._pair(section, (name,), key, check)
        if isinstance(file := self.document.at(("web", "config_file")), str):
            self._read_web_file(file)

    def _read_web_file(self, file: str) -> None:
        path = self._file(file, ("web", "config_file"))
        if path is None:
            return
        reader = WebConfigReader(path, self._credentials_directory)
        reader.read()
        self.web_file = None if reader.problems else reader.config
        self.problems.extend(reader.problems)
        self.warnings.extend(reader.warnings)

    @property
    def _credentials_directory(self) -> FilePath | None:
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        return FilePath(directory) if directory else None

    def _receiver(self, receiver: dict[str, Any], path: Path) -> None:
        kind = receiver.get("type")
        if receiver.get("url") is None and receiver.get("url_file") is None and isinstance(kind, str) and kind in PUBLIC_URLS:
            receiver["url"] = Secret(PUBLIC_URLS[kind])
        self._pair(receiver, path, "url", _check_apprise if kind == "apprise" else _check_receiver, needed=True)
        self._pair(receiver, path, "routing_key", check_key)
        self._pair(receiver, path, "api_key", check_key)
        self._pair(receiver, path, "proxy", _check_proxy)
        self._signing(receiver, path)
        if isinstance(template := receiver.get("template"), str):
            self.values.add(template)
            receiver["template"] = Secret(template)
        if isinstance(headers := receiver.get("headers"), dict):
            for name, value in headers.items():
                if isinstance(value, str):
                    self.values.add(value)
                    headers[name] = Secret(value)

    def _pair(self, section: dict[str, Any], path: Path, key: str, check: Check, *, needed: bool = False) -> None:
        """Resolve the pair *key* and *key*`_file` of one section."""
        file_key = f"{key}_file"
        value, file = section.get(key), section.get(file_key)
        if value is not None and file is not None:
            self._refuse((*path, file_key), f"and {key} are both given", "keep one of them")
        elif file is not None:
            section[key] = self._from_file(file, (*path, file_key), check)
        elif isinstance(value, str):
            section[key] = self._written(value, (*path, key), check)
        elif value is None and needed:
            self._refuse(path, f"needs {key} or {file_key}", f"name a file that contains it with {file_key}")
            section[key] = _UNUSABLE

    def _signing(self, receiver: dict[str, Any], path: Path) -> None:
        """Collect the signing secrets from all their keys in `secrets`."""
        secrets: list[Secret] = []
        if isinstance(secret := receiver.get("secret"), str):
            receiver["secret"] = self._written(secret, (*path, "secret"), check_signing)
            secrets.append(receiver["secret"])
        if (file := receiver.get("secret_file")) is not None:
            secrets.append(self._from_file(file, (*path, "secret_file"), check_signing))
        for key, read in (("secret_files", self._from_file), ("secrets", self._written)):
            given = receiver.get(key)
            texts = [text for text in given if isinstance(text, str)] if isinstance(given, list) else []
            secrets.extend(read(text, (*path, key, index), check_signing) for index, text in enumerate(texts))
        if secrets and isinstance(receiver.get("secrets", []), list):
            receiver["secrets"] = secrets

    def _file(self, file: object, path: Path) -> FilePath | None:
        if isinstance(file, str) and file.strip() and file.isprintable():
            self.files.add(str(self.folder / file))
            return self.folder / file
        self._refuse(path, "must be the path of a file", "")
        return None

    def _from_file(self, file: object, path: Path, check: Check) -> Secret:
        place = self._file(file, path)
        if place is None:
            return _UNUSABLE
        try:
            secret = read_secret_file(place, credentials_directory=self._credentials_directory, written=str(file))
            self.values.add(secret.reveal())
            return check(secret, f"the secret in {place}")
        except SecretProblem as error:
            self.problems.append(Problem(self.document.location(path), f"{dotted(path)}: {error}", error.fix))
            return _UNUSABLE

    def _written(self, value: str, path: Path, check: Check) -> Secret:
        self.values.add(value)
        literal = self.original.at(path)
        if check in (check_key, check_signing) and isinstance(literal, str) and "${" not in literal:
            key = f"{path[-1]}_file" if isinstance(path[-1], str) else "secret_files"
            message = f"is a secret in plain text{self._exposure(path)}"
            self._warn(path, message, f"put it into a file that only the monitor can read, and name that with {key}")
        try:
            return check(Secret(value), dotted(path))
        except SecretProblem as error:
            self.problems.append(Problem(self.document.location(path), str(error), error.fix))
            return _UNUSABLE

    def _exposure(self, path: Path) -> str:
        """How the file of the value at *path* is open to everybody on this machine; empty if it is not."""
        file = FilePath(self.document.file(path))
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            return ""
        return f", and every user of this machine can read the file (mode {mode:04o})" if mode & 0o004 else ""

    def _warn_about_form(self, account: dict[str, Any], path: Path) -> None:
        key = account.get("api_key")
        if isinstance(key, Secret) and key is not _UNUSABLE and not key.reveal().startswith("sk_"):
            where = (*path, "api_key_file" if account.get("api_key_file") else "api_key")
            self._warn(where, "does not look like an API key, which starts with sk_", "check that it is the key and not its name")

    def _warn(self, path: Path, message: str, fix: str) -> None:
        self.warnings.append(Problem(self.document.location(path), f"{dotted(path)} {message}", fix))

    def _refuse(self, path: Path, message: str, fix: str) -> None:
        self.problems.append(Problem(self.document.location(path), f"{dotted(path)} {message}", fix))
