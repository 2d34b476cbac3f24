"""What is wrong, in a word or three: the beginning of a headline, before the name."""

from datetime import timedelta

from monitor.domain import topics
from monitor.domain.events import FINE
from monitor.domain.expiry.levels import threshold_of
from monitor.text.durations import span

_LEVELS = {
    "error": "Broken",
    "missing": "Missing",
    "misconfigured": "Misconfigured",
    topics.STALE: "Not tested",
    topics.FLAPPING: "Unstable",
    topics.EXPIRED: "Token ended",
    topics.OVERDUE: "Token not renewed",
    topics.FAILING: "Posts fail",
    topics.LOST: "Permission lost",
}
_SCOPES = {
    "api": "No answers",
    "limit": "Throttled",
    "account": "Key refused",
    "user": "User refused",
    "service": "API fails",
    "rate": "Throttled",
    "group": "Broken",
    "platform": "Broken",
    "storage": "No writes",
    "receiver": "No deliveries",
}
_ENDS = {"token.renewed": "Renewed", "permissions.restored": "Restored"}


def trouble(level: str, scope_kind: str = "", left: timedelta | None = None) -> str:
    """Return what is wrong at *level*; *scope_kind* is that of a scope's key, *left* the time until the token ends."""
    if scope_kind:
        return _SCOPES.get(scope_kind, "Failed")
    if threshold_of(level) is not None:
        return f"Token ends in {_coarse(left)}" if left is not None and left > timedelta(0) else f"Token ends within {level}"
    return _LEVELS.get(level, "Changed")


def end(kind: str) -> str:
    """Return how the incident of a message of type *kind* ended."""
    return "Closed" if kind.endswith(".closed") else _ENDS.get(kind, "Recovered")


def headline(kind: str, why: str, level: str, scope_kind: str = "", left: timedelta | None = None) -> str:
    """Return what a message of type *kind*, sent for the reason *why*, says of its subject."""
    if level == FINE or why == "closed":
        return end(kind)
    words = trouble(level, scope_kind, left)
    prefix = {"reminder": "Still ", "escalated": "Escalated: "}.get("reminder" if kind == "reminder" else why)
    return f"{prefix}{words[0].lower()}{words[1:]}" if prefix else words


def _coarse(left: timedelta) -> str:
    """Whole days, or hours on the last ones."""
    return f"{left.days} d" if left >= timedelta(days=2) else span(left)
