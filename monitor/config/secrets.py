"""Secrets: values that are never printed, and the rules for reading them from files."""

import base64
import binascii
import hmac
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from monitor.config.types import problem

MASK = "<secret>"
FILE_LIMIT = 4096

KEPT_IN = Path("/etc/postpost-monitor/credentials")
"""Folder of the credentials that systemd passes on. On the command line it is `$CREDENTIALS_DIRECTORY` too, with its permissions checked."""

_KEY = re.compile(r"[\x21-\x7e]{8,512}")
_URL = re.compile(r"[\x21-\x7e]{8,4095}")
_SIGNING_PREFIX = "whsec_"


class SecretProblem(ValueError):
    """A secret can't be used. Contains its origin and what to do, never its value."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class Secret:
    """A text that only `reveal()` returns. It prints as `<secret>`, and equals other secrets only, compared in constant time."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. To be called as late as possible, where it is sent."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __reduce__(self) -> tuple[Callable[[str], str], tuple[str]]:
        return (str, (MASK,))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        masked = core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema())
        return core_schema.no_info_plain_validator_function(cls._accept, serialization=masked)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "writeOnly": True}

    @classmethod
    def _accept(cls, value: object) -> "Secret":
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return cls(value)
        raise problem("must be text", "put it in quotes")


def check_key(secret: Secret, origin: str) -> Secret:
    """
    *secret*, if it can be sent in a header: 8 to 512 visible ASCII characters.

    Raises:
        SecretProblem: naming *origin*, never the content.

    Source: reliability.md 4.3.
    """
    return _check(secret, origin, _KEY, "512")


def check_address(secret: Secret, origin: str) -> Secret:
    """*secret*, if it consists of visible ASCII characters, as a URL does; else raises `SecretProblem`."""
    return _check(secret, origin, _URL, "4095")


def _check(secret: Secret, origin: str, pattern: re.Pattern[str], most: str) -> Secret:
    value = secret.reveal()
    if pattern.fullmatch(value):
        return secret
    if not value.strip():
        raise SecretProblem(f"{origin} is empty", "put the secret into it, on one line")
    if "\n" in value or "\r" in value:
        raise SecretProblem(
            f"{origin} contains a line break", "write exactly one line, without Windows line endings: printf %s SECRET > FILE"
        )
    if any(character.isspace() for character in value):
        raise SecretProblem(f"{origin} contains a blank", "remove spaces and tabs")
    if not value.isascii() or not value.isprintable():
        raise SecretProblem(f"{origin} contains a character that is not visible ASCII", "copy the secret again, as plain text")
    raise SecretProblem(f"{origin} is not between 8 and {most} characters long", "copy the secret again")


def check_signing(secret: Secret, origin: str) -> Secret:
    """
    *secret*, if it is a signing secret: `whsec_` and the strict base64 of 24 to 64 bytes; else raises `SecretProblem`.

    Source: Standard Webhooks, "Signature scheme".
    """
    value = secret.reveal()
    fix = 'make one with: echo "whsec_$(head -c 32 /dev/urandom | base64)"'
    if not value.startswith(_SIGNING_PREFIX):
        raise SecretProblem(f"{origin} does not start with whsec_", fix)
    try:
        key = base64.b64decode(value.removeprefix(_SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretProblem(f"{origin} is not base64 after whsec_", fix) from None
    if not 24 <= len(key) <= 64:
        raise SecretProblem(f"{origin} is not 24 to 64 bytes long", fix)
    return secret


def names_file(text: str) -> bool:
    """Whether *text* is a path by its spelling; a secret in its place must not be quoted."""
    return text.startswith(("/", "./", "../")) and not re.search(r"[\s@?=]|//", text)


def read_secret_file(path: Path, *, credentials_directory: Path | None = None, written: str = "") -> Secret:
    """
    The single line of a secret file, without its line ending.

    The file must be regular, at most 4 KiB, owned by root or by this user, and not accessible to others, unless it
    is in *credentials_directory*, where systemd sets the permissions. Of its content only the encoding is checked.
    *written*: how the path is written; a file that does not exist is not named unless that is a path by its spelling.

    Raises:
        SecretProblem: naming the file and what to do, never its content.

    Source: reliability.md 4.3.
    """
    try:
        # Not blocking: opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not isinstance(error, PermissionError) and not names_file(written or str(path)):
            raise SecretProblem("there is no such file", _NO_PATH) from None
        raise SecretProblem(
            f"the secret file {path} can't be read: {error.strerror}", _READ_FIX.get(type(error), "check the path")
        ) from None
    try:
        check_file(path, os.fstat(descriptor), credentials_directory)
        content = os.read(descriptor, FILE_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > FILE_LIMIT:
        raise SecretProblem(f"the secret file {path} is larger than 4 KiB", "it should contain only the secret, on one line")
    try:
        return Secret(content.decode("ascii").removesuffix("\n"))
    except UnicodeDecodeError:
        raise SecretProblem(
            f"the secret file {path} contains bytes that are not ASCII", "save it as plain text, without a byte order mark"
        ) from None


_NO_PATH = "write its path, such as /etc/postpost-monitor/credentials/NAME; a secret itself does not belong here, but into a file"
_READ_FIX: dict[type[OSError], str] = {
    FileNotFoundError: "create it, readable only for the monitor's user (chmod 0400)",
    PermissionError: "run the command with sudo; the service's user must be its owner, or get it with systemd's LoadCredential=",
}


def check_file(path: Path, status: os.stat_result, credentials_directory: Path | None, *, secret: bool = True) -> None:
    """Raise `SecretProblem` unless *path*, with this *status*, is a regular file and, if *secret*, not accessible to others."""
    if not stat.S_ISREG(status.st_mode):
        what = "the secret file" if secret else "the file"
        raise SecretProblem(f"{what} {path} is not a regular file", f"name a plain file that contains {'the secret' if secret else 'it'}")
    if not secret:
        return
    handed_over = None if credentials_directory == KEPT_IN else credentials_directory
    if handed_over is not None and path.resolve().is_relative_to(handed_over.resolve()):
        return
    if status.st_uid not in (0, os.geteuid()):
        raise SecretProblem(f"the secret file {path} belongs to another user", f"chown it to the monitor's user or root: chown root {path}")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise SecretProblem(f"the secret file {path} is open to others (mode {mode:04o})", f"chmod 0400 {path}")
