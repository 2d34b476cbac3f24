"""The matchers of routes and silences: names and values that can match nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence

from monitor.config.problems import nearest, suggest
from monitor.config.sections.core import AccountSettings, ConnectionMatch, ConnectionSettings, UserSettings
from monitor.config.sections.policy import KNOWN_PLATFORMS
from monitor.config.validation import Draft
from monitor.config.yaml import Path
from monitor.domain.connections import platform_of
from monitor.domain.routing.matchers import CLOSED, contradictory, meant, unknown_choices
from monitor.domain.routing.rules import RESERVED, matches_pattern

_SIMILAR = 0.75
_SIMILAR_PLATFORM = 0.85
_FEW = 8

Warn = Callable[[Path, str, str], None]


def check(draft: Draft, warn: Warn, match: Mapping[str, str], path: Path, what: str) -> None:
    """
    Refuse the matchers in *match*, at *path*, that can never match, and warn of those that match nothing configured.

    *what* is a plural noun. What discovery may find is not warned of here, but by the running monitor.
    """
    labels = {
        str(label)
        for section in ("connections", "users")
        for _, item in draft.document.items(section)
        if isinstance(item.get("labels"), dict)
        for label in item["labels"]
    }
    known = sorted({*RESERVED, *labels})
    if problem := contradiction(match) or _other_platform(draft, match):
        draft.refuse((*path, "match"), problem, "correct one of them")
    for key, pattern in match.items():
        place: Path = (*path, "match", key)
        if key not in known:
            message = f"{what} can't match on {key}: no connection has such a label"
            draft.refuse(place, message, suggest(key, known, "known"))
        elif key in CLOSED:
            for choice in unknown_choices(pattern, CLOSED[key]):
                draft.refuse(place, f"{key} is never {choice or 'empty'}", advice(choice, CLOSED[key]))
        else:
            _known(draft, warn, place, key, pattern)


def contradiction(match: Mapping[str, str]) -> str:
    """Why no notification has all that *match* asks for; empty if some may."""
    found = contradictory(match)
    return f"no notification has {_joined(found)}" if found else ""


def _joined(match: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {pattern or 'empty'}" for name, pattern in match.items())


def _other_platform(draft: Draft, match: Mapping[str, str]) -> str:
    """Why no connection has both the platform and the id that *match* asks for; empty if some may."""
    pair = {name: match[name] for name in ("platform", "connection") if name in match}
    names = {entry.name for entry in draft.listed(ConnectionSettings, "connections").values()}
    choices = [choice.strip() for choice in pair.get("connection", "").split("|")]
    if len(pair) < 2 or names.intersection(choices):
        return ""
    platforms = [platform_of(choice) if "-" in choice else "" for choice in choices]
    if all(platform in KNOWN_PLATFORMS and not matches_pattern(pair["platform"], platform) for platform in platforms):
        return f"no connection has {_joined(pair)}"
    return ""


def check_selector(draft: Draft, warn: Warn, match: ConnectionMatch, path: Path) -> None:
    """Refuse and warn of the matchers of an entry of `connections`, at *path*, as `check` does."""
    if problem := _other_platform(draft, match.matchers()):
        draft.refuse((*path, "match"), problem.replace(" connection ", " id ").replace("no id", "no connection"), "correct one of them")
    for name, key in (("account", "account"), ("user_id", "user"), ("platform", "platform"), ("id", "connection")):
        pattern, place = getattr(match, name), (*path, "match", name)
        if pattern is not None:
            _known(draft, warn, place, key, pattern)


def problem(key: str, pattern: str) -> tuple[str, str] | None:
    """What is wrong with a matcher of a closed set, and what to do; None if nothing is, or the set of *key* is open."""
    values = CLOSED.get(key)
    for choice in unknown_choices(pattern, values) if values is not None else ():
        return f"{key} is never {choice or 'empty'}", advice(choice, values or ())
    return None


def advice(choice: str, values: Collection[str]) -> str:
    """What to write in place of *choice*: the nearest of *values*, and all of them when they are few."""
    parts = [part.strip() for part in choice.split(",")]
    if len(parts) > 1 and set(parts) <= set(values):
        return f"separate alternatives by |: {'|'.join(parts)}"
    known = sorted(filter(None, values))
    first = choice.lower().partition(".")[0]
    same = [value for value in known if value.partition(".")[0] == first]
    if choice.endswith(".*") and (word := nearest(first, sorted({value.partition(".")[0] for value in known}))):
        return f"did you mean {word}.*?"
    close = _topic_of(choice, known) or meant(choice, known) or nearest(choice, same) or nearest(choice, known)
    if close is None:
        return suggest(choice, same or sorted({f"{value.partition('.')[0]}.*" if "." in value else value for value in known}), "known")
    return f"did you mean {close}?" + (f" known: {', '.join(known)}" if len(known) <= _FEW else "")


def _topic_of(choice: str, known: Collection[str]) -> str | None:
    topic = {"token": "expiry", "token_expiry": "expiry", "posting": "publishing", "posts": "publishing"}.get(choice.lower())
    return topic if topic in known else None


def _known(draft: Draft, warn: Warn, place: Path, key: str, pattern: str) -> None:
    """Refuse or warn of a matcher of an open set."""
    if key == "account":
        _account(draft, place, pattern)
    elif key == "platform":
        _platform(draft, warn, place, pattern)
    else:
        _open(draft, warn, place, key, pattern)


def _account(draft: Draft, path: Path, pattern: str) -> None:
    names = {*draft.names("accounts"), ""}
    for choice in unknown_choices(pattern, names):
        account, slash, user = choice.partition("/")
        if slash and account in names:
            draft.refuse(path, f"account is never {choice}", f"match on two: account: {account} and user: {user}")
        else:
            draft.refuse(path, f"account is never {choice}", suggest(choice, sorted(filter(None, names)), "known"))


def _platform(draft: Draft, warn: Warn, path: Path, pattern: str) -> None:
    configured = {
        connection.platform for connection in draft.listed(ConnectionSettings, "connections").values() if connection.match is None
    }
    for choice in unknown_choices(pattern, KNOWN_PLATFORMS | configured | {""}):
        close = nearest(choice, sorted(KNOWN_PLATFORMS | configured))
        if close is not None:
            draft.refuse(path, f"platform is never {choice}", f"did you mean {close}?")
        else:
            warn(path, f"{choice} is not a known platform", "use the lower-case word before the first dash of an id")


def _open(draft: Draft, warn: Warn, path: Path, key: str, pattern: str) -> None:
    """Warn of a user, an id or the value of a label that nothing configured has, where nothing else can come by discovery."""
    accounts = draft.listed(AccountSettings, "accounts").values()
    entries = draft.listed(ConnectionSettings, "connections").values()
    connections = [entry for entry in entries if entry.match is None]
    users = draft.listed(UserSettings, "users").values()
    if key == "user":
        values = {account.user_id for account in accounts} | {connection.user_id for connection in connections}
        values |= {user.id for user in users}
        names = {user.name for user in users}
    elif key == "connection":
        values = {connection.platform + connection.id[len(connection.platform) :] for connection in connections}
        names = {connection.name for connection in connections if connection.name is not None}
        _refuse_ambiguous(draft, path, pattern, connections)
    else:
        labels = [each.labels for each in entries] + [each.labels for each in users]
        values = {each[key] for each in labels if key in each}
        names = set()
    found = {"user": {"workspace"}, "connection": {"connections", "workspace"}}.get(key, set())
    discovers = any(account.discover in found for account in accounts)
    known = {*filter(None, values | names)}
    for choice in unknown_choices(pattern, {*known, ""}):
        what = {"user": "user", "connection": "connection"}.get(key, f"connection with label {key}")
        # It may be the id of something that discovery will find, but a misspelled name is more likely.
        close = nearest(choice, sorted(names), cutoff=_SIMILAR) if discovers else nearest(choice, sorted(known))
        if close is None and key == "connection" and (other := with_platform(choice, KNOWN_PLATFORMS)) is not None:
            warn(path, f"{platform_of(choice)} is not a known platform", f"did you mean {other}?")
        elif not discovers:
            warn(path, f"no {what} {choice} is configured", suggest(choice, sorted(known), "configured"))
        elif close is not None:
            warn(path, f"no {what} {choice} is configured", f"did you mean {close}?")


def with_platform(choice: str, platforms: Collection[str]) -> str | None:
    """The id *choice* with the one of *platforms* that it is probably meant to begin with; None if it has one, or none is similar."""
    platform, dash, rest = choice.partition("-")
    close = nearest(platform, sorted(platforms), cutoff=_SIMILAR_PLATFORM) if dash else None
    return f"{close}-{rest}" if close is not None and close != platform.lower() else None


def _refuse_ambiguous(draft: Draft, path: Path, pattern: str, connections: Sequence[ConnectionSettings]) -> None:
    """Refuse the name of several connections, which may be meant for one of them."""
    for choice in map(str.strip, pattern.split("|")):
        ids = [connection.id for connection in connections if connection.name == choice]
        if len(ids) > 1:
            draft.refuse(path, f"{len(ids)} connections are called {choice}", f"write their ids: {'|'.join(ids[:5])}")
