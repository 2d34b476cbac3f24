"""JSON from an operator, read strictly: spans of time and steps of a script. Mistakes are told with what would be right."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from monitor.simulator import behaviour, garbage
from monitor.simulator.behaviour import Behaviour, Where

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_Choice = TypeVar("_Choice", bound=str)


class Mistake(Exception):
    """A control request that can't be done; `status` is the HTTP status it is answered with."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def parse_span(value: object) -> timedelta:
    """A span of time from `"7d 3h"`, `"90m"`, `"1.5h"`, `"500ms"`, or a number of seconds. Raises `Mistake`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Mistake(f"{json.dumps(value)} is no span of time; write one like '7d 3h', '90m' or 30 (seconds)")
    text = value.strip() if isinstance(value, str) else f"{value}s"
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    seconds, end = 0.0, 0
    while match := _SPAN.match(text, end):
        seconds += float(match[1]) * _UNITS[match[2]]
        end = match.end()
    if not text or end != len(text):
        raise Mistake(f"{value!r} is no span of time; write one like '7d 3h', '90m' or 30 (seconds)")
    try:
        return sign * timedelta(seconds=seconds)
    except OverflowError:
        raise Mistake(f"{value!r} is too long") from None


def one_of(name: str, known: Iterable[_Choice], what: str, status: int = 400) -> _Choice:
    """The one of *known* that is called *name*; raises `Mistake` with the nearest one otherwise."""
    choices = {str(choice): choice for choice in known}
    if name in choices:
        return choices[name]
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(list(choices)[:40])}"
    raise Mistake(f"unknown {what} {name!r}; {hint}", status)


class Body:
    """A JSON object whose keys are taken one by one."""

    def __init__(self, raw: bytes | Mapping[str, Any]) -> None:
        self._left = dict(_object(raw) if isinstance(raw, bytes) else raw)

    def copy(self) -> "Body":
        """The same keys once more, for the next subject of the same request."""
        return Body(self._left)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of *key*, whatever it is."""
        return self._left.pop(key, default)

    def text(self, key: str, default: str = "") -> str:
        """The text under *key*."""
        value = self.take(key, default)
        if not isinstance(value, str):
            raise Mistake(f"{key!r} must be a text")
        return value

    def number(self, key: str, default: int) -> int:
        """The whole number under *key*."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Mistake(f"{key!r} must be a whole number")
        return value

    def flag(self, key: str) -> bool:
        """Whether *key* is true; absent is false."""
        value = self.take(key, default=False)
        if not isinstance(value, bool):
            raise Mistake(f"{key!r} must be true or false")
        return value

    def span(self, key: str, default: timedelta | None = None) -> timedelta:
        """The span of time under *key*, required unless there is a default."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise Mistake(f"say {key!r}, a span of time like '7d 3h', '90m' or 30 (seconds)")
        return parse_span(value)

    def moment(self, key: str) -> datetime:
        """The moment under *key*, ISO 8601 with its offset from UTC."""
        try:
            at = datetime.fromisoformat(self.text(key))
        except ValueError:
            raise Mistake(f"{key!r} must be a moment like '2030-01-01T00:00:00Z'") from None
        if at.tzinfo is None:
            raise Mistake(f"{key!r} needs an offset, such as the Z in '2030-01-01T00:00:00Z'")
        return at

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts under *key*."""
        value = self.take(key, default=[])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Mistake(f"{key!r} must be a list of texts")
        return tuple(value)

    def has(self, key: str) -> bool:
        """Whether *key* is there and not yet taken."""
        return key in self._left

    def real(self, key: str) -> float:
        """The number under *key*."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Mistake(f"{key!r} must be a number")
        return float(value)

    def nothing_left(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._left:
            raise Mistake(f"unknown key {key!r}")

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys other than the *known* ones."""
        names = tuple(known)
        for key in self._left:
            if key not in names:
                raise Mistake(f"unknown key {key!r}; known here: {', '.join(names) or 'none'}")


def _object(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Mistake(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Mistake('the body must be a JSON object, such as {"times": 2}')
    return document


def _answer(body: Body) -> Behaviour:
    status = body.number("status", 200)
    if not 200 <= status <= 599:
        raise Mistake("'status' must be from 200 to 599")
    headers = body.take("headers", default={})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise Mistake("'headers' must map names to texts")
    if any(mark in text for pair in headers.items() for text in pair for mark in "\r\n\0"):
        raise Mistake("'headers' can't hold line breaks")
    return behaviour.answer(status, body.take("body"), headers)


_STEPS: Mapping[str, Callable[[Body], Behaviour]] = {
    "normal": lambda _: behaviour.normal(),
    "slow": lambda body: behaviour.slow(body.span("for", timedelta(seconds=20))),
    "hang": lambda _: behaviour.hang(),
    "drip": lambda body: behaviour.drip(
        body.span("every", timedelta(milliseconds=400)), one_of(body.text("where", "body"), Where, "part of an answer")
    ),
    "drop": lambda body: behaviour.drop(one_of(body.text("where", "start"), Where, "part of an answer")),
    "answer": _answer,
    "gateway": lambda body: behaviour.gateway_page(body.number("status", 502)),
    "throttle": lambda body: behaviour.throttle(body.span("retry_after", timedelta(seconds=30)), in_body=body.flag("in_body")),
    "redirect": lambda body: behaviour.redirect(body.text("location", "http://127.0.0.1:9/"), body.number("status", 302)),
    "garbage": lambda body: behaviour.garbage(one_of(body.text("name", "html"), garbage.NAMES, "garbage")),
}
STEP_NAMES: tuple[str, ...] = tuple(_STEPS)


def step(name: str, body: Body) -> Behaviour:
    """The step called *name* with its settings from *body*, whose `times` says for how many requests. Raises `Mistake`."""
    made = _STEPS[one_of(name, STEP_NAMES, "behaviour", 404)](body)
    times = body.number("times", 0)
    if times < 0:
        raise Mistake("'times' must be at least 1; leave it out for ever")
    body.nothing_left()
    return made.only(times) if times else made


def sequence(documents: object) -> list[Behaviour]:
    """Steps from a list such as `[{"do": "answer", "status": 503, "times": 2}, {"do": "normal"}]`. Raises `Mistake`."""
    if not isinstance(documents, list) or not all(isinstance(document, dict) for document in documents):
        raise Mistake('steps must be a list such as [{"do": "answer", "status": 503, "times": 2}, {"do": "normal"}]')
    steps = []
    for document in documents:
        body = Body(document)
        steps.append(step(body.text("do", "normal"), body))
    return steps
