"""Addresses that texts and pages lead to: of a connection's page, and of an alert's section of the runbook."""

import re
from urllib.parse import quote

from monitor.domain.connections import Connection

NO_USER = "-"
"""Stands in a path for the owner of the account, where a managed user's id would be."""

RUNBOOK = "docs/how-to/alerts.md"
"""The runbook where no other address is configured, relative to this project."""

# Nearly every id; to quote it takes five times as long.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def connection_path(connection: Connection) -> str:
    """The page of a connection, relative to the root: `connections/<account>/<user or ->/<platform id>`."""
    return "/".join(
        ("connections", url_part(connection.account), url_part(connection.user_id or NO_USER), url_part(connection.platform_id))
    )


def runbook_link(alert: str, page: str = "") -> str:
    """The section about *alert* of the runbook at *page*."""
    return f"{page or RUNBOOK}#{alert.lower()}"


def url_part(text: str) -> str:
    """*text* as one part of an address."""
    return text if _PLAIN(text) else quote(text, safe="", errors="replace")
