"""Engines: token ids in, logits out. Whatever decodes is written against this interface and knows no text.

session, logits = engine.prefill(prompts)
while ...:
    logits = session.step(tokens)
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from openbook.generation.cache import Cache
from openbook.generation.product import prepared
from openbook.transformer.decoder_only import DecoderOnly
from openbook.transformer.mask import positions_of


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

    def branch(self, parents: Tensor) -> None:
        """Beam i of each row goes on from what was its beam parents (B, W)[i]; a row starts as one beam.

        Nothing is copied or computed anew.
        """
        ...

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, with its beams: rows may repeat, be fewer (finished) or more."""
        ...

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` columns, at least 1; the next step goes on from there."""
        ...


class Engine(Protocol):
    """A model opened for decoding. It may serve any number of sessions, one after another or in turns."""

    @property
    def vocabulary(self) -> int:
        """Number V of tokens it can give."""
        ...

    @property
    def context(self) -> int:
        """How many tokens a row may hold."""
        ...

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Session, Tensor]:
        """Start a session with prompts of any lengths from 1 to `context`; logits (B, V) of the token after each."""
        ...


class TorchEngine:
    """The reference engine: the PyTorch model itself, on whatever device it is.

    It shares the model's weights and sees later changes to them; the model is left as it was.
    """

    def __init__(self, model: DecoderOnly) -> None:
        self._model = prepared(model)
        self._device = next(model.parameters()).device
        self.vocabulary = model.architecture.vocabulary
        self.context = model.architecture.context

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple["TorchSession", Tensor]:
        """As `Engine.prefill`."""
        longest = max(map(len, prompts))
        tokens = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts], device=self._device)
        positions = None
        if min(map(len, prompts)) < longest:
            missing = torch.tensor([longest - len(ids) for ids in prompts], device=self._device)
            positions = positions_of(torch.arange(longest, device=self._device) >= missing[:, None])
        session = TorchSession(self._model)
        return session, session.extend(tokens, positions)


class TorchSession:
    """A batch under way in a `TorchEngine`."""

    def __init__(self, model: DecoderOnly) -> None:
        self._model = model
        self._cache = Cache(len(model.architecture.decoder.blocks))

    @property
    def length(self) -> int:
        """How many columns it holds."""
        return self._cache.length

    def extend(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """Append tokens (B, T) at positions (B, T), None without padding; logits (B, V) after the last of them."""
        return self._model(tokens, positions, cache=self._cache, last_only=True)[:, -1].float()

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """As `Session.step`."""
        if tokens.dim() == 2:
            positions = self._cache.next_position.expand(tokens.shape)
            return self._model(tokens, positions, cache=self._cache).float()
        return self.extend(tokens[:, None], self._cache.next_position if self._cache.padded else None)

    @torch.inference_mode()
    def branch(self, parents: Tensor) -> None:
        """As `Session.branch`."""
        self._cache.branch(parents)

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """As `Session.reorder`."""
        self._cache.reorder(rows)

    def truncate(self, length: int) -> None:
        """As `Session.truncate`."""
        self._cache.truncate(length)
