"""What a backend offers to the writer and the readers."""

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

from monitor.errors import StoreUnavailable


class Backend(Protocol):
    """
    One database: its files or server, the instance lock, the writing connection, the readers.

    Attributes:
        heartbeat: seconds after which an idle writer calls `renew`; None when there is nothing to renew.
        examined: whether `open` checked everything for damage; what it left out should be examined soon.
        patience: first and longest pause between two tries while it is unavailable, in seconds.
    """

    heartbeat: float | None
    examined: bool
    patience: tuple[float, float]

    def open(self) -> None:
        """Take the instance lock, check for damage, upgrade the schema."""
        ...

    def examine(self) -> None:
        """Check everything for damage; raises StoreCorrupt. May take long, and may be called from any thread."""
        ...

    def begin(self) -> Connection:
        """The writing connection with an open transaction, once it is sure that this instance may still write."""
        ...

    def commit(self) -> None:
        """Commit that transaction. After StoreUnavailable, `was_committed` knows the outcome."""
        ...

    def rollback(self) -> None:
        """Roll that transaction back; never raises."""
        ...

    def was_committed(self) -> bool:
        """Whether the transaction whose commit failed was committed all the same."""
        ...

    def recover(self, error: StoreUnavailable) -> None:
        """Prepare for the next try after *error*, such as by a new connection; never raises."""
        ...

    def renew(self) -> None:
        """Show that this instance is alive."""
        ...

    def lease_remaining(self) -> float:
        """Seconds until nothing may be sent any more; infinite outside a cluster."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A read-only connection with one consistent view; may be used from any thread."""
        ...

    def tidy(self) -> bool:
        """One step of housekeeping between transactions, on the writer's thread; returns whether there is more to do."""
        ...

    def close(self) -> None:
        """Release everything; never raises."""
        ...
