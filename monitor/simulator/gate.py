"""
The API's middleware: who is calling, and may they?

Source: `api-contract.md` 1.1: error texts and order of checks.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.simulator.world import SimulatedAccount, SimulatedUser, World

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted caller; `user` is the owner, or the managed user the call is about."""

    account: SimulatedAccount
    user: SimulatedUser


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status and the `error` text a caller is turned away with."""

    status: int
    error: str


# In the order the API looks at them: the right, and what is said when it lacks.
_RIGHTS: tuple[tuple[Callable[[SimulatedAccount], bool], Refusal], ...] = (
    (lambda account: not account.crashed, Refusal(500, "Internal server error")),
    (lambda account: account.owner_found, Refusal(401, "Invalid API key owner")),
    (lambda account: account.api_access, Refusal(403, "API access is not enabled for this account")),
)


def identify(world: World, headers: Mapping[str, str]) -> SimulatedAccount | Refusal:
    """The account whose key the request carries."""
    key = headers.get(world.brand.key_header, "")
    if not key:
        return Refusal(401, "API key is required")
    return world.account_of(key) or Refusal(401, "Invalid API key")


def admit(world: World, account: SimulatedAccount, headers: Mapping[str, str]) -> Caller | Refusal:
    """Whose connections the caller may see, once the key is known to be good."""
    for holds, refusal in _RIGHTS:
        if not holds(account):
            return refusal
    if headers.get(world.brand.client_header) == "mcp" and not account.mcp_access:
        return Refusal(403, "MCP access is not enabled for this account")
    user_id = headers.get(world.brand.user_header)
    if not user_id:
        return Caller(account, account.owner)
    return _managed(world, account, user_id)


def _managed(world: World, account: SimulatedAccount, user_id: str) -> Caller | Refusal:
    if not _OBJECT_ID.fullmatch(user_id):
        return Refusal(400, f"Invalid {world.brand.user_header}")
    if user_id == account.owner.id:
        return Caller(account, account.owner)
    if not account.workspaces:
        return Refusal(403, "Workspace access is not enabled for this key")
    user = account.users.get(user_id)
    if user is None or not user.attached:
        return Refusal(403, "User is not managed by key")
    return Caller(account, user)
