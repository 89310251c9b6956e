"""Engines: token ids in, logits out. Whatever decodes is written against this interface and knows no text.

session, logits = engine.prefill(prompts)
while ...:
    logits = session.step(tokens)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.generation.cache import Cache
from openbook.generation.engines.malloc import keep_freed_memory
from openbook.generation.engines.onednn_linear import prepared
from openbook.generation.topk import Continuations, Numbers, Sums, likeliest
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer

SMALL = 50_000_000
"""Parameters of a model below which a core for each batch is faster than all cores for one."""


class Session(Protocol):
    """A batch of sequences under way. Its columns are tokens; shorter prompts are padded on the left."""

    @property
    def length(self) -> int:
        """How many columns it holds."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token to each row, ids (B,), and give the logits (B, V) of the token after it.

        Of a session that has branched: a token to each beam, ids (B, W), and logits (B, W, V).
        """
        ...

    def likeliest(self, tokens: Numbers, sums: Sums, never: Tensor, count: int) -> Continuations:
        """Append a token to each beam, ids (B, W), as `step` does, and give what best follows, see `likeliest`.

        One beam is a session that has not branched. A search's few numbers come from the processor's memory and go
        there; `never` is where the model is.
        """
        ...

    def branch(self, parents: Tensor) -> None:
        """Beam i of each row goes on from what was its beam parents (B, W)[i]; a row starts as one beam.

        Nothing is copied or computed anew.
        """
        ...

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, with its beams: rows may repeat, be fewer (finished) or more."""
        ...

    def join(self, others: Sequence[Self]) -> None:
        """The rows of other sessions of the same engine follow those of this one; the others are not used again.

        All have branched to the same number of beams, or none has.
        """
        ...

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` columns, at least 1; the next step goes on from there.

        Raises:
            ValueError: the session has branched.
        """
        ...


class Engine(Protocol):
    """A model opened for decoding. It may serve any number of sessions, one after another or in turns."""

    @property
    def vocab_size(self) -> int:
        """Number V of tokens it can give."""
        ...

    @property
    def context(self) -> int:
        """How many tokens a row may hold."""
        ...

    @property
    def threads(self) -> int:
        """How many sessions it is worth its while to work on at once, each on a thread of its own."""
        ...

    @property
    def source_vocab_size(self) -> int | None:
        """Number of tokens that a source may have; None for a model that reads no sources."""
        ...

    def check_sources(self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
        """Raises OpenbookError if sources are missing, or given to a model that reads none."""
        ...

    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Session, Tensor]:
        """Start a session with prompts of any lengths from 1 to `context`; logits (B, V) of the token after each.

        An encoder-decoder takes a source of such a length with each prompt, and reads it once.

        Raises:
            OpenbookError: sources are missing, or given to a model that reads none.
        """
        ...


class EngineOf:
    """What every engine says of the model that it has opened."""

    def __init__(self, model: Transformer) -> None:
        self.device = next(model.parameters()).device
        if self.device.type == "cpu":
            keep_freed_memory()
        architecture = model.architecture
        self.vocab_size, self.context = architecture.vocab_size, architecture.context
        self.threads = torch.get_num_threads() if self.device.type == "cpu" and _is_small(model) else 1
        self.source_vocab_size = None
        if architecture.encoder is not None:
            self.source_vocab_size = architecture.source_vocab_size or architecture.vocab_size

    def check_sources(self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
        """Raises OpenbookError if sources are missing, or given to a model that reads none."""
        if self.source_vocab_size is None:
            if sources is not None:
                raise OpenbookError("this model is decoder-only: it reads no sources")
        elif sources is None:
            raise OpenbookError("this model is an encoder-decoder: it needs a source to each prompt")
        elif len(sources) != len(prompts) or not all(sources):
            raise OpenbookError("each prompt needs a source of at least one token")


class TorchEngine(EngineOf):
    """The reference engine: the PyTorch model itself, on whatever device it is.

    It shares the model's weights and sees later changes to them; the model is left as it was.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self._model = prepared(model)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["TorchSession", Tensor]:
        """As `Engine.prefill`."""
        self.check_sources(prompts, sources)
        session = TorchSession(self._model)
        encoder_output = None if sources is None else self._model.encode(*as_batch(sources, self.device))
        return session, session.extend(*as_batch(prompts, self.device), encoder_output)


def _is_small(model: Transformer) -> bool:
    """Whether products are so small that cores which share them wait for each other more than they work."""
    return sum(weight.numel() for weight in model.parameters()) < SMALL


def as_batch(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids (B, T), shorter rows padded on the left, and their positions where there is padding."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in rows], device=device)
    if min(map(len, rows)) == longest:
        return tokens, None
    missing = torch.tensor([longest - len(ids) for ids in rows], device=device)
    return tokens, positions_of(torch.arange(longest, device=device) >= missing[:, None])


class CachedSession(ABC):
    """What sessions have in common that keep their columns in a `Cache`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    @property
    def length(self) -> int:
        """How many columns it holds."""
        return self._cache.length

    @abstractmethod
    def step(self, tokens: Tensor) -> Tensor:
        """As `Session.step`."""

    @torch.inference_mode()
    def likeliest(self, tokens: Numbers, sums: Sums, never: Tensor, count: int) -> Continuations:
        """As `Session.likeliest`."""
        newest = torch.from_numpy(tokens).to(never.device)
        logits = self.step(newest) if tokens.shape[1] > 1 else self.step(newest[:, 0])[:, None]
        best, places = likeliest(logits, torch.from_numpy(sums).to(never.device), never, count)
        return Continuations.of(best.cpu().numpy(), places.cpu().numpy(), logits.shape[-1])

    @torch.inference_mode()
    def branch(self, parents: Tensor) -> None:
        """As `Session.branch`."""
        self._cache.branch(parents)

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """As `Session.reorder`."""
        self._cache.reorder(rows)

    @torch.inference_mode()
    def join(self, others: Sequence[Self]) -> None:
        """As `Session.join`."""
        self._cache.join([other._cache for other in others])

    @torch.inference_mode()
    def truncate(self, length: int) -> None:
        """As `Session.truncate`."""
        self._cache.truncate(length)


class TorchSession(CachedSession):
    """A batch under way in a `TorchEngine`."""

    def __init__(self, model: Transformer) -> None:
        super().__init__(Cache(len(model.architecture.decoder.blocks)))
        self._model = model

    def extend(self, tokens: Tensor, positions: Tensor | None, encoder_output: EncoderOutput | None = None) -> Tensor:
        """Append tokens (B, T) at positions (B, T), None without padding; logits (B, V) after the last of them.

        The first call of an encoder-decoder's session passes the encoder's output.
        """
        x = self._model.hidden(tokens, positions, cache=self._cache, encoder_output=encoder_output)
        return self._model.logits(x[:, -1:])[:, -1].float()

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """As `Session.step`."""
        if tokens.dim() == 2:
            self._cache.tidy()
            positions = self._cache.next_position.expand(tokens.shape)
            return self._model(tokens, positions, cache=self._cache).float()
        return self.extend(tokens[:, None], self._cache.next_position if self._cache.padded else None)
