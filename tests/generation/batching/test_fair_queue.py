"""The queue between clients: nobody who always waits is served much less than another, whatever they ask."""

from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.batching.fair_queue import MAX_REMEMBERED, FairQueue


@given(
    st.lists(st.lists(st.integers(1, 50), min_size=60, max_size=60), min_size=2, max_size=4),
    st.integers(1, 60),
)
def test_clients_that_wait_are_served_alike(costs, turns) -> None:
    """However different their requests are: by no more than the largest (Sheng et al. 2024, theorem 4.4)."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, client in enumerate(costs):
        for cost in client:
            queue.put(str(number), (str(number), cost))
    served = {str(number): 0 for number in range(len(costs))}
    for _ in range(turns):
        taken = queue.first()
        assert taken == queue.pop()
        queue.charge(*taken)
        served[taken[0]] += taken[1]
    assert max(served.values()) - min(served.values()) <= max(max(client) for client in costs)


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_each_clients_requests_keep_their_order_and_none_is_lost(clients) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, client in enumerate(clients):
        queue.put(client, (client, number))
    out = [queue.pop() for _ in range(len(queue))]
    assert len(queue) == 0 and queue.first() is None
    for client in "abc":
        assert [each for each in out if each[0] == client] == [
            (client, number) for number, each in enumerate(clients) if each == client
        ]


def test_a_pause_saves_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("idle", "idle")
    queue.pop()
    for number in range(4):
        queue.put("busy", f"busy {number}")
    for _ in range(2):
        queue.pop()
        queue.charge("busy", 100)
    for number in range(3):
        queue.put("idle", f"idle {number}")
    order = []
    while queue.first() is not None:
        order.append(queue.pop())
        queue.charge(order[-1].split()[0], 100)
    assert order == ["busy 2", "idle 0", "busy 3", "idle 1", "idle 2"]


def test_what_is_removed_is_gone() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(6):
        queue.put("ab"[number % 2], number)
    assert sorted(queue.remove(lambda number: number != 3)) == [0, 1, 2, 4, 5]
    assert len(queue) == 1 and queue.pop() == 3


def test_clients_of_long_ago_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(2 * MAX_REMEMBERED):
        queue.put(str(number), number)
        queue.pop()
    assert len(queue._served) <= MAX_REMEMBERED
