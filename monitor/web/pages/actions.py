"""The pages on which operators act: a GET shows a form, its POST does what the form says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from monitor.clock import Clock
from monitor.domain.events import incident_key
from monitor.domain.silencing.acceptance import acceptable
from monitor.domain.views.snapshot import ConnectionView
from monitor.errors import StoreError
from monitor.text.format import moment, one_line, short_name, subject_name, title_of
from monitor.text.links import connection_path
from monitor.web.actions import ActionRefused, Actions, TooManyActions, own_origin
from monitor.web.api.parameters import Query
from monitor.web.api.problems import ApiProblem
from monitor.web.pages.parameters import check
from monitor.web.pages.templates import Pages
from monitor.web.status.board import StatusBoard
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.urls import ACTOR, connection_key, content_policy, route

_FORGED = "This form did not come from a page of this monitor, was sent already, or is too old. Nothing was done."
_WRITE_SECONDS = 5.0
_KEY = "{account:[^/]+}/{user:[^/]+}/{platform_id:[^/]+}"


@dataclass(frozen=True, slots=True)
class ActionForm:
    """
    What an action page asks.

    Attributes:
        back: the page it belongs to, relative to the root.
        run: does it, with author and reason; returns what was done, and the path of the action that undoes it, or "".
        leads_to: the address elsewhere that follows when it is done; empty: a page says what was done.
    """

    title: str
    text: str
    button: str
    back: str
    asks_reason: bool
    run: Callable[[str, str], Awaitable[tuple[str, str]]]
    leads_to: str = ""


def _headers(form: ActionForm) -> Mapping[str, str]:
    """Of the page of *form*, which says where it comes from only where the policy lets it."""
    headers = {"Content-Type": "text/html; charset=utf-8", "Referrer-Policy": "same-origin"}
    return headers | ({"Content-Security-Policy": content_policy(form.leads_to)} if form.leads_to else {})


class _RefusedForm(Exception):
    """A form that is refused with a status; which *field* of it is wrong."""

    def __init__(self, status: int, text: str, field: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.field = field


async def _result(request: web.Request, actions: Actions, form: ActionForm) -> tuple[str, str]:
    """What was done, and the path of what undoes it. Raises `_RefusedForm` when nothing was done."""
    try:
        fields = await request.post()
    except (ValueError, LookupError, web.RequestPayloadError):
        raise _RefusedForm(400, "The form can't be read. Nothing was done.") from None
    token, reason = fields.get("token", ""), fields.get("reason", "")
    if not own_origin(request.headers) or not isinstance(token, str) or not actions.forms.redeem(token, request[ACTOR], request.path):
        raise _RefusedForm(403, _FORGED)
    unknown = sorted(set(fields) - {"token", "reason"})
    if unknown:
        raise _RefusedForm(400, f"The form has an unknown field: {one_line(unknown[0], 60)}. Nothing was done.")
    if not isinstance(reason, str):
        raise _RefusedForm(400, "The field reason holds a file. Nothing was done.", "reason")
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            return await form.run(request[ACTOR], reason)
    except TooManyActions:
        raise _RefusedForm(429, "Too many actions within a minute. Nothing was done.") from None
    except ActionRefused as refused:
        raise _RefusedForm(400, f"Nothing was done: {refused}.", refused.field) from None
    except (StoreError, TimeoutError):
        raise _RefusedForm(503, "The database takes no writes now. Nothing was done.") from None


class ActionPages:
    """The forms. *actions*: does what they say; None while `web.actions` is off: then there are none."""

    def __init__(
        self, pages: Pages, snapshots: SnapshotCache, actions: Callable[[], Actions | None], clock: Clock, instance: Callable[[], str]
    ) -> None:
        self._pages = pages
        self._snapshots = snapshots
        self._actions = actions
        self._clock = clock
        self._instance = instance

    def routes(self) -> list[web.RouteDef]:
        """Every form; the server lets POST through to these only."""
        return [
            route(f"/actions/check/{_KEY}", self._of_view(_check)),
            route(f"/actions/reconnect/{_KEY}", self._of_view(_reconnect)),
            route(f"/actions/silence/{_KEY}", self._of_view(_silence)),
            route(f"/actions/accept-permissions/{_KEY}", self._of_view(_accept_permissions)),
            route("/actions/acknowledge/{key:[^/]+}", self._handler(self._acknowledge)),
            route("/actions/end-silence/{number:[0-9]{1,15}}", self._handler(self._end_silence)),
        ]

    def _handler(self, form_of: Callable[[web.Request, StatusBoard, Actions], ActionForm | None]) -> Callable[[web.Request], Any]:
        async def respond(request: web.Request) -> web.StreamResponse:
            actions, board = self._actions(), self._snapshots.board()
            form = form_of(request, board, actions) if actions is not None else None
            if actions is None or form is None:
                raise web.HTTPNotFound
            try:
                check(Query, request.query.items())
            except ApiProblem as refused:
                return refused.response()
            if request.method == "POST":
                return await self._do(request, board, actions, form)
            return self._page(request, board, actions, form)

        return respond

    async def _do(self, request: web.Request, board: StatusBoard, actions: Actions, form: ActionForm) -> web.Response:
        try:
            done, undo = await _result(request, actions, form)
        except _RefusedForm as refused:
            return self._page(request, board, actions, form, problem=str(refused), field=refused.field, status=refused.status)
        if form.leads_to:
            return web.Response(status=303, headers={**_headers(form), "Location": form.leads_to})
        return self._page(request, board, actions, form, done=done, undo=undo)

    def _page(
        self,
        request: web.Request,
        board: StatusBoard,
        actions: Actions,
        form: ActionForm,
        *,
        problem: str = "",
        field: str = "",
        done: str = "",
        undo: str = "",
        status: int = 200,
    ) -> web.Response:
        root = "../" * (request.path.count("/") - 1)
        token = "" if done else actions.forms.issue(request[ACTOR], request.path)
        body = self._pages.render(
            "action.html", board, self._clock.now(), root, form=form, token=token, problem=problem, field=field, done=done, undo=undo
        )
        return web.Response(status=status, body=body, headers=_headers(form))

    def _of_view(self, form_of: Callable[[ConnectionView, Actions], ActionForm | None]) -> Callable[[web.Request], Any]:
        """The handler of a form about one connection; *form_of* makes the form."""

        def found(request: web.Request, board: StatusBoard, actions: Actions) -> ActionForm | None:
            view = board.find(connection_key(request))
            return form_of(view, actions) if view is not None else None

        return self._handler(found)

    def _acknowledge(self, request: web.Request, board: StatusBoard, actions: Actions) -> ActionForm | None:
        key, instance = request.match_info["key"], self._instance()
        incident = next((each for each in board.snapshot.incidents if incident_key(each.incident, instance) == key), None)
        if incident is None:
            return None
        view = board.numbered().get(incident.connection_id or 0)

        async def run(author: str, reason: str) -> tuple[str, str]:
            await actions.acknowledge(incident, author, reason)
            return f"Acknowledged by {author}: no more reminders.", ""

        subject = incident.incident.subject
        about = subject_name(subject, view.connection) if view is not None else title_of(subject, board.snapshot.users)
        text = "Its reminders stop until it closes or becomes worse. That it closed is notified as usual."
        return ActionForm(f"Acknowledge the incident of {one_line(about, 200)}?", text, "Acknowledge", "incidents", True, run)

    def _end_silence(self, request: web.Request, _: StatusBoard, actions: Actions) -> ActionForm | None:
        number = int(request.match_info["number"])

        async def run(author: str, _reason: str) -> tuple[str, str]:
            await actions.end_silence(number, author)
            return f"Silence {number} was ended by {author}.", ""

        text = "What it suppressed and is still due is sent."
        return ActionForm(f"End silence {number}?", text, "End it", "incidents", False, run)


def _reconnect(view: ConnectionView, actions: Actions) -> ActionForm | None:
    connection, dashboard = view.connection, actions.dashboard()
    if not dashboard:
        return None

    async def run(author: str, _: str) -> tuple[str, str]:
        await actions.check(connection, author, following=dashboard)
        return "", ""

    text = "It is tested every few seconds for two minutes from now on, so that its page shows it heal."
    title = f"Reconnect {short_name(connection, view.state)} at PostPost?"
    return ActionForm(title, text, "Go to PostPost", connection_path(connection), False, run, dashboard)


def _check(view: ConnectionView, actions: Actions) -> ActionForm:
    connection = view.connection

    async def run(author: str, _: str) -> tuple[str, str]:
        await actions.check(connection, author)
        return "It is tested now, and every few seconds for two minutes.", ""

    text = "It is tested within the limits of its account, and again every few seconds for two minutes: so one sees it heal."
    return ActionForm(f"Test {short_name(connection, view.state)} now?", text, "Test now", connection_path(connection), False, run)


def _silence(view: ConnectionView, actions: Actions) -> ActionForm:
    connection = view.connection

    async def run(author: str, reason: str) -> tuple[str, str]:
        silence = await actions.silence(connection, author, reason)
        return f"Silenced until {moment(silence.ends_at)} by {author}.", f"actions/end-silence/{silence.id}"

    text = "Its notifications are suppressed for two hours; it is checked all the same."
    title = f"Silence {short_name(connection, view.state)} for two hours?"
    return ActionForm(title, text, "Silence 2 h", connection_path(connection), True, run)


def _accept_permissions(view: ConnectionView, actions: Actions) -> ActionForm:
    connection, lost = view.connection, one_line(", ".join(acceptable(view.connection, view.state)), 300)

    async def run(author: str, reason: str) -> tuple[str, str]:
        acceptance = await actions.accept_loss(view, author, reason)
        return f"Accepted by {author}: it no longer needs {one_line(', '.join(acceptance.permissions), 300)}.", ""

    required = f"It lacks {lost}, which is then no longer required, and the incident closes."
    title = f"Accept the lost permissions of {short_name(connection, view.state)}?"
    text = required if lost else "It lacks nothing that can be accepted."
    return ActionForm(title, text, "Accept", connection_path(connection), True, run)
