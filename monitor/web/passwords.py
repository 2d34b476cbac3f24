"""
Passwords against bcrypt hashes, without costing every scrape a quarter of a second and without ever blocking the loop.

What was found right or wrong is remembered under a keyed digest, never the password itself. Hashing goes on in one
thread, and only so many may wait for it: whoever guesses passwords keeps one core busy at most, and keeps nobody out
who has been let in before.

Source: reliability.md 4.1; the exporter toolkit's `web/handler.go`.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

COST = 10
"""Of the hashes that `hash_password` makes: about 50 ms each."""

_REMEMBERED = 256
_MAY_WAIT = 8


class TooManyGuesses(Exception):
    """So many passwords wait to be looked at that another one is not; nothing was found out."""


class Passwords:
    """
    The users of one configuration.

    Args:
        users: name → bcrypt hash.
        may_wait: how many passwords may wait to be looked at.
    """

    def __init__(self, users: Mapping[str, str], *, may_wait: int = _MAY_WAIT) -> None:
        self._users = {name: hashed.encode() for name, hashed in users.items()}
        # Somebody unknown takes as long as somebody known, so that the time tells no names.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(_highest_cost(users)))
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._may_wait = may_wait
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    async def verify(self, name: str, password: str) -> bool:
        """
        Whether *password* is the one of the user *name*.

        Raises:
            TooManyGuesses: it was not looked at; worth another try.
        """
        digest = hmac.digest(self._key, f"{len(name)}:{name}:{password}".encode(errors="surrogatepass"), hashlib.sha256)
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        if digest in self._wrong:
            return False
        if self._waiting >= self._may_wait:
            raise TooManyGuesses
        self._waiting += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._thread, self._matches, name, password)
        finally:
            self._waiting -= 1
        _remember(self._right if right else self._wrong, digest)
        return right

    def close(self) -> None:
        """Look at no more passwords; idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _matches(self, name: str, password: str) -> bool:
        hashed = self._users.get(name)
        try:
            matches = bcrypt.checkpw(password.encode(), self._nobody if hashed is None else hashed)
        except ValueError:
            # Longer than the 72 bytes that bcrypt looks at, or no text.
            return False
        return matches and hashed is not None


def hash_password(password: str, *, cost: int = COST) -> str:
    """
    The bcrypt hash of *password*.

    Raises:
        ValueError: it is longer than the 72 bytes that bcrypt looks at.
    """
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def _highest_cost(users: Mapping[str, str]) -> int:
    return max(int(hashed.split("$")[2]) for hashed in users.values())


def _remember(found: OrderedDict[bytes, None], digest: bytes) -> None:
    found[digest] = None
    if len(found) > _REMEMBERED:
        found.popitem(last=False)
