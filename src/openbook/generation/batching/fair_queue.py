"""A queue that is fair between clients: whoever was served least comes next (Sheng et al. 2024, algorithm 2).

A client's counter grows with the tokens that it was served. One that comes back after a pause starts no lower than
those that are waiting, so pauses save nothing up.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

PROMPT_COST, OUTPUT_COST = 1, 2
"""What a token of a prompt, and one of an answer, count for (Sheng et al. 2024, section 5)."""
MAX_REMEMBERED = 4096
"""Clients whose counters are kept; beyond, those that have not asked for longest are forgotten."""


class FairQueue(Generic[Item]):
    """Items of many clients; those of one keep their order."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Item]] = {}
        self._served: OrderedDict[str, float] = OrderedDict()
        self._size = 0
        self._level = 0.0  # the counter of whoever came last

    def __len__(self) -> int:
        return self._size

    def put(self, client: str, item: Item) -> None:
        """Add an item of this client."""
        if client not in self._waiting:
            least = min((self._served[each] for each in self._waiting), default=self._level)
            self._served[client] = max(self._served.get(client, 0.0), least)
            self._waiting[client] = deque()
        self._served.move_to_end(client)
        self._waiting[client].append(item)
        self._size += 1
        while len(self._served) > MAX_REMEMBERED and (oldest := next(iter(self._served))) not in self._waiting:
            del self._served[oldest]

    def first(self) -> Item | None:
        """The item that comes next; None if there is none."""
        client = self._next_client()
        return None if client is None else self._waiting[client][0]

    def pop(self) -> Item:
        """Take the item that comes next."""
        client = self._next_client()
        assert client is not None, "the queue is empty"
        waiting = self._waiting[client]
        item = waiting.popleft()
        self._size -= 1
        self._level = self._served[client]
        if not waiting:
            del self._waiting[client]
        return item

    def charge(self, client: str, cost: float) -> None:
        """The client was served so much."""
        if client in self._served:
            self._served[client] += cost

    def remove(self, is_gone: Callable[[Item], bool]) -> list[Item]:
        """Take out all items for which this is true."""
        gone: list[Item] = []
        for client, waiting in list(self._waiting.items()):
            stays = deque(item for item in waiting if not is_gone(item))
            gone += [item for item in waiting if is_gone(item)]
            if stays:
                self._waiting[client] = stays
            else:
                del self._waiting[client]
        self._size -= len(gone)
        return gone

    def _next_client(self) -> str | None:
        """The client that was served least; of equal ones, the one that has waited longest."""
        return min(self._waiting, key=self._served.__getitem__, default=None)
