"""The matchers of routes and silences: names and values that can match nothing."""

from collections.abc import Callable, Collection, Mapping

from monitor.config.problems import nearest, suggest
from monitor.config.sections.core import AccountSettings, ConnectionSettings
from monitor.config.sections.policy import KNOWN_PLATFORMS
from monitor.config.validation import Draft
from monitor.config.yaml import Path
from monitor.domain.matchers import CLOSED, unknown_choices
from monitor.domain.routing import RESERVED

Warn = Callable[[Path, str, str], None]


def check(draft: Draft, warn: Warn, match: Mapping[str, str], path: Path, what: str) -> None:
    """
    Refuse the matchers in *match*, at *path*, that can never match, and warn of those that match nothing configured.

    *what* is a plural noun. What discovery may find is not warned of here, but by the running monitor.
    """
    labels = {
        str(label) for _, item in draft.document.items("connections") if isinstance(item.get("labels"), dict) for label in item["labels"]
    }
    known = sorted({*RESERVED, *labels})
    for key, pattern in match.items():
        place: Path = (*path, "match", key)
        if key not in known:
            message = f"{what} can't match on {key}: no connection has such a label"
            draft.refuse(place, message, suggest(key, known, "known"))
        elif key in CLOSED:
            _refuse(draft, place, key, pattern, CLOSED[key])
        elif key == "account":
            _refuse(draft, place, key, pattern, {*draft.names("accounts"), ""})
        elif key == "platform":
            _platform(draft, warn, place, pattern)
        else:
            _open(draft, warn, place, key, pattern)


def problem(key: str, pattern: str) -> tuple[str, str] | None:
    """What is wrong with a matcher of a closed set, and what to do; None if nothing is, or the set of *key* is open."""
    values = CLOSED.get(key)
    for choice in unknown_choices(pattern, values) if values is not None else ():
        return f"{key} is never {choice or 'empty'}", suggest(choice, sorted(filter(None, values or ())), "known")
    return None


def _refuse(draft: Draft, path: Path, key: str, pattern: str, values: Collection[str]) -> None:
    for choice in unknown_choices(pattern, values):
        draft.refuse(path, f"{key} is never {choice or 'empty'}", suggest(choice, sorted(filter(None, values)), "known"))


def _platform(draft: Draft, warn: Warn, path: Path, pattern: str) -> None:
    configured = {connection.platform for connection in draft.listed(ConnectionSettings, "connections").values()}
    for choice in unknown_choices(pattern, KNOWN_PLATFORMS | configured | {""}):
        close = nearest(choice, sorted(KNOWN_PLATFORMS | configured))
        if close is not None:
            draft.refuse(path, f"platform is never {choice}", f"did you mean {close}?")
        else:
            warn(path, f"{choice} is not a known platform", "use the lower-case word before the first dash of an id")


def _open(draft: Draft, warn: Warn, path: Path, key: str, pattern: str) -> None:
    """Warn of a user, an id or the value of a label that nothing configured has, where nothing else can come by discovery."""
    accounts = draft.listed(AccountSettings, "accounts").values()
    connections = draft.listed(ConnectionSettings, "connections").values()
    found = {"user": {"workspace"}, "connection": {"connections", "workspace"}}.get(key, set())
    if any(account.discover in found for account in accounts):
        return
    if key == "user":
        values = {account.user_id for account in accounts} | {connection.user_id for connection in connections}
    elif key == "connection":
        values = {connection.platform + connection.id[len(connection.platform) :] for connection in connections}
    else:
        values = {connection.labels[key] for connection in connections if key in connection.labels}
    for choice in unknown_choices(pattern, {*filter(None, values), ""}):
        what = {"user": "user", "connection": "connection"}.get(key, f"connection with label {key}")
        warn(path, f"no {what} {choice} is configured", suggest(choice, sorted(filter(None, values)), "configured"))
