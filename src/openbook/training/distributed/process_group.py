"""A group of several processes, on PyTorch Distributed: gloo between processors, NCCL between CUDA devices."""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from openbook.errors import OpenbookError, SettingError
from openbook.training.group import RANK, SIZE, Group

T = TypeVar("T")

RENDEZVOUS = "OPENBOOK_RENDEZVOUS"
"""Where `--processes` has its processes meet; torchrun's meet as its own variables say."""

BUCKET_BYTES = 25 << 20
"""Gradients are sent in parts of about this size, so that one travels while the next is packed (Li et al. 2020)."""

ROLL_CALL_SECONDS = 5.0
"""For one more process to say that it waits too, when a message from one is missed."""
LISTEN_SECONDS = 0.5
"""Between two looks at whether they are asked."""
SPEAKING_SECONDS = 0.5
"""For another process to say how the group ended, before this one ends and draws attention to itself."""

LOST = re.compile(r"gloo|NCCL|Connection|[Tt]imed out|Broken pipe")
"""In the messages of errors that have no type of their own."""

WAIT_SECONDS = 0.01, 1.0
"""Between two looks at whether the first process is done: at first, and at most."""


class ProcessGroup(Group):
    """This process's place in a group of several.

    Gradients travel between devices. All else is small, and travels between processors over gloo.

    Args:
        device: the kind of device that all compute on.
        timeout: seconds to wait for another process before the run ends.

    Raises:
        OpenbookError: the processes cannot reach each other, or there are fewer devices than processes.
    """

    def __init__(self, device: torch.device, timeout: float) -> None:
        self.rank, self.size = int(os.environ[RANK]), int(os.environ[SIZE])
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self._local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self._timeout, self._turns = timeout, 0
        if device.type == "cuda":
            self._take_device()
        wait = timedelta(seconds=timeout)
        url = os.environ.get(RENDEZVOUS, "env://")
        try:
            store, *_ = next(rendezvous(url, self.rank, self.size, timeout=wait))
            self._store = own_store(store)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size, timeout=wait)
            self._control = dist.new_group(backend="gloo", timeout=wait)
        except (RuntimeError, ValueError) as error:
            raise OpenbookError(
                f"rank {self.rank}: cannot reach the other processes within {timeout:.0f} s "
                f"({str(error).splitlines()[0]}); start all of them, with the same address and port"
            ) from None
        self._listen()

    def _take_device(self) -> None:
        count = torch.cuda.device_count()
        if count < self.local_size:
            raise SettingError(
                f"`processes` {self.local_size}: this machine has {count} CUDA devices, and each process needs one; "
                "start fewer, or give `device`=cpu"
            )
        torch.cuda.set_device(self._local_rank)

    def device(self, device: torch.device) -> torch.device:
        return torch.device("cuda", self._local_rank) if device.type == "cuda" else torch.device("cpu")

    def total(self, *numbers: float) -> list[float]:
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def most(self, number: float) -> float:
        return self._reduced([number], dist.ReduceOp.MAX)[0]

    def reading(self, number: float) -> float:
        value = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(value, 0, group=self._control)
        return float(value)

    def _reduced(self, numbers: Sequence[float], operation: Any) -> list[float]:
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, operation, group=self._control)
        found: list[float] = values.tolist()
        return found

    def agreed(self, value: T) -> T:
        return self.all_values(value)[0]

    def all_values(self, value: T) -> list[T]:
        """The values of all processes, by rank; as JSON, so that none runs what another sends."""
        text = json.dumps(value).encode()
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(text)
        dist.all_reduce(lengths, group=self._control)
        padded = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        padded[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        texts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(texts, padded, group=self._control)
        return [json.loads(each[:length].numpy().tobytes()) for each, length in zip(texts, lengths, strict=True)]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        self._turns += 1
        key = f"turn/{self._turns}"
        if not self.is_first and (problem := self._wait_for(key)):
            raise OpenbookError(problem)
        try:
            yield
        except BaseException as error:
            if self.is_first:
                self._store.set(key, str(error) or type(error).__name__)
            raise
        if self.is_first:
            self._store.set(key, "")

    def _wait_for(self, key: str) -> str:
        """The first process's message, however long it takes: books may be read for hours."""
        pause, longest = WAIT_SECONDS
        while not self._store.check([key]):
            time.sleep(pause)
            pause = min(1.5 * pause, longest)
        return self._store.get(key).decode()

    def together(self, work: Callable[[], T]) -> T:
        problem, own = "", None
        try:
            result = work()
        except OpenbookError as error:
            problem, own = str(error), error
        problems = self.all_values(problem)
        if not any(problems):
            return result
        if own is not None and len(set(problems)) == 1:
            raise own
        rank = next(number for number, each in enumerate(problems) if each)
        raise OpenbookError(problems[rank] if rank == 0 else f"rank {rank}: {problems[rank]}")

    def add_gradients(self, parameters: Sequence[nn.Parameter], *numbers: float) -> list[float]:
        """All-reduce, in buckets. A weight without a gradient in every process keeps none."""
        if self.sharded:  # they have travelled during the backward pass
            return self.total(*numbers)
        found = self.total(*numbers, *(float(each.grad is not None) for each in parameters))
        totals, present = found[: len(numbers)], found[len(numbers) :]
        gradients = []
        for parameter, count in zip(parameters, present, strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        sent = []
        for bucket in _buckets(gradients):
            flat = torch.cat([each.flatten() for each in bucket])
            sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
        for bucket, flat, work in sent:
            work.wait()
            for gradient, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))
        return totals

    def divided(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Shared on one machine only: between machines the results would travel longer than they take."""
        if self.local_size < self.size or len(rows) < self.size:
            return work(rows)
        count = -(-len(rows) // self.size)
        mine = rows[self.rank * count : (self.rank + 1) * count]
        own = rows.new_zeros((count, *rows.shape[1:]))
        if len(mine):
            own[: len(mine)] = work(mine)
        results = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(results, own)
        return torch.cat(results)[: len(rows)]

    def missing(self) -> list[int]:
        """The ranks that are not waiting for others themselves: they hang, or are gone.

        To be asked where a message from another process failed or did not come.
        """
        missing = set(range(self.size))
        try:
            self._store.set("call", "")
            until = time.monotonic() + ROLL_CALL_SECONDS
            while missing and time.monotonic() < until:
                time.sleep(LISTEN_SECONDS)
                here = {rank for rank in missing if self._store.check([f"waits/{rank}"])}
                if here:
                    missing -= here
                    until = time.monotonic() + ROLL_CALL_SECONDS
        except RuntimeError:  # the store has gone with the process that kept it
            return []
        return sorted(missing)

    def _listen(self) -> None:
        """Answer, from a thread, when another process asks whether this one waits: as soon as it does."""
        main = threading.main_thread().ident or 0

        def listen() -> None:
            with suppress(RuntimeError):
                while not (self._store.check(["call"]) and _waits(sys._current_frames()[main])):
                    time.sleep(LISTEN_SECONDS)
                self._store.set(f"waits/{self.rank}", "")

        threading.Thread(target=listen, name="roll call", daemon=True).start()

    def speaks(self) -> bool:
        try:
            mine = has_not_spoken(self._store)
        except RuntimeError:  # the store has gone with the process that kept it
            mine = self.is_first
        if not mine:
            time.sleep(SPEAKING_SECONDS)
        return mine

    def leave(self) -> None:
        self.all_values("")  # whoever starts processes may end all when the first has gone
        dist.destroy_process_group()


def own_store(store: Store) -> Store:
    """What a group keeps at the place where its processes met; started again, they meet where they met before."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"openbook/{attempt}", store)


def has_not_spoken(store: Store) -> bool:
    """Whether none of the group has said how it ended; from now on one has."""
    return store.add("spoken", 1) == 1


def _waits(frame: FrameType) -> bool:
    """Whether a thread that has come to this frame waits for other processes."""
    path = Path(frame.f_code.co_filename)
    return path == Path(__file__) or "distributed" in path.parts


def is_lost_connection(error: BaseException) -> bool:
    """Whether this is what PyTorch Distributed raises where another process ends or does not answer."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and bool(LOST.search(str(error))))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype, one behind the other, in lists of about `BUCKET_BYTES`; the last layers' come first."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in reversed(gradients):
        if bucket and (size + gradient.nbytes > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket
