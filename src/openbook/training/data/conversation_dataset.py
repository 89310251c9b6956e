"""Conversations as what a run learns from (see `dataset.Dataset`): a model goes on with its own chat template."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track
from openbook.text.chat.chat import Chat
from openbook.text.corpus.books import find_books
from openbook.text.corpus.corpus import count
from openbook.training.continuation import plan_continuation
from openbook.training.data.conversation_task import ConversationRows, Conversations
from openbook.training.data.conversation_tokens import (
    HELD_OUT,
    TokenConversations,
    held_out,
    tokenize_conversations,
)
from openbook.training.data.dataset import Tell
from openbook.training.loop import Event, Listener
from openbook.training.plan.plan import Plan, Text, bytes_a_token
from openbook.training.recipe import Recipe
from openbook.training.report.record import files_record, hash_of
from openbook.training.request import Request
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer

CONTEXT = 256
"""Tokens of a row, if no conversation is longer: many share it, and what all of them begin with stands in it once."""
ROUND = 32
"""The context is a multiple of this."""
FEW = 1000
"""Conversations; of fewer none is held out, if nobody asks for it: each of them is to be known afterwards."""
READINGS = 12
"""How often conversations are read where no minutes are given."""
SAMPLING = Sampling(max_tokens=60, temperature=0)


@dataclass
class ConversationDataset:
    """Conversations in the tokens of the model to go on from; `start` is what its file says."""

    request: Request
    start: ModelMetadata | None
    track: Track
    files: list[Path] = field(init=False)
    train: TokenConversations = field(init=False)
    validation: TokenConversations = field(init=False)
    apart: bool = field(init=False)
    """Whether those to validate with are others than those to learn from."""
    _packed: tuple[ConversationRows, ConversationRows] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Read the conversations through the model's chat template.

        Raises:
            OpenbookError: there is no model to go on from, it has no chat template, or a file cannot be read.
        """
        request, start = self.request, self.start
        if start is None:
            raise OpenbookError("conversations teach a model that is there; give it with --from")
        if start.chat_template is None:
            raise OpenbookError(f"{request.start}: has no chat template, so there is no form to write conversations in")
        chat = Chat(start.make_tokenizer(), start.chat_template)
        self.files = find_books(request.inputs)
        found = tokenize_conversations(self.files, chat, self.track)
        self.apart = len(found) >= FEW or request.validation is not None or request.validation_share is not None
        if not self.apart:
            self.train = self.validation = found
        elif request.validation is None:
            share = HELD_OUT if request.validation_share is None else request.validation_share
            if not 0 < share < 1:
                raise OpenbookError(f"validation share {share}: must be between 0 and 1")
            self.train, self.validation = held_out(found, share)
        else:
            files = find_books(request.validation)
            self.train, self.validation = found, tokenize_conversations(files, chat, self.track)
            self.files += files

    @property
    def fingerprint(self) -> str:
        settings = f"{self.request.validation} {self.request.validation_share}"
        return hashlib.sha256("".join([settings, *map(hash_of, self.files)]).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        train, validation = self.train, self.validation
        held_out = f"{len(validation):,} to validate with" if self.apart else "none of them held out, being few"
        said = (
            f"{count(len(train), 'conversation')} to learn from, {held_out}; "
            f"{int(train.answers.sum()):,} of {len(train.ids):,} tokens belong to answers"
        )
        return {
            "lines": [said],
            "expectations": [],
            "train_bytes": int(train.answer_bytes.sum()),
            "validation_bytes": int(validation.answer_bytes.sum()),
            "scored": "held-out" if self.apart else "learned",
        }

    def record(self) -> list[dict[str, Any]]:
        return files_record((path, path.stat().st_size) for path in self.files)

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        assert self.start is not None
        longest = int(self.train.lengths.max())
        context = min(self.start.architecture.context, max(CONTEXT, -(-longest // ROUND) * ROUND))
        # The score of what is learned can only fall: one on the way tells how long the last will take.
        seldom = {} if self.apart else {"validations": 2}
        given = {"context": context, **seldom, **self.request.choices}
        # The plan counts in bytes of prose, of which the tokens are known here.
        each = bytes_a_token(self.start.architecture.vocab_size, "bpe")
        text = Text(*(round(rows.tokens * each) for rows in self._rows(given["context"])))
        low_rank = self.request.lora is not None
        return plan_continuation(text, given, self.start.architecture, device, clock(), low_rank, READINGS)

    def _rows(self, context: int) -> tuple[ConversationRows, ConversationRows]:
        """What to learn from and what to validate with, packed once; the same where none is held out."""
        if self._packed is None or self._packed[0].context != context:
            train = ConversationRows(self.train, context)
            self._packed = train, ConversationRows(self.validation, context) if self.apart else train
        return self._packed

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        rows = self._rows(recipe.context)
        if not all(len(each.fitting) for each in rows):
            raise OpenbookError(
                f"--context {recipe.context}: no conversation to learn from, or none to validate with, has so few "
                "tokens; take a longer one"
            )
        return recipe, {
            "vocab_size": recipe.vocab_size,
            "train": rows[0].tokens,
            "validation": rows[1].tokens,
            "unknown": 0,
            "too_long": len(self.train) - len(rows[0].fitting),
        }

    def contents(self, architecture: Architecture) -> ModelMetadata:
        assert self.start is not None
        return self.start

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> Conversations:
        return Conversations(recipe, *self._rows(recipe.context), device, dtype)

    def samples(self, model: nn.Module, every: float, tell: Tell) -> Listener:
        """The answer to a held-out question after a validation, if the last is `every` seconds old."""
        assert self.start is not None
        tokenizer, held = self.start.make_tokenizer(), self.validation
        number, due = 0, every

        def sample(event: Event) -> None:
            nonlocal number, due
            if event["event"] != "validation" or event["seconds"] < due:
                return
            due = event["seconds"] + every
            begin = int(held.starts[number % len(held)])
            number += 1
            prompt = held.ids[begin : begin + int(np.argmax(held.answers[begin:]))].tolist()
            assert isinstance(model, Transformer)
            chosen = generate(TorchEngine(model), [prompt], SAMPLING, end_ids=tokenizer.end_ids)
            written = [each.token for each in chosen]
            tell(tokenizer.decode(prompt, skip_special=True), tokenizer.decode(written, skip_special=True))

        return sample
