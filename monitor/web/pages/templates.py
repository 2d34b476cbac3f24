"""Jinja environment and static files."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from monitor.domain.views.status import Filters
from monitor.schemas.facts import iso
from monitor.text.advice import reconnects
from monitor.text.format import clock, day, moment, second, stamp
from monitor.text.links import url_part
from monitor.web.pages.connection import Profile
from monitor.web.pages.history import SparklineRow
from monitor.web.status.board import Page, StatusBoard
from monitor.web.status.sidebar import accounts_of, heartbeat_of, receivers_of

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
DEEP = "../../../"
"""From the page of a connection to the root."""
# Of a page in pieces: so many parts of a template at a time.
_PARTS = 1000
_NO_CHARTS = SparklineRow(None, None)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the pages: its bytes and its media type."""

    body: bytes
    media_type: str


class Pages:
    """Renders the pages. Third-party text is escaped by the engine; no template marks anything as safe."""

    def __init__(self, acting: Callable[[], bool] = lambda: False, dashboard: Callable[[], str] = lambda: "") -> None:
        folder = files("monitor.web") / "static"
        self.static: Mapping[str, StaticFile] = {
            entry.name: StaticFile(entry.read_bytes(), _TYPES[entry.name[entry.name.rindex(".") :]])
            for entry in folder.iterdir()
            if entry.name.endswith(tuple(_TYPES))
        }
        digest = hashlib.sha256(b"".join(self.static[name].body for name in sorted(self.static))).hexdigest()
        self._site = {"edition": digest[:12], "acting": acting, "dashboard": dashboard}

    def status(
        self, board: StatusBoard, page: Page, sparklines: Mapping[int, SparklineRow], now: datetime, past: datetime | None = None
    ) -> bytes:
        """The status page, or what it was in the *past*."""
        banner, cards = board.banner_and_cards(now)
        return self.render(
            "status.html",
            board,
            now,
            banner=banner,
            cards=cards,
            choices=board.choices(page.filters),
            accounts=accounts_of(board.snapshot, board.accounts),
            several_accounts=len(board.accounts) > 1,
            receivers=receivers_of(board.snapshot, now),
            heartbeat=heartbeat_of(board.snapshot, now),
            page=page,
            filters=page.filters,
            sparklines=sparklines,
            unread=past is None and any(row.view.connection.id not in sparklines for row in page.rows),
            no_charts=_NO_CHARTS,
            past=past,
        )

    def connection(self, board: StatusBoard, profile: Profile, now: datetime) -> bytes:
        """The page of one connection."""
        return self.render("connection.html", board, now, root=DEEP, profile=profile, row=profile.row, label_address=_label_address)

    def nothing(
        self, board: StatusBoard, root: str, now: datetime, title: str = "Not found", text: str = "There is no page at this address."
    ) -> bytes:
        """The page of an address that leads to nothing, and why."""
        return self.render("nothing.html", board, now, root=root, title=title, text=text)

    def reference(self, board: StatusBoard, description: Mapping[str, Any], now: datetime) -> bytes:
        """The OpenAPI document, for people."""
        components: Mapping[str, Any] = description["components"]

        def at(reference: str) -> Any:
            """What a `$ref` names."""
            return components[reference.split("/")[2]][reference.split("/")[3]]

        return self.render("reference.html", board, now, root="../../", document=description, at=at)

    def render(self, template: str, board: StatusBoard, now: datetime, root: str = "", **values: Any) -> bytes:
        """A page of *template* with *values* and what every page shows."""
        return b"".join(self.pieces(template, board, now, root, **values))

    def pieces(self, template: str, board: StatusBoard, now: datetime, root: str = "", **values: Any) -> Iterator[bytes]:
        """The same in pieces, each made in a few milliseconds."""
        known = {
            "board": board,
            "overall": board.overall,
            "incidents_open": len(board.snapshot.incidents),
            "taken_at": board.snapshot.taken_at,
            "now": now,
            "root": root,
        }
        parts = _environment().get_template(template).generate(**self._site, **known, **values)
        while piece := "".join(islice(parts, _PARTS)):
            yield piece.encode(errors="replace")


@cache
def _environment() -> Environment:
    """Of the whole process: it keeps the compiled templates."""
    environment = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["reconnects"] = reconnects
    environment.filters.update(
        stamp=stamp,
        second=second,
        minute=moment,
        iso=iso,
        day=day,
        clock=clock,
        part=url_part,
        number="{:,}".format,
        local="{:%Y-%m-%dT%H:%M}".format,
    )
    return environment


def _label_address(name: str, value: str) -> str:
    return Filters(labels=(f"{name}={value}",)).address()
