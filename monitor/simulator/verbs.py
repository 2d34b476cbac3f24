"""What the control API can do to a connection, an account, a managed user, or the API as a whole: one table each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from monitor.simulator.behaviour import Script, drop
from monitor.simulator.connection import SimulatedConnection
from monitor.simulator.platforms import BRANDS, Generation
from monitor.simulator.steps import STEP_NAMES, Body, Mistake, one_of, sequence, step
from monitor.simulator.world import Rounding, SimulatedAccount, SimulatedUser, World

_Subject = TypeVar("_Subject")


@dataclass(frozen=True, slots=True)
class Verb(Generic[_Subject]):
    """Something to do with a subject, and the keys its body may have."""

    do: Callable[[_Subject, Body], object]
    keys: tuple[str, ...] = ()


CONNECTION_VERBS: Mapping[str, Verb[SimulatedConnection]] = {
    "break": Verb(lambda it, body: it.fail(body.text("message")), ("message",)),
    "heal": Verb(lambda it, _: it.heal()),
    "expire": Verb(lambda it, _: it.expire()),
    "expires-in": Verb(lambda it, body: it.expire_in(body.span("in")), ("in",)),
    "renew": Verb(lambda it, body: it.renew(body.span("in") if body.has("in") else None), ("in",)),
    "posted": Verb(lambda it, _: it.posted()),
    "post-failed": Verb(lambda it, body: it.post_failed(body.text("message", "Media upload failed: Invalid image format")), ("message",)),
    "permissions": Verb(lambda it, body: setattr(it, "permissions", _granted(it, body)), ("set", "remove")),
    "flag": Verb(lambda it, _: setattr(it, "flagged", True)),
    "vanish": Verb(lambda it, body: it.vanish(only_listing=body.flag("only_listing")), ("only_listing",)),
    "appear": Verb(lambda it, _: it.appear()),
}
ACCOUNT_VERBS: Mapping[str, Verb[SimulatedAccount]] = {
    "revoke": Verb(lambda it, _: it.revoke()),
    "restore": Verb(lambda it, _: it.restore()),
    "lose-owner": Verb(lambda it, _: setattr(it, "owner_found", False)),
    "forbid": Verb(lambda it, _: setattr(it, "api_access", False)),
    "forbid-mcp": Verb(lambda it, _: setattr(it, "mcp_access", False)),
    "forbid-workspaces": Verb(lambda it, _: setattr(it, "workspaces", False)),
    "allow-workspaces": Verb(lambda it, _: setattr(it, "workspaces", True)),
    "crash": Verb(lambda it, _: setattr(it, "crashed", True)),
    "add-key": Verb(lambda it, body: it.keys.add(required(body, "key")), ("key",)),
}
USER_VERBS: Mapping[str, Verb[SimulatedUser]] = {
    "detach": Verb(lambda it, _: setattr(it, "attached", False)),
    "attach": Verb(lambda it, _: setattr(it, "attached", True)),
}
API_VERBS: Mapping[str, Verb[World]] = {
    "down": Verb(lambda it, _: it.script.play(drop())),
    "up": Verb(lambda it, _: it.script.play()),
    "latency": Verb(lambda it, body: setattr(it, "latency", _latency(body)), ("min", "max")),
    "generation": Verb(lambda it, body: setattr(it, "generation", one_of(body.text("to"), Generation, "generation")), ("to",)),
    "brand": Verb(lambda it, body: setattr(it, "brand", BRANDS[one_of(body.text("to"), BRANDS, "brand")]), ("to",)),
    "rounding": Verb(lambda it, body: setattr(it, "rounding", one_of(body.text("to"), Rounding, "rounding")), ("to",)),
    "day-texts": Verb(lambda it, body: setattr(it, "day_texts", body.flag("on")), ("on",)),
    "two-part-ids": Verb(lambda it, body: setattr(it, "two_part_ids", body.flag("on")), ("on",)),
}


def apply(verbs: Mapping[str, Verb[_Subject]], subject: _Subject, script: Script, name: str, body: Body) -> None:
    """
    Do the verb called *name* to *subject*, or give its *script* something to play.

    Raises:
        Mistake: there is no such verb, or its body is wrong; nothing was changed.
    """
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


def required(body: Body, key: str) -> str:
    """The text under *key*, which must be there."""
    value = body.text(key)
    if not value:
        raise Mistake(f"say {key!r}")
    return value


def possible(change: Callable[[], object]) -> None:
    """Do *change*; what the world refuses is the operator's mistake."""
    try:
        change()
    except (ValueError, OverflowError) as error:
        raise Mistake(str(error)) from None


def _granted(it: SimulatedConnection, body: Body) -> tuple[str, ...]:
    granted = it.permissions if it.permissions is not None else (it.traits.scopes if it.traits else ())
    if body.has("set"):
        granted = body.texts("set")
    lost = body.texts("remove")
    return tuple(scope for scope in granted if scope not in lost)


def _latency(body: Body) -> Any:
    shortest = body.span("min")
    return shortest, max(shortest, body.span("max", shortest))
