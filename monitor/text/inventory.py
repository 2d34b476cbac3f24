"""How the API's lists of connections and managed users changed, in one clause."""

from collections.abc import Sequence

from monitor.text.format import count

_SHOWN = 2


def short_list(listed: int, known: int) -> str:
    """The list of connections lost more than half of them."""
    return f"the API listed {listed} of {known} known connections; they are kept until the lists agree"


def short_users(listed: int, known: int) -> str:
    """The list of managed users lost more than half of them."""
    return f"the API listed {listed} of {known} known managed users; they and their connections are kept until the lists agree"


def users_lost(users: Sequence[str], connections: int) -> str:
    """Managed users are no longer listed."""
    more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
    are = "is" if len(users) == 1 else "are"
    named = f"{count(len(users), 'managed user')} ({', '.join(users[:_SHOWN])}{more})"
    return f"{named} {are} no longer listed; {count(connections, 'connection')} no longer watched"


def connections_lost(vanished: int, known: int) -> str:
    """Unusually many connections are no longer listed."""
    return f"{vanished} of {known} connections are no longer listed, and no longer watched"


def owner_listed(user: str, connections: int) -> str:
    """The account's owner is among his own managed users."""
    return f"the managed user {user} is the owner of the account; {count(connections, 'connection')} watched twice until now, and once from now on"
