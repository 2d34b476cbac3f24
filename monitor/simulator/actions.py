"""The actions of the control API, and the strict parsing of their bodies."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from monitor.simulator import faults
from monitor.simulator.faults import Fault, FaultScript, Where, drop
from monitor.simulator.platforms import BRANDS, Generation
from monitor.simulator.state import SimulatedAccount, SimulatedApi, SimulatedConnection, SimulatedRounding, SimulatedUser

_Subject = TypeVar("_Subject")
_Choice = TypeVar("_Choice", bound=str)


class InvalidRequest(Exception):
    """A control request that cannot be done; `status` is the HTTP status of the response."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Body:
    """A JSON object whose keys are taken one by one."""

    def __init__(self, raw: bytes | Mapping[str, Any]) -> None:
        self._left = dict(_object(raw) if isinstance(raw, bytes) else raw)

    def copy(self) -> "Body":
        """The same keys again, for the next subject of the same request."""
        return Body(self._left)

    def has(self, key: str) -> bool:
        """Whether *key* is there and not yet taken."""
        return key in self._left

    def take(self, key: str, default: Any = None) -> Any:
        """The value of *key*, of any type."""
        return self._left.pop(key, default)

    def _typed(self, key: str, default: Any, kinds: type | tuple[type, ...], expected: str) -> Any:
        value = self.take(key, default)
        if not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool):
            raise InvalidRequest(f"{key!r} must be {expected}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """The text of *key*."""
        return str(self._typed(key, default, str, "a text"))

    def required(self, key: str) -> str:
        """The text of *key*, which must not be empty."""
        value = self.text(key)
        if not value:
            raise InvalidRequest(f"say {key!r}")
        return value

    def number(self, key: str, default: int) -> int:
        """The whole number of *key*."""
        return int(self._typed(key, default, int, "a whole number"))

    def real(self, key: str) -> float:
        """The number of *key*."""
        value = float(self._typed(key, None, (int, float), "a number"))
        if not math.isfinite(value):
            raise InvalidRequest(f"{key!r} must be a number")
        return value

    def flag(self, key: str) -> bool:
        """Whether *key* is true; without it, false."""
        return bool(self._typed(key, default=False, kinds=bool, expected="true or false"))

    def span(self, key: str, default: timedelta | None = None) -> timedelta:
        """The duration of *key*, required unless there is a default."""
        value = self.take(key)
        if value is None and default is None:
            raise InvalidRequest(f"say {key!r}, {_DURATION_HINT}")
        return default if value is None and default is not None else parse_span(value)

    def moment(self, key: str) -> datetime:
        """The time of *key*, in ISO 8601 with its offset from UTC."""
        try:
            at = datetime.fromisoformat(self.text(key))
        except ValueError:
            raise InvalidRequest(f"{key!r} must be a time like '2030-01-01T00:00:00Z'") from None
        if at.tzinfo is None:
            raise InvalidRequest(f"{key!r} needs an offset, such as the Z in '2030-01-01T00:00:00Z'")
        return at

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts of *key*."""
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidRequest(f"{key!r} must be a list of texts")
        return tuple(value)

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys that are left, other than the *known* ones."""
        names = tuple(known)
        hint = f"; known here: {', '.join(names)}" if names else ""
        for key in self._left:
            if key not in names:
                raise InvalidRequest(f"unknown key {key!r}{hint}")


def _object(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest('the body must be a JSON object, such as {"times": 2}')
    return document


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_DURATION_HINT = "a duration like '7d 3h', '90m' or 30 (seconds)"


def parse_span(value: object) -> timedelta:
    """The duration of `"7d 3h"`, `"90m"`, `"1.5h"`, `"500ms"`, or a number of seconds; raises InvalidRequest."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidRequest(f"{json.dumps(value)} is not {_DURATION_HINT}")
    text = value.strip() if isinstance(value, str) else f"{value}s"
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    seconds, end = 0.0, 0
    while match := _SPAN.match(text, end):
        seconds += float(match[1]) * _UNITS[match[2]]
        end = match.end()
    if not text or end != len(text):
        raise InvalidRequest(f"{value!r} is not {_DURATION_HINT}")
    try:
        return sign * timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidRequest(f"{value!r} is too long") from None


def one_of(name: str, known: Iterable[_Choice], what: str, status: int = 400) -> _Choice:
    """The one of *known* that is called *name*; raises InvalidRequest with the nearest one otherwise."""
    choices = {str(choice): choice for choice in known}
    if name in choices:
        return choices[name]
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(list(choices)[:40])}"
    raise InvalidRequest(f"unknown {what} {name!r}; {hint}", status)


def possible(change: Callable[[], object]) -> None:
    """Do *change*; an impossible one is an InvalidRequest."""
    try:
        change()
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(str(error)) from None


@dataclass(frozen=True, slots=True)
class Action(Generic[_Subject]):
    """What a verb does to its subject, and the keys that its body may have."""

    do: Callable[[_Subject, Body], object]
    keys: tuple[str, ...] = ()


CONNECTION_VERBS: Mapping[str, Action[SimulatedConnection]] = {
    "break": Action(lambda it, body: it.fail(body.text("message")), ("message",)),
    "heal": Action(lambda it, _: it.heal()),
    "expire": Action(lambda it, _: it.expire()),
    "expires-in": Action(lambda it, body: it.expire_in(body.span("in")), ("in",)),
    "renew": Action(lambda it, body: it.renew(body.span("in") if body.has("in") else None), ("in",)),
    "posted": Action(lambda it, _: it.posted()),
    "post-failed": Action(lambda it, body: it.post_failed(body.text("message", "Media upload failed: Invalid image format")), ("message",)),
    "permissions": Action(lambda it, body: setattr(it, "permissions", _granted(it, body)), ("set", "remove")),
    "flag": Action(lambda it, _: setattr(it, "flagged", True)),
    "vanish": Action(lambda it, body: it.vanish(only_listing=body.flag("only_listing")), ("only_listing",)),
    "appear": Action(lambda it, _: it.appear()),
}
ACCOUNT_VERBS: Mapping[str, Action[SimulatedAccount]] = {
    "revoke": Action(lambda it, _: it.revoke()),
    "restore": Action(lambda it, _: it.restore()),
    "lose-owner": Action(lambda it, _: setattr(it, "owner_found", False)),
    "forbid": Action(lambda it, _: setattr(it, "api_access", False)),
    "forbid-mcp": Action(lambda it, _: setattr(it, "mcp_access", False)),
    "forbid-workspaces": Action(lambda it, _: setattr(it, "workspaces", False)),
    "allow-workspaces": Action(lambda it, _: setattr(it, "workspaces", True)),
    "crash": Action(lambda it, _: setattr(it, "crashed", True)),
    "add-key": Action(lambda it, body: it.keys.add(body.required("key")), ("key",)),
}
USER_VERBS: Mapping[str, Action[SimulatedUser]] = {
    "detach": Action(lambda it, _: setattr(it, "attached", False)),
    "attach": Action(lambda it, _: setattr(it, "attached", True)),
}
API_VERBS: Mapping[str, Action[SimulatedApi]] = {
    "down": Action(lambda it, _: it.script.play(drop())),
    "up": Action(lambda it, _: it.script.play()),
    "latency": Action(lambda it, body: setattr(it, "latency", _latency(body)), ("min", "max")),
    "generation": Action(lambda it, body: setattr(it, "generation", one_of(body.text("to"), Generation, "generation")), ("to",)),
    "brand": Action(lambda it, body: setattr(it, "brand", BRANDS[one_of(body.text("to"), BRANDS, "brand")]), ("to",)),
    "rounding": Action(lambda it, body: setattr(it, "rounding", one_of(body.text("to"), SimulatedRounding, "rounding")), ("to",)),
    "day-texts": Action(lambda it, body: setattr(it, "day_texts", body.flag("on")), ("on",)),
    "two-part-ids": Action(lambda it, body: setattr(it, "two_part_ids", body.flag("on")), ("on",)),
}


def apply(verbs: Mapping[str, Action[_Subject]], subject: _Subject, script: FaultScript, name: str, body: Body) -> None:
    """Do the verb called *name* to *subject*, or play a fault in its *script*. Raises InvalidRequest, with nothing changed."""
    if name in verbs:
        verb = verbs[name]
        body.only(verb.keys)
        possible(lambda: verb.do(subject, body))
    elif name == "behave-normally":
        body.only(())
        script.play()
    elif name == "play":
        body.only(("steps",))
        script.play(*sequence(body.take("steps")))
    else:
        one_of(name, (*verbs, "behave-normally", "play", *STEP_NAMES), "verb", 404)
        script.play(step(name, body))


def _granted(it: SimulatedConnection, body: Body) -> tuple[str, ...]:
    granted = it.permissions if it.permissions is not None else (it.traits.scopes if it.traits else ())
    if body.has("set"):
        granted = body.texts("set")
    lost = body.texts("remove")
    return tuple(scope for scope in granted if scope not in lost)


def _latency(body: Body) -> Any:
    shortest = body.span("min")
    return shortest, max(shortest, body.span("max", shortest))


def _answer(body: Body) -> Fault:
    status = body.number("status", 200)
    if not 200 <= status <= 599:
        raise InvalidRequest("'status' must be from 200 to 599")
    headers = body.take("headers", default={})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequest("'headers' must map names to texts")
    if any(mark in text for pair in headers.items() for text in pair for mark in "\r\n\0"):
        raise InvalidRequest("'headers' must not contain line breaks")
    return faults.answer(status, body.take("body"), headers)


_STEPS: Mapping[str, Callable[[Body], Fault]] = {
    "normal": lambda _: faults.normal(),
    "slow": lambda body: faults.slow(body.span("for", timedelta(seconds=20))),
    "hang": lambda _: faults.hang(),
    "drip": lambda body: faults.drip(
        body.span("every", timedelta(milliseconds=400)), one_of(body.text("where", "body"), Where, "part of an answer")
    ),
    "drop": lambda body: faults.drop(one_of(body.text("where", "start"), Where, "part of an answer")),
    "answer": _answer,
    "gateway": lambda body: faults.gateway_page(body.number("status", 502)),
    "throttle": lambda body: faults.throttle(body.span("retry_after", timedelta(seconds=30)), in_body=body.flag("in_body")),
    "redirect": lambda body: faults.redirect(body.text("location", "http://127.0.0.1:9/"), body.number("status", 302)),
    "garbage": lambda body: faults.garbage(one_of(body.text("name", "html"), faults.NAMES, "garbage")),
}
STEP_NAMES: tuple[str, ...] = tuple(_STEPS)


def step(name: str, body: Body) -> Fault:
    """The fault called *name* with its settings from *body*, whose `times` is the number of requests; raises InvalidRequest."""
    fault = _STEPS[one_of(name, STEP_NAMES, "fault", 404)](body)
    times = body.number("times", 0)
    if times < 0:
        raise InvalidRequest("'times' must be at least 1; without it, for ever")
    body.only(())
    return fault.only(times) if times else fault


def sequence(documents: object) -> list[Fault]:
    """Faults from a list such as `[{"do": "answer", "status": 503, "times": 2}, {"do": "normal"}]`; raises InvalidRequest."""
    if not isinstance(documents, list) or not all(isinstance(document, dict) for document in documents):
        raise InvalidRequest('steps must be a list such as [{"do": "answer", "status": 503, "times": 2}, {"do": "normal"}]')
    steps = []
    for document in documents:
        body = Body(document)
        steps.append(step(body.text("do", "normal"), body))
    return steps
