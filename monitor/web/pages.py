"""The status page as HTML, and the files it needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from monitor.web import words
from monitor.web.views import Board, Filters

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the page: its bytes and its media type."""

    body: bytes
    media_type: str


class Pages:
    """Renders the page. Third-party text is escaped by the engine; no template marks anything as safe."""

    def __init__(self) -> None:
        folder = files("monitor.web") / "static"
        self.static: Mapping[str, StaticFile] = {
            entry.name: StaticFile(entry.read_bytes(), _TYPES[entry.name[entry.name.rindex(".") :]])
            for entry in folder.iterdir()
            if entry.name.endswith(tuple(_TYPES))
        }
        digest = hashlib.sha256(b"".join(self.static[name].body for name in sorted(self.static))).hexdigest()
        environment = Environment(
            loader=PackageLoader("monitor.web"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals.update(edition=digest[:12])
        environment.filters.update(stamp=words.stamp, iso=words.iso)
        self._status = environment.get_template("status.html")

    def status(self, board: Board, filters: Filters, now: datetime) -> bytes:
        """The status page."""
        page = board.page(filters, now)
        text = self._status.render(
            overall=board.overall,
            troubles=board.troubles(now),
            choices=board.choices(page.filters),
            platforms=board.platform_choices(),
            accounts=board.accounts_seen(),
            several_accounts=len(board.accounts) > 1,
            receivers=board.receivers(now),
            incidents=len(board.snapshot.incidents),
            page=page,
            filters=page.filters,
            now=now,
            taken_at=board.snapshot.taken_at,
        )
        return text.encode(errors="replace")
