"""The control API and its index page: every change is a POST with an optional JSON object."""

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from monitor.simulator import faults, responses
from monitor.simulator.actions import (
    ACCOUNT_VERBS,
    API_VERBS,
    CONNECTION_VERBS,
    USER_VERBS,
    Body,
    InvalidRequest,
    apply,
    one_of,
    possible,
)
from monitor.simulator.faults import describe
from monitor.simulator.presets import connection_like
from monitor.simulator.request_log import RequestLog
from monitor.simulator.state import SimulatedAccount, SimulatedApi, SimulatedConnection, SimulatedUser

PREFIX = "/_sim"
_SHOWN = 200


class Control:
    """Changes *world*, shows *world* and *journal*; `host` is for the examples of the index page."""

    def __init__(self, world: SimulatedApi, journal: RequestLog) -> None:
        self.host = "127.0.0.1:9841"
        self._world = world
        self._journal = journal

    def answer(self, method: str, path: str, query: str, raw: bytes) -> tuple[int, dict[str, Any] | str]:
        """The status and the document, or a plain text, of the response to a request."""
        parts = [part for part in unquote(path).removeprefix(PREFIX).split("/") if part]
        try:
            return 200, self._show(parts, _query(query)) if method == "GET" else self._change(method, parts, _query(query), Body(raw))
        except InvalidRequest as error:
            return error.status, {"error": str(error), "help": "GET /_sim/ lists all actions"}

    def _show(self, parts: list[str], query: Mapping[str, str]) -> dict[str, Any] | str:
        match parts:
            case []:
                return help_page(self._world, self.host)
            case ["state"]:
                return self._state(query)
            case ["requests"]:
                return self._journal.document(_count(query.get("last", "50")))
        raise InvalidRequest(f"unknown page /{'/'.join(parts)}; there are /state and /requests", 404)

    def _change(self, method: str, parts: list[str], query: Mapping[str, str], body: Body) -> dict[str, Any]:
        if method != "POST":
            raise InvalidRequest("use GET to read and POST to change", 405)
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
                raise InvalidRequest(f"unknown action /{'/'.join(parts)}", 404)
        return {"changed": [parts[0]]}

    def _each(self, parts: list[str], query: Mapping[str, str], body: Body) -> list[str]:
        """Do a verb to one account or managed user, or to every connection that matches a pattern; returns their names."""
        kind, name, verb = parts
        match kind:
            case "connections":
                connections = self._matching(name, query)
                for connection in connections:
                    apply(CONNECTION_VERBS, connection, connection.script, verb, body.copy())
                return [connection.platform_id for connection in connections]
            case "accounts":
                account = self._world.accounts[one_of(name, self._world.accounts, "account", 404)]
                apply(ACCOUNT_VERBS, account, account.script, verb, body)
            case "users":
                users = {user.id: user for account in self._world.accounts.values() for user in account.users.values()}
                user = users[one_of(name, users, "managed user", 404)]
                apply(USER_VERBS, user, user.script, verb, body)
            case _:
                raise InvalidRequest(f"unknown action /{'/'.join(parts)}", 404)
        return [name]

    def _matching(self, pattern: str, query: Mapping[str, str]) -> list[SimulatedConnection]:
        connections = self._world.find(pattern, account=query.get("account"), user=query.get("user"))
        if connections:
            return connections
        near = difflib.get_close_matches(pattern, [it.platform_id for _, _, it in self._world.every()][:1000], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; GET /_sim/state lists them; * matches anything"
        raise InvalidRequest(f"no connection has the id {pattern!r}{hint}", 404)

    def _connect(self, body: Body) -> dict[str, Any]:
        body.only(("id", "account", "user", "username"))
        platform_id = body.required("id")
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


def _connection(world: SimulatedApi, account: SimulatedAccount, user: SimulatedUser, connection: SimulatedConnection) -> dict[str, Any]:
    verdict = responses.verdict_document(world, connection)
    return {
        "account": account.name,
        "user": "" if user is account.owner else user.id,
        "id": connection.platform_id,
        "status": verdict["status"],
        "message": verdict["message"],
        "tokenExpiresIn": verdict["tokenExpiresIn"],
        "tokenStatus": responses.token_status(world, connection),
        "listed": connection.listed,
        "known": connection.known,
        "script": describe(connection.script),
    }


def _query(text: str) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(text, keep_blank_values=True).items()}


def _count(text: str) -> int:
    if not text.isdecimal():
        raise InvalidRequest("'last' must be a whole number")
    return int(text[:6])


_PAGE = """\
The simulated PostPost. Every line below can be copied; set S first:

  S=http://{host}/_sim

Read
  curl $S/state  # everything; ?id=linkedin-* &account= &user= &last=20 filter it
  curl $S/requests?last=20  # totals, statuses, the latest requests

One connection (its id, or a pattern with *; ?account=NAME&user=ID when several share the id)
  curl -X POST $S/connections/{id}/break -d '{{"message": "Token has been revoked"}}'
  curl -X POST $S/connections/{id}/heal
  curl -X POST $S/connections/{id}/expire
  curl -X POST $S/connections/{id}/expires-in -d '{{"in": "6d"}}'
  curl -X POST $S/connections/{id}/renew -d '{{"in": "60d"}}'
  curl -X POST $S/connections/{id}/post-failed -d '{{"message": "Invalid image format"}}'
  curl -X POST $S/connections/{id}/posted
  curl -X POST $S/connections/{id}/permissions -d '{{"remove": ["w_member_social"]}}'
  curl -X POST $S/connections/{id}/flag  # the list says expired (September generation)
  curl -X POST $S/connections/{id}/vanish -d '{{"only_listing": false}}'
  curl -X POST $S/connections/{id}/appear
  curl -X POST $S/connections -d '{{"id": "linkedin-New1", "account": "main"}}'

Faults, at connections/ID, accounts/NAME, users/ID or api; "times": 2 limits them to two requests
  curl -X POST $S/connections/{id}/slow -d '{{"for": "20s"}}'
  curl -X POST $S/connections/{id}/hang
  curl -X POST $S/connections/{id}/drip -d '{{"every": "400ms", "where": "body"}}'  # where: body, headers, start
  curl -X POST $S/connections/{id}/drop -d '{{"where": "body"}}'
  curl -X POST $S/connections/{id}/answer -d '{{"status": 500, "body": {{"error": "Failed to test connection"}}}}'
  curl -X POST $S/connections/{id}/gateway -d '{{"status": 502}}'
  curl -X POST $S/connections/{id}/redirect -d '{{"location": "https://example.com/"}}'
  curl -X POST $S/connections/{id}/garbage -d '{{"name": "truncated"}}'
  curl -X POST $S/connections/{id}/play -d '{{"steps": [{{"do": "answer", "status": 503, "times": 2}}, {{"do": "normal"}}]}}'
  curl -X POST $S/connections/{id}/behave-normally
  garbage: {garbage}

The account
  curl -X POST $S/accounts/{account}/revoke
  curl -X POST $S/accounts/{account}/restore
  curl -X POST $S/accounts/{account}/throttle -d '{{"retry_after": "30s", "in_body": false}}'
  curl -X POST $S/accounts/{account}/forbid  # also lose-owner, forbid-mcp, forbid-workspaces, allow-workspaces, crash
  curl -X POST $S/accounts/{account}/add-key -d '{{"key": "sk_new"}}'
  curl -X POST $S/users/ID/detach  # also attach

The API as a whole
  curl -X POST $S/api/down  # connections close without an answer
  curl -X POST $S/api/up
  curl -X POST $S/api/latency -d '{{"min": "100ms", "max": "900ms"}}'
  curl -X POST $S/api/generation -d '{{"to": "september"}}'
  curl -X POST $S/api/brand -d '{{"to": "publora"}}'
  curl -X POST $S/api/rounding -d '{{"to": "nearest"}}'  # floor, nearest, ceil
  curl -X POST $S/api/day-texts -d '{{"on": true}}'  # "29 days" in place of "29d 3h"
  curl -X POST $S/api/two-part-ids -d '{{"on": true}}'  # ids with a second dash are refused

Time (of the simulated PostPost only)
  curl -X POST $S/clock -d '{{"advance": "3d"}}'  # also rewind, set
  curl -X POST $S/clock -d '{{"speed": 3600}}'  # an hour each second

Start over
  curl -X POST $S/reset
  curl -X POST $S/requests/clear
"""


def help_page(world: SimulatedApi, host: str = "127.0.0.1:9841") -> str:
    """The index page, with an account and a connection of *world* in its examples."""
    account = next(iter(world.accounts), "main")
    platform_id = next((connection.platform_id for _, _, connection in world.every()), "linkedin-Tz9W5i6ZYG")
    return _PAGE.format(host=host, id=platform_id, account=account, garbage=", ".join(faults.NAMES))
