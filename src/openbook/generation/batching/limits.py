"""How much a batcher takes at once, and figures of what it does."""

from dataclasses import dataclass

from openbook.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How much a batcher takes at once.

    Attributes:
        max_batch_tokens: tokens that the rows under way hold, prompts and sources included.
        max_rows: rows under way.
        max_queue: requests that wait.
        prefill_tokens: tokens of prompts to read between two steps of the others; four times as many where none waits.
        prefix_cache_bytes: memory for beginnings of prompts that may come again; 0 keeps none.
    """

    max_batch_tokens: int = 65_536
    max_rows: int = 64
    max_queue: int = 256
    prefill_tokens: int = 64
    prefix_cache_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        for name in ("max_batch_tokens", "max_rows", "max_queue", "prefill_tokens"):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` is {getattr(self, name)}; give a whole number from 1")
        if self.prefix_cache_bytes < 0:
            raise SettingError(f"`prefix_cache_bytes` is {self.prefix_cache_bytes}; give a whole number from 0")


@dataclass(kw_only=True)
class Counters:
    """What a batcher has done since it was opened."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    preemptions: int = 0
    requests_finished: int = 0
    requests_cancelled: int = 0
    requests_failed: int = 0
    prefix_lookups: int = 0
    prefix_hits: int = 0
    prefix_tokens_reused: int = 0


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What a batcher does at this moment, and its counters.

    Attributes:
        rows_active: rows that take part in steps.
        rows_prefilling: rows whose prompts are being read.
        requests_queued: requests that wait.
        requests_active: requests under way.
        batch_tokens: tokens that the rows under way hold.
        prefix_cache_bytes: memory of the prefix cache.
        counters: since it was opened.
    """

    rows_active: int
    rows_prefilling: int
    requests_queued: int
    requests_active: int
    batch_tokens: int
    prefix_cache_bytes: int
    counters: Counters
