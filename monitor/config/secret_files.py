"""Reads secrets from the files that the configuration names, and judges every secret before a library can see it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic_core import PydanticCustomError

from monitor.config.secrets import Secret, SecretProblem, check_address, check_key, check_signing, read_secret_file
from monitor.config.sections.receivers import PUBLIC_URLS
from monitor.config.types import check_receiver_url
from monitor.config.web_config import WebConfig, WebConfigReader
from monitor.config.yaml import Path, YamlDocument, dotted
from monitor.errors import Problem
from monitor.http.addresses import is_loopback

Check = Callable[[Secret, str], Secret]

_UNUSABLE = Secret("unusable")
_FILE_FIX = "put it into a file of its own, closed to others, and name that with {key}_file"


def _check_receiver(secret: Secret, origin: str) -> Secret:
    check_address(secret, origin)
    try:
        check_receiver_url(secret.reveal())
    except PydanticCustomError as error:
        context = error.context or {}
        raise SecretProblem(f"{origin} {context['message']}", str(context["fix"])) from None
    return secret


# Up to the host, as SQLAlchemy reads a URL.
_POSTGRES_HOST = re.compile(r"postgresql(?:\+psycopg)?://(?:[^:/]*(?::[^@]*)?@)?(?:\[([^/?]+)\]|([^/:?]+))")


def _with_verified_tls(url: str) -> str:
    """*url*, asking for a verified certificate where the server is on another machine, unless it says otherwise."""
    match = _POSTGRES_HOST.match(url)
    if match is None or is_loopback(match[1] or match[2]) or "sslmode=" in url[match.end() :]:
        return url
    return f"{url}{'&' if '?' in url[match.end() :] else '?'}sslmode=verify-full"


def _check_database(secret: Secret, origin: str) -> Secret:
    check_address(secret, origin)
    if not re.match(r"(sqlite:///.|postgresql(\+psycopg)?://.)", secret.reveal()):
        raise SecretProblem(
            f"{origin} is no address of a database", "such as sqlite:////var/lib/postpost-monitor/monitor.db or postgresql://host/name"
        )
    return Secret(_with_verified_tls(secret.reveal()))


@dataclass(slots=True)
class SecretFiles:
    """
    The work on one document.

    Attributes:
        original: the document before expansion; tells a secret that is written out from one that is referred to.
        values: every secret that was met, for keeping it out of error texts.
        web_file: what the file of `web.config_file` says; None when it is broken.
    """

    document: YamlDocument
    original: YamlDocument
    folder: FilePath
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    values: set[str] = field(default_factory=set)
    web_file: WebConfig | None = field(default_factory=WebConfig)

    def resolve(self) -> None:
        """Put a `Secret` in place of every secret in the document's data. What can't be used is a problem."""
        data = self.document.data
        for index, account in _items(data, "accounts"):
            self._one(account, ("accounts", index), "api_key", check_key, needed=True)
            self._warn_about_form(account, ("accounts", index))
        for index, receiver in _items(data, "receivers"):
            self._receiver(receiver, ("receivers", index))
        if isinstance(heartbeat := data.get("heartbeat"), dict):
            self._one(heartbeat, ("heartbeat",), "url", _check_receiver)
        if isinstance(database := data.get("database"), dict):
            self._one(database, ("database",), "url", _check_database)
        if isinstance(web := data.get("web"), dict):
            self._one(web, ("web",), "token", check_key)
            self._read_web_file(web.get("config_file"))

    def _read_web_file(self, file: object) -> None:
        if not isinstance(file, str):
            return
        if not file.strip() or not file.isprintable():
            self._refuse(("web", "config_file"), "must be the path of a file", "")
            return
        reading = WebConfigReader(self.folder / file, self._credentials_directory)
        reading.read()
        self.web_file = None if reading.problems else reading.found
        self.problems.extend(reading.problems)
        self.warnings.extend(reading.warnings)

    @property
    def _credentials_directory(self) -> FilePath | None:
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        return FilePath(directory) if directory else None

    def _receiver(self, receiver: dict[str, Any], path: Path) -> None:
        kind = receiver.get("type")
        if receiver.get("url") is None and receiver.get("url_file") is None and isinstance(kind, str) and kind in PUBLIC_URLS:
            receiver["url"] = Secret(PUBLIC_URLS[kind])
        self._one(receiver, path, "url", _check_receiver, needed=True)
        self._one(receiver, path, "routing_key", check_key)
        self._one(receiver, path, "api_key", check_key)
        self._signing(receiver, path)
        if isinstance(template := receiver.get("template"), str):
            self.values.add(template)
            receiver["template"] = Secret(template)
        if isinstance(headers := receiver.get("headers"), dict):
            for name, value in headers.items():
                if isinstance(value, str):
                    self.values.add(value)
                    headers[name] = Secret(value)

    def _one(self, section: dict[str, Any], path: Path, key: str, check: Check, *, needed: bool = False) -> None:
        """Settle the pair *key* and *key*`_file` of one section."""
        file_key = f"{key}_file"
        value, file = section.get(key), section.get(file_key)
        if value is not None and file is not None:
            self._refuse((*path, file_key), f"and {key} are both given", "keep one of them")
        elif file is not None:
            section[key] = self._from_file(file, (*path, file_key), check)
        elif isinstance(value, str):
            section[key] = self._written(value, (*path, key), check)
        elif value is None and needed:
            self._refuse(path, f"needs {key} or {file_key}", f"add {file_key}: and the path of a file that holds it")
            section[key] = _UNUSABLE

    def _signing(self, receiver: dict[str, Any], path: Path) -> None:
        """Gather the signing secrets, wherever they are given, in `secrets`."""
        found: list[Secret] = []
        if isinstance(secret := receiver.get("secret"), str):
            receiver["secret"] = self._written(secret, (*path, "secret"), check_signing)
            found.append(receiver["secret"])
        if (file := receiver.get("secret_file")) is not None:
            found.append(self._from_file(file, (*path, "secret_file"), check_signing))
        for index, file in enumerate(_texts(receiver, "secret_files")):
            found.append(self._from_file(file, (*path, "secret_files", index), check_signing))
        for index, secret in enumerate(_texts(receiver, "secrets")):
            found.append(self._written(secret, (*path, "secrets", index), check_signing))
        if found and isinstance(receiver.get("secrets", []), list):
            receiver["secrets"] = found

    def _from_file(self, file: object, path: Path, check: Check) -> Secret:
        if not isinstance(file, str) or not file.strip() or not file.isprintable():
            self._refuse(path, "must be the path of a file", "")
            return _UNUSABLE
        place = self.folder / file
        try:
            secret = read_secret_file(place, credentials_directory=self._credentials_directory)
            self.values.add(secret.reveal())
            return check(secret, f"the secret in {place}")
        except SecretProblem as error:
            self.problems.append(Problem(self.document.location(path), f"{dotted(path)}: {error}", error.fix))
            return _UNUSABLE

    def _written(self, value: str, path: Path, check: Check) -> Secret:
        self.values.add(value)
        literal = self.original.at(path)
        if check in (check_key, check_signing) and isinstance(literal, str) and "${" not in literal:
            self._warn_about_place(path)
        try:
            return check(Secret(value), dotted(path))
        except SecretProblem as error:
            self.problems.append(Problem(self.document.location(path), str(error), error.fix))
            return _UNUSABLE

    def _warn_about_place(self, path: Path) -> None:
        fix = _FILE_FIX.format(key=path[-1]) if isinstance(path[-1], str) else "name files with secret_files"
        self.warnings.append(Problem(self.document.location(path), f"{dotted(path)} is a secret written into the configuration", fix))

    def _warn_about_form(self, account: dict[str, Any], path: Path) -> None:
        key = account.get("api_key")
        if isinstance(key, Secret) and key is not _UNUSABLE and not key.reveal().startswith("sk_"):
            where = (*path, "api_key_file" if account.get("api_key_file") else "api_key")
            message = f"{dotted(where)} does not look like an API key: those begin with sk_"
            self.warnings.append(Problem(self.document.location(where), message, "check that it is the key and not its name"))

    def _refuse(self, path: Path, message: str, fix: str) -> None:
        self.problems.append(Problem(self.document.location(path), f"{dotted(path)} {message}", fix))


def _items(data: Mapping[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    found = data.get(key)
    return [(index, item) for index, item in enumerate(found) if isinstance(item, dict)] if isinstance(found, list) else []


def _texts(section: Mapping[str, Any], key: str) -> list[str]:
    found = section.get(key)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
