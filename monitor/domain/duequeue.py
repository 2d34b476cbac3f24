"""Which connection is due next: a heap that holds every connection at most once."""

import heapq
from collections.abc import Container, Iterable


class DueQueue:
    """
    Connection ids ordered by due time (monotonic seconds), first come first served among equals.

    Putting an id again moves it; taking one removes it until it is put back, so no connection is in flight twice.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._due: dict[int, tuple[float, int]] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._due

    def put(self, connection_id: int, due: float) -> None:
        """Make *connection_id* due at *due*, wherever it stood before."""
        self._order += 1
        self._due[connection_id] = (due, self._order)
        heapq.heappush(self._heap, (due, self._order, connection_id))

    def discard(self, connection_id: int) -> None:
        """Forget *connection_id* if it is waiting."""
        self._due.pop(connection_id, None)

    def keep(self, connection_ids: Container[int]) -> None:
        """Forget every waiting id that is not among *connection_ids*."""
        for connection_id in [one for one in self._due if one not in connection_ids]:
            self.discard(connection_id)

    def take(self, now: float) -> tuple[int, float] | None:
        """Remove and return the id that is due longest, with its due time; None when nothing is due at *now*."""
        self._skip_moved()
        if not self._heap or self._heap[0][0] > now:
            return None
        due, _, connection_id = heapq.heappop(self._heap)
        del self._due[connection_id]
        return connection_id, due

    def next_due(self) -> float | None:
        """When the first one is due; None when nothing waits."""
        self._skip_moved()
        return self._heap[0][0] if self._heap else None

    def due_of(self, connection_id: int) -> float | None:
        """When *connection_id* is due; None while it is not waiting."""
        entry = self._due.get(connection_id)
        return entry[0] if entry is not None else None

    def hasten(self, connection_ids: Iterable[int], due: float) -> None:
        """Make the waiting ones among *connection_ids* due at *due*, in the order given."""
        for connection_id in connection_ids:
            if connection_id in self._due:
                self.put(connection_id, due)

    def _skip_moved(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
