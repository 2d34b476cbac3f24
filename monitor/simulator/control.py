"""
The control API of the simulator, under `/_sim/`: what a rehearsal does to the world, by curl.

Every change is a POST with an optional JSON object. What can't be done is answered with 400 or 404 and what would be right.
"""

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from monitor.simulator import replies
from monitor.simulator.behaviour import describe
from monitor.simulator.connection import SimulatedConnection
from monitor.simulator.help import help_page
from monitor.simulator.journal import Journal
from monitor.simulator.steps import Body, Mistake, one_of
from monitor.simulator.verbs import ACCOUNT_VERBS, API_VERBS, CONNECTION_VERBS, USER_VERBS, apply, possible, required
from monitor.simulator.world import SimulatedAccount, SimulatedUser, World
from monitor.simulator.worlds import connection_like

_SHOWN = 200


class Control:
    """Steers *world* and shows *journal*; knows nothing of HTTP servers, but for the `host` its help page shows."""

    def __init__(self, world: World, journal: Journal) -> None:
        self.host = "127.0.0.1:9841"
        self._world = world
        self._journal = journal

    def answer(self, method: str, path: str, query: str, raw: bytes) -> tuple[int, dict[str, Any] | str]:
        """Do what is asked; returns the status and a JSON document, or a plain text."""
        parts = [part for part in path.split("/") if part]
        try:
            return 200, self._show(parts, _query(query)) if method == "GET" else self._change(method, parts, _query(query), Body(raw))
        except Mistake as mistake:
            return mistake.status, {"error": str(mistake), "help": "GET /_sim/ shows everything that can be done"}

    def _show(self, parts: list[str], query: Mapping[str, str]) -> dict[str, Any] | str:
        match parts:
            case []:
                return help_page(self._world, self.host)
            case ["state"]:
                return self._state(query)
            case ["requests"]:
                return self._journal.document(_count(query.get("last", "50")))
        raise Mistake(f"nothing to see at /{'/'.join(parts)}; there are /state and /requests", 404)

    def _change(self, method: str, parts: list[str], query: Mapping[str, str], body: Body) -> dict[str, Any]:
        if method != "POST":
            raise Mistake("use GET to look and POST to change", 405)
        match parts:
            case ["connections"]:
                return self._connect(body)
            case ["clock"]:
                return self._clock(body)
            case ["api", verb]:
                apply(API_VERBS, self._world, self._world.script, verb, body)
                return {"changed": ["api"], "api": self._settings()}
            case ["requests", "clear"]:
                self._journal.clear()
            case ["reset"]:
                self._world.reset()
                self._journal.clear()
            case [_, _, _]:
                return {"changed": self._each(parts, query, body)[:_SHOWN]}
            case _:
                raise Mistake(f"nothing to do at /{'/'.join(parts)}", 404)
        return {"changed": [parts[0]]}

    def _each(self, parts: list[str], query: Mapping[str, str], body: Body) -> list[str]:
        """Do a verb to one account or managed user, or to every connection that a pattern matches; returns their names."""
        kind, name, verb = parts
        match kind:
            case "connections":
                found = self._found(name, query)
                for it in found:
                    apply(CONNECTION_VERBS, it, it.script, verb, body.copy())
                return [it.platform_id for it in found]
            case "accounts":
                account = self._world.accounts[one_of(name, self._world.accounts, "account", 404)]
                apply(ACCOUNT_VERBS, account, account.script, verb, body)
            case "users":
                user = self._user(name)
                apply(USER_VERBS, user, user.script, verb, body)
            case _:
                raise Mistake(f"nothing to do at /{'/'.join(parts)}", 404)
        return [name]

    def _found(self, pattern: str, query: Mapping[str, str]) -> list[SimulatedConnection]:
        found = self._world.find(pattern, account=query.get("account"), user=query.get("user"))
        if found:
            return found
        near = difflib.get_close_matches(pattern, [it.platform_id for _, _, it in self._world.every()][:1000], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; GET /_sim/state lists them, and * stands for anything"
        raise Mistake(f"no connection has the id {pattern!r}{hint}", 404)

    def _user(self, user_id: str) -> SimulatedUser:
        users = {user.id: user for account in self._world.accounts.values() for user in account.users.values()}
        return users[one_of(user_id, users, "managed user", 404)]

    def _connect(self, body: Body) -> dict[str, Any]:
        body.only(("id", "account", "user", "username"))
        platform_id = required(body, "id")
        name = one_of(body.text("account", next(iter(self._world.accounts))), self._world.accounts, "account", 404)
        account, user_id = self._world.accounts[name], body.text("user")
        username = body.text("username")
        if user_id and user_id not in account.users:
            account.users[user_id] = SimulatedUser(user_id, f"{user_id[:6]}@example.com", f"User {user_id[:6]}", self._world.clock)
        holder = account.users[user_id] if user_id else account.owner
        holder.connect(connection_like(self._world, platform_id, username or None))
        return {"changed": [platform_id]}

    def _clock(self, body: Body) -> dict[str, Any]:
        clock = self._world.clock
        body.only(("advance", "rewind", "set", "speed"))
        if body.has("set"):
            at = body.moment("set")
            possible(lambda: clock.set_to(at))
        elif body.has("speed"):
            speed = body.real("speed")
            possible(lambda: clock.set_speed(speed))
        else:
            span = -body.span("rewind") if body.has("rewind") else body.span("advance")
            possible(lambda: clock.move(span))
        return {"changed": ["clock"], "now": clock.now().isoformat()}

    def _settings(self) -> dict[str, Any]:
        world = self._world
        return {
            "generation": world.generation,
            "brand": world.brand.name,
            "rounding": world.rounding,
            "day_texts": world.day_texts,
            "two_part_ids": world.two_part_ids,
            "latency_seconds": [span.total_seconds() for span in world.latency],
            "script": describe(world.script),
        }

    def _state(self, query: Mapping[str, str]) -> dict[str, Any]:
        world = self._world
        wanted = {id(it) for it in world.find(query.get("id", "*"), account=query.get("account"), user=query.get("user"))}
        rows = [row for row in world.every() if id(row[2]) in wanted]
        return {
            "now": world.clock.now().isoformat(),
            "speed": world.clock.speed,
            "api": self._settings(),
            "accounts": [_account(account) for account in world.accounts.values()],
            "connections_total": len(rows),
            "connections": [_connection(world, *row) for row in rows[: _count(query.get("last", str(_SHOWN)))]],
        }


def _account(account: SimulatedAccount) -> dict[str, Any]:
    return {
        "name": account.name,
        "keys": sorted(account.keys),
        "revoked_keys": sorted(account.revoked),
        "owner_found": account.owner_found,
        "api_access": account.api_access,
        "workspaces": account.workspaces,
        "crashed": account.crashed,
        "script": describe(account.script),
        "users": [
            {"id": user.id, "attached": user.attached, "connections": len(user.connections), "script": describe(user.script)}
            for user in account.users.values()
        ],
    }


def _connection(world: World, account: SimulatedAccount, user: SimulatedUser, it: SimulatedConnection) -> dict[str, Any]:
    verdict = replies.verdict_document(world, it)
    return {
        "account": account.name,
        "user": "" if user is account.owner else user.id,
        "id": it.platform_id,
        "status": verdict["status"],
        "message": verdict["message"],
        "tokenExpiresIn": verdict["tokenExpiresIn"],
        "tokenStatus": replies.token_status(world, it),
        "listed": it.listed,
        "known": it.known,
        "script": describe(it.script),
    }


def _query(text: str) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(text, keep_blank_values=True).items()}


def _count(text: str) -> int:
    if not text.isdecimal():
        raise Mistake("'last' must be a whole number")
    return int(text[:6])
