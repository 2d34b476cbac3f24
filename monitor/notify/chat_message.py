"""A stored document for chats and pagers: title, summary, facts, link. Plain text, not yet escaped."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from monitor.config import ReceiverSettings
from monitor.domain.events import REMOVED, REPLACED, Severity
from monitor.domain.scopes.key import ACCOUNT_KINDS, PLATFORM, ScopeKey
from monitor.domain.silencing.acceptance import ACCEPTED
from monitor.errors import Reason
from monitor.notify.filling import fill_text
from monitor.text.durations import span
from monitor.text.format import moment, one_line, platform_name
from monitor.text.headlines import headline
from monitor.text.reasons import reason_text

MAX_LINES = 20
RECONNECT, SHOW, RUNBOOK = "Reconnect the account", "Show its page", "Read the runbook"
_TITLE = 250
_SUMMARY = 500
_MAX_TEXT_LINES = 40

_MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?) UTC\b")

_BRACKETS = str.maketrans("<>", "\u2039\u203a")
_CALLS = re.compile(r"@(?=everyone|here|channel|all|group|team)", re.IGNORECASE)
_CLOSED = "closed"
_OTHER_ENDS = {REMOVED: "Closed", REPLACED: "Replaced", ACCEPTED: "Accepted"}
_MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_OVER = "🟢"
_EXPLAINED = {"error", "missing", "misconfigured", "stale"}
_REASONS = frozenset(reason.value for reason in Reason)
_SCOPE_NAMES = {"api": "PostPost API", "storage": "The monitor's storage"}
_AFFECTS = {"storage": "history and alerts of this monitor", "receiver": "all notifications for this receiver"}


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """
    A stored document as a chat shows it.

    Attributes:
        type, why, severity: as the document has them.
        who: name of the connection or scope.
        title: status and name.
        lines: the items of a digest, at most `MAX_LINES`.
        link: where to reconnect the account; empty for nowhere.
        page: the page of the connection, or of incidents; empty for nowhere.
        runbook: what the alert means and what to do; empty for nowhere.
        key: of the incident; empty when there is none.
        opened_at: when the incident began, else when the document was made.
    """

    type: str
    why: str
    severity: str
    over: bool
    who: str
    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    link: str
    page: str
    runbook: str
    id: str
    key: str
    opened_at: datetime
    at: datetime
    data: Mapping[str, Any]

    @property
    def is_comment(self) -> bool:
        """Whether it is a notice that nothing has to be done about, which is no alert."""
        return self.why == "notice" and self.type != "test" and self.severity == Severity.INFO

    @property
    def mark(self) -> str:
        """A coloured dot for the severity, or for the end."""
        return _OVER if self.over else _MARKS.get(self.severity, "🔵")

    @property
    def headline(self) -> str:
        """The title, and the reason where it is known: for what shows one short text only."""
        reason = self.data.get("reason")
        return f"{self.title}: {one_line(reason['words'], 200)}" if reason and not self.over else self.title

    @property
    def links(self) -> Iterator[tuple[str, str]]:
        """What leads somewhere, and its address."""
        yield from ((text, url) for text, url in ((RECONNECT, self.link), (SHOW, self.page), (RUNBOOK, self.runbook)) if url)

    @property
    def source(self) -> str:
        """The sending monitor."""
        return f"postpost-monitor {self.data['monitor']['instance']}"


def personal(document: Mapping[str, Any], settings: ReceiverSettings) -> Mapping[str, Any]:
    """Return the stored *document* with a `title`, and with the texts and the time zone that *settings* ask for."""
    usual = {
        **document,
        "title": localized(f"{_state(document, document['data'])}: {_name(document, document['data'])}", settings.timezone),
        "summary": localized(document["summary"], settings.timezone),
    }
    title = one_line(fill_text(settings.title, usual), _TITLE) if settings.title else ""
    lines = fill_text(settings.text, usual).splitlines()[:_MAX_TEXT_LINES] if settings.text else []
    text = "\n".join(one_line(line, _SUMMARY) for line in lines).strip()
    return usual | {name: own for name, own in (("title", title), ("summary", text)) if own}


def localized(text: str, zone: str) -> str:
    """Return *text* with its times of day, which `moment` wrote in UTC, in the time zone *zone*."""
    if zone == "UTC":
        return text
    return _MOMENT.sub(lambda match: _local(match, ZoneInfo(zone)), text)


def _local(match: re.Match[str], zone: ZoneInfo) -> str:
    try:
        at = datetime.fromisoformat(f"{match[1]}+00:00").astimezone(zone)
    except (ValueError, OverflowError):
        return match[0]
    return f"{at:%Y-%m-%d %H:%M %Z}"


def read(body: bytes, settings: ReceiverSettings) -> ChatMessage:
    """Return the stored document *body* as the chat of a receiver shows it. Raises ValueError, KeyError: *body* is not such a document."""
    document = personal(json.loads(body), settings)
    data, zone = document["data"], settings.timezone
    incident = data.get("incident") or {}
    at = datetime.fromisoformat(document["timestamp"])
    who = _name(document, data)
    summary = document["summary"]
    return ChatMessage(
        type=document["type"],
        why=data["why"],
        severity=document["severity"],
        over=data["why"] == _CLOSED,
        who=who,
        title=document["title"],
        summary=summary if settings.text else one_line(summary, _SUMMARY),
        facts=tuple((name, localized(value, zone)) for name, value in _facts(data, who)),
        lines=tuple(_lines(data.get("items", ()))),
        link=data.get("reconnectUrl") or "",
        page=data.get("pageUrl") or "",
        runbook=data.get("runbookUrl") or "",
        id=document["id"],
        key=incident.get("key", ""),
        opened_at=datetime.fromisoformat(incident["openedAt"]) if incident else at,
        at=at,
        data=data,
    )


def truncated(text: str, limit: int, escape: Callable[[str], str] = str) -> str:
    """Return *text* escaped, as much of it as stays within *limit* characters with its escapes."""
    whole = escape(text)
    if len(whole) <= limit:
        return whole
    kept: list[str] = []
    room = limit - 1
    for letter in text:
        escaped = escape(letter)
        room -= len(escaped)
        if room < 0:
            break
        kept.append(escaped)
    return "".join(kept).rstrip() + "…"


def without_mentions(text: str) -> str:
    """Return *text* for services that pass it on to other chats and pages: no tags, no links in brackets, no mentions of groups."""
    return _CALLS.sub("\uff20", text.translate(_BRACKETS))


def _name(document: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    return _who(document["type"], data) or (data.get("incident") or {}).get("subject") or "unknown"


def _state(document: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """What is wrong, or that it is over; what stands before the name."""
    kind, why = document["type"], data["why"]
    if kind == "test":
        return "Test"
    if why == _CLOSED and data.get("closedWhy") in _OTHER_ENDS:
        return _OTHER_ENDS[data["closedWhy"]]
    if why in {"notice", "digest"}:
        return str(why).capitalize()
    scope_kind = "" if data["connection"] else ScopeKey.parse(data["incident"]["subject"]).kind
    left = data.get("expiresInSeconds")
    return headline(kind, why, data["level"]["to"], scope_kind, timedelta(seconds=left) if left is not None else None)


def _who(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "test":
        return f"receiver {one_line(str(data.get('receiver')), 80)}"
    if "items" in data:
        counts = Counter(headline(item["type"], "", item["level"]).lower() for item in data["items"])
        return ", ".join(f"{number} {what}" for what, number in counts.most_common())
    if data["connection"]:
        return _named(data["connection"], data.get("username"))
    key = ScopeKey.parse(data["incident"]["subject"])
    if key.kind == PLATFORM:
        return platform_name(key.platform.rpartition(":")[2])
    if key.platform:
        return f"{_connections(data.get('affected') or 0)} of {platform_name(key.platform)}"
    name = f"{key.name}/{data['userName']}" if data.get("userName") and key.user else key.path
    shown = f"{'Account' if key.kind in ACCOUNT_KINDS else key.kind.capitalize()} {name}"
    return _SCOPE_NAMES.get(key.kind, one_line(shown, 100))


def _connections(count: int) -> str:
    return f"{count} connection{'s' if count != 1 else ''}"


def _named(connection: Mapping[str, Any], username: str | None = None) -> str:
    name = connection["name"] or username
    platform = platform_name(connection["platform"])
    return f"{platform} “{one_line(name, 80)}”" if name else f"{platform} {one_line(connection['id'], 80)}"


def _facts(data: Mapping[str, Any], who: str) -> Iterator[tuple[str, str]]:
    incident = data.get("incident")
    if incident is None:
        return
    yield "Since", moment(datetime.fromisoformat(incident["openedAt"]))
    if data["why"] == _CLOSED and data["durationSeconds"] is not None:
        yield "Lasted", span(timedelta(seconds=data["durationSeconds"]))
    reason = data["reason"]
    if reason and data["why"] != _CLOSED:
        yield "Why", one_line(reason["words"], 200)
    affects = _affects(data, who, ScopeKey.parse(incident["subject"]).kind)
    if affects:
        yield "Affects", affects
    if data.get("account"):
        yield "Account", one_line(data["account"], 100)
    if data.get("userName"):
        yield "User", one_line(data["userName"], 100)
    if data.get("username"):
        yield "User name", one_line(data["username"], 100)
    if data.get("expiresAt"):
        yield "Token ends", moment(datetime.fromisoformat(data["expiresAt"]))


def _affects(data: Mapping[str, Any], who: str, word: str) -> str:
    if data["why"] == _CLOSED:
        return ""
    if data.get("affected") is not None:
        return _connections(data["affected"])
    return f"scheduled posts to {who}" if data["connection"] else _AFFECTS.get(word, "")


def _lines(items: Any) -> Iterator[str]:
    for item in items[:MAX_LINES]:
        who = _named_in_digest(item["connection"]) if item["connection"] else item["incidentKey"]
        yield f"{who}: {_what(item)}"
    if len(items) > MAX_LINES:
        yield f"and {len(items) - MAX_LINES} more"


def _named_in_digest(connection: Mapping[str, Any]) -> str:
    user = connection.get("userName")
    return f"{_named(connection)} of {one_line(user, 80)}" if user else _named(connection)


def _what(item: Mapping[str, Any]) -> str:
    what = headline(item["type"], "", item["level"])
    reason = item["reason"] if item["level"] in _EXPLAINED else None
    return f"{what.lower()} ({reason_text(Reason(reason))})" if reason in _REASONS else what.lower()
