"""Whether requests may leave: an instance of a cluster sends none once its lease may have run out, and breaks off those under way."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet


class Gate:
    """Lets requests out while *may_send* says so. *transports*: whose requests it breaks off."""

    def __init__(self, may_send: Callable[[], bool] = lambda: True) -> None:
        self.may_send = may_send
        self.transports: WeakSet[Any] = WeakSet()

    def break_off(self) -> None:
        """End every request under way: what is not sent yet is never sent, not even when a lost network is back."""
        for transport in tuple(self.transports):
            transport.break_off()
