"""
What operators may do through the port, while `web.actions` is on: test now, acknowledge, silence, end a silence, accept
lost permissions.

Forms are answered only from the site's own pages: the origin must be this port's, and each form has a token that is good for one user,
one address and one time. Every action has an author, the authenticated user, and is logged.
"""

import secrets
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from monitor.clock import Clock
from monitor.db import ControlsWriter, Store
from monitor.domain.connections import Connection
from monitor.domain.silencing.acceptance import Acceptance, acceptable
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.domain.views.snapshot import ConnectionView, IncidentView
from monitor.logs import get_logger
from monitor.redaction import clean

_log = get_logger(__name__)

SILENCE_FOR = timedelta(hours=2)
SHORTEST_SILENCE = timedelta(minutes=1)
LONGEST_SILENCE = timedelta(days=7)
LONGEST_REASON = 300
_FORM_SECONDS = 3600.0
_MOST_FORMS = 1000
_MOST_USERS = 1000
_MOST_PERFORMED = 1000
_ACTIONS = 30
_WITHIN_SECONDS = 60.0

Write = Callable[[Callable[[Store], Any]], Awaitable[Any]]


class TooManyActions(Exception):
    """The user did too much within a minute; nothing was done."""


class ActionRefused(Exception):
    """The action was refused, and nothing was done; says why, and which *field* of the form is wrong."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


def own_origin(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent by a page of this port: browsers say so, and no other site can."""
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin, host = headers.get("Origin", ""), headers.get("Host", "")
    return bool(host) and urlsplit(origin).netloc.lower() == host.lower() and urlsplit(origin).scheme in ("http", "https")


@dataclass(slots=True)
class FormTokens:
    """Tokens of forms that were shown and not sent yet."""

    clock: Clock
    _shown: OrderedDict[str, tuple[str, str, float]] = field(default_factory=OrderedDict)

    def issue(self, user: str, path: str) -> str:
        """The token of a form that *user* sees at *path*."""
        token = secrets.token_urlsafe(24)
        self._shown[token] = (user, path, self.clock.monotonic() + _FORM_SECONDS)
        if len(self._shown) > _MOST_FORMS:
            self._shown.popitem(last=False)
        return token

    def redeem(self, token: str, user: str, path: str) -> bool:
        """Whether *token* is of a form that was shown to *user* at *path* and not sent yet; it is sent now."""
        shown = self._shown.pop(token, None)
        return shown is not None and shown[:2] == (user, path) and self.clock.monotonic() < shown[2]


@dataclass(frozen=True, slots=True)
class Performed:
    """One action that leaves no row: when, by whom, `check` or `reconnect`, about which connection."""

    at: datetime
    author: str
    action: str
    connection_id: int


class Actions:
    """
    Does what operators ask for.

    Args:
        write: runs a function in one write transaction.
        check_now: has a connection tested soon, through the rate limiter of its account, and often for two minutes; False when nothing
            checks it.
        dashboard: gives the address where connections are reconnected; empty without one.
    """

    def __init__(
        self, write: Write, check_now: Callable[[Connection], bool], clock: Clock, dashboard: Callable[[], str] = lambda: ""
    ) -> None:
        self._write = write
        self._check_now = check_now
        self._clock = clock
        self.dashboard = dashboard
        self.forms = FormTokens(clock)
        self._performed: deque[Performed] = deque(maxlen=_MOST_PERFORMED)
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    async def check(self, connection: Connection, author: str, following: str = "") -> None:
        """Have *connection* tested now; *following* is the address of the dashboard that *author* goes to."""
        self._admit(author)
        if not self._check_now(connection):
            raise ActionRefused("nothing checks this connection now")
        action = "reconnect" if following else "check"
        self._performed.append(Performed(self._clock.now(), author, action, connection.id))
        _log.info("action.performed", action=action, author=author, connection=connection.platform_id, account=connection.account_label)

    def performed(self, connection: Connection) -> tuple[Performed, ...]:
        """What was done about *connection* since the start that left no row."""
        return tuple(each for each in self._performed if each.connection_id == connection.id)

    async def acknowledge(self, incident: IncidentView, author: str, reason: str) -> Ack:
        """Acknowledge an open incident."""
        self._admit(author)
        ref = incident.incident
        ack = Ack(ref.topic, ref.subject, ref.number, incident.level, self._clock.now(), author, _reason(reason))
        await self._write(lambda store: ControlsWriter(store).acknowledge(ack))
        _log.info("action.performed", action="acknowledge", author=author, incident=f"{ref.topic}-{ref.subject}-{ref.number}")
        return ack

    async def silence(self, connection: Connection, author: str, reason: str, duration: timedelta = SILENCE_FOR) -> Silence:
        """Silence the notifications of one connection from now on."""
        if not SHORTEST_SILENCE <= duration <= LONGEST_SILENCE:
            raise ActionRefused("a silence lasts a minute to seven days", "for")
        self._admit(author)
        match, now = {"connection": connection.platform_id, "account": connection.account}, self._clock.now()
        if connection.user_id:
            match["user"] = connection.user_id
        text = _reason(reason)

        def write(store: Store) -> Silence:
            return ControlsWriter(store).add_silence(match, starts_at=now, ends_at=now + duration, author=author, reason=text, now=now)

        silence: Silence = await self._write(write)
        _log.info("action.performed", action="silence", author=author, connection=connection.platform_id, silence=silence.id)
        return silence

    async def end_silence(self, number: int, author: str) -> None:
        """End a silence; raises `ActionRefused` when there is none with this number, or it has ended."""
        self._admit(author)
        now = self._clock.now()
        if not await self._write(lambda store: ControlsWriter(store).expire_silence(number, now)):
            raise ActionRefused(f"silence {number} is unknown or has ended")
        _log.info("action.performed", action="end_silence", author=author, silence=number)

    async def accept_loss(self, view: ConnectionView, author: str, reason: str) -> Acceptance:
        """Accept that a connection lacks what it lacks now; raises `ActionRefused` when nothing of that can be accepted."""
        connection, lost = view.connection, acceptable(view.connection, view.state)
        if not lost:
            raise ActionRefused("it lacks no permission, or only what require_permissions in the configuration names")
        self._admit(author)
        acceptance = Acceptance(connection.id, lost, self._clock.now(), author, _reason(reason))
        await self._write(lambda store: ControlsWriter(store).accept_loss(acceptance))
        _log.info(
            "action.performed",
            action="accept_permissions",
            author=author,
            connection=connection.platform_id,
            account=connection.account_label,
            permissions=list(lost),
        )
        return acceptance

    def _admit(self, author: str) -> None:
        """Raises `TooManyActions` when *author* did too much within a minute."""
        now = self._clock.monotonic()
        if len(self._times) > _MOST_USERS:
            self._times.clear()
        times = self._times[author]
        while times and now - times[0] >= _WITHIN_SECONDS:
            times.popleft()
        if len(times) >= _ACTIONS:
            raise TooManyActions
        times.append(now)


def _reason(text: str) -> str:
    """The reason as it is kept: one line without secrets; raises `ActionRefused` for an empty or a very long one."""
    reason = " ".join(clean(text).split())
    if not reason:
        raise ActionRefused("reason is required: say what is being done about it", "reason")
    if len(reason) > LONGEST_REASON:
        raise ActionRefused(f"reason is longer than {LONGEST_REASON} characters", "reason")
    return reason
