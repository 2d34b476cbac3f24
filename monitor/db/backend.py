"""What the writer needs from a database, whichever it is."""

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

from monitor.errors import StoreUnavailable


class Backend(Protocol):
    """
    One database: its files or server, the instance lock, the writing connection, the readers.

    Attributes:
        heartbeat: seconds after which an idle writer calls `renew`; None when there is nothing to renew.
        examined: whether `open` looked for damage everywhere; what it left out is to be looked at soon.
        patience: first and longest pause between two tries while it is unavailable, in seconds.
    """

    heartbeat: float | None
    examined: bool
    patience: tuple[float, float]

    def open(self) -> None:
        """Take the instance lock, check for damage, bring the schema up to date."""
        ...

    def examine(self) -> None:
        """Look at everything that is stored; raises StoreCorrupt on damage. May take long, and may be called from any thread."""
        ...

    def begin(self) -> Connection:
        """The writing connection with a transaction open, after making sure that we may still write."""
        ...

    def commit(self) -> None:
        """Commit that transaction. After StoreUnavailable, `was_committed` tells what became of it."""
        ...

    def rollback(self) -> None:
        """Drop that transaction; never raises."""
        ...

    def was_committed(self) -> bool:
        """Whether the transaction whose commit failed came through all the same."""
        ...

    def recover(self, error: StoreUnavailable) -> None:
        """Do what helps after *error*, such as a new connection; never raises."""
        ...

    def renew(self) -> None:
        """Show that we are still there."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A read-only connection with one consistent view; may be used from any thread."""
        ...

    def tidy(self) -> bool:
        """A piece of housekeeping between transactions, on the writer's thread; returns whether there is more to do."""
        ...

    def close(self) -> None:
        """Give everything back; never raises."""
        ...
