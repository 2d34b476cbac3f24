"""Which connection is meant by an id and, when several accounts have it, an account."""

from collections.abc import Iterable

from monitor.domain.model import Connection


def matching(connections: Iterable[Connection], platform_id: str, account: str | None) -> list[Connection]:
    """Those of *connections* with this id; *account* is a name, or a name and a user as `name/user`."""
    found = [connection for connection in connections if connection.platform_id == platform_id]
    if account is None:
        return found
    exact = [connection for connection in found if connection.account_label == account]
    return exact or [connection for connection in found if connection.account == account]
