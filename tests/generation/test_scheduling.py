"""Batches by length, results in order, windows of what has arrived."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.scheduling import WorkQueue, batch_by_length, map_in_order, read_ahead

lengths = st.lists(st.integers(1, 30), max_size=40)


@given(lengths, st.integers(1, 100))
def test_batches_hold_each_once_and_no_more_than_they_may(lengths, most) -> None:
    found = list(batch_by_length(lengths, most))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= most
    longest = [lengths[place] for batch in found for place in batch]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(lengths, max_size=4), st.integers(1, 60), st.randoms())
def test_results_come_in_order_whatever_finishes_first(windows, most, random) -> None:
    """Some of each batch is put aside, and done after the next."""
    sizes = []

    def work(waiting):
        late = []
        while taken := waiting.take():
            sizes.append(len(taken) * max(item for _, item in taken))
            late += taken
            random.shuffle(late)
            done = random.randint(1, len(late))
            yield from late[:done]
            late = late[done:]
        yield from late

    assert list(map_in_order(windows, lambda item: item, work, most)) == [item for window in windows for item in window]
    assert all(size <= max(most, 30) for size in sizes)


def test_what_is_empty_waits_for_nobody() -> None:
    waiting = WorkQueue(["", "ab", "", "a"], [0, 2, 0, 1], 9)
    assert waiting.take_empty() == [0, 2]
    assert waiting.take() == [(1, "ab"), (3, "a")]


def test_the_last_batch_is_known_before_it_is_taken() -> None:
    waiting = WorkQueue("abcde", [5, 4, 4, 2, 1], 8)
    known = []
    while taken := waiting.take():
        known.append((len(taken), waiting.is_ending()))
    assert known == [(1, False), (2, True), (2, True)]


def test_a_result_comes_as_soon_as_those_before_it_are_there() -> None:
    batches_done = []

    def work(waiting):
        while taken := waiting.take():
            batches_done.append([item for _, item in taken])
            yield from taken

    results = map_in_order([[30, 2, 1]], lambda item: item, work, 10)
    assert [next(results), batches_done] == [30, [[30]]]
    assert [next(results), batches_done] == [2, [[30], [2, 1]]]


def test_threads_work_on_a_batch_each() -> None:
    """Two batches wait for each other, so one after the other would never end; each product is on one core."""
    meeting, before, cores = threading.Barrier(2, timeout=20), torch.get_num_threads(), []

    def work(waiting):
        while taken := waiting.take():
            meeting.wait()
            cores.append(torch.get_num_threads())
            yield from taken

    items = list(range(1, 17))
    assert list(map_in_order([items], lambda item: 3, work, 1000, threads=2)) == items
    assert cores == [1, 1] and torch.get_num_threads() == before


def test_an_error_of_a_thread_is_raised() -> None:
    def work(waiting):
        yield from waiting.take()
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        list(map_in_order([range(1, 41)], lambda item: item, work, 40, threads=2))


def test_threads_end_with_who_listens() -> None:
    before, cores = threading.active_count(), torch.get_num_threads()

    def work(waiting):
        while taken := waiting.take():
            yield from taken

    results = map_in_order([range(1, 4001)], lambda item: item, work, 4000, threads=2)
    assert next(results) == 1
    results.close()
    assert (threading.active_count(), torch.get_num_threads()) == (before, cores)


def test_a_window_is_what_has_arrived() -> None:
    """One line, then two more that were sent together, while nothing waits for the end of the input."""
    gates = [threading.Semaphore(0) for _ in range(2)]
    sent = threading.Event()

    def lines():
        yield "one"
        gates[0].acquire()
        yield "two"
        yield "three"
        sent.set()
        gates[1].acquire()

    windows = read_ahead(lines())
    assert next(windows) == ["one"]
    gates[0].release()
    assert sent.wait(10)
    assert next(windows) == ["two", "three"]
    gates[1].release()
    assert list(windows) == []


def test_windows_are_no_larger_than_asked_for() -> None:
    windows = list(read_ahead(range(1000), 7))
    assert [item for window in windows for item in window] == list(range(1000))
    assert max(map(len, windows)) <= 7


def test_an_error_comes_after_what_was_read_before_it() -> None:
    def lines():
        yield from "ab"
        raise OSError("gone")

    got = []
    with pytest.raises(OSError, match="gone"):
        for window in read_ahead(lines()):
            got += window
    assert got == ["a", "b"]


def test_a_reader_ends_with_who_listens() -> None:
    before = threading.active_count()
    windows = read_ahead(iter(int, 1), 3)
    next(windows)
    windows.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and threading.active_count() > before:
            thread.join(2)
    assert threading.active_count() <= before
