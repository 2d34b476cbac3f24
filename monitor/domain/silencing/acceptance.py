"""Accepted losses: an operator agrees that a connection goes on without permissions that it had, until they are granted again."""

from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, Topic
from monitor.domain.policy import Policy
from monitor.domain.states import ConnectionState, PendingLevel

ACCEPTED = "accepted"
"""`closed_why`: an operator accepted the loss."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    The last accepted loss of one connection.

    Attributes:
        permissions: those that it may lack.
        at: when it was accepted; it tells the acceptances of a connection apart.
        author, reason: the operator, and a comment, which may be empty.
    """

    connection_id: int
    permissions: tuple[str, ...]
    at: datetime
    author: str
    reason: str


def acceptable(connection: Connection, state: ConnectionState) -> tuple[str, ...]:
    """Return the missing permissions that the configuration does not require."""
    return tuple(name for name in state.permissions_missing if name not in connection.require_permissions)


def is_new(acceptance: Acceptance | None, state: ConnectionState) -> bool:
    """Whether *acceptance* is still to be taken over; it may be dated in the future, after the clock was set back."""
    return acceptance is not None and acceptance.at != state.permissions_accepted_at


def accept(connection: Connection, state: ConnectionState, acceptance: Acceptance | None, now: datetime, policy: Policy) -> ConnectionState:
    """Return *state* after a new *acceptance*, in which the permissions that it names are no longer required; unchanged without one."""
    if acceptance is None or not is_new(acceptance, state):
        return state
    accepted = {name for name in acceptable(connection, state) if name in acceptance.permissions}
    missing = tuple(name for name in state.permissions_missing if name not in accepted)
    levels, over = dict(state.pending_levels), bool(accepted) and not missing
    if over:
        # Confirmed: an operator says so, and no check needs to.
        levels[Topic.PERMISSIONS] = PendingLevel(FINE, now, policy.confirm.expiry)
    return replace(
        state,
        permissions=tuple(name for name in state.permissions if name not in accepted),
        permissions_missing=missing,
        permissions_accepted_at=acceptance.at,
        loss_accepted=state.loss_accepted or over,
        pending_levels=levels,
    )
