"""Where the page of each thing is. Addresses are relative, so that the port can stand behind any prefix of a proxy."""

from urllib.parse import quote, unquote

from monitor.domain.connections import Connection

Key = tuple[str, str, str]

NO_USER = "-"
"""Stands for the owner of the account in an address, where a managed user's id would be."""


def connection_path(connection: Connection) -> str:
    """The page of a connection, seen from the root: `connections/<account>/<user or ->/<platform id>`."""
    return "/".join(("connections", _part(connection.account), _part(connection.user_id or NO_USER), _part(connection.platform_id)))


def key_in(path: str) -> Key | None:
    """The account, managed user and platform id that the path of a connection's page names, as the browser sent it."""
    parts = path.split("/")
    if len(parts) != 5 or parts[:2] != ["", "connections"]:
        return None
    account, user, platform_id = (unquote(part, errors="replace") for part in parts[2:])
    return (account, "" if user == NO_USER else user, platform_id)


def _part(text: str) -> str:
    return quote(text, safe="", errors="replace")
