"""Conversations as a dataset: what the chat template makes of them, and the task of learning their answers."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from openbook.errors import OpenbookError, SettingError
from openbook.generation.settings import Sampling
from openbook.model_file.metadata import ModelMetadata
from openbook.text.formatting import format_count
from openbook.text.input_files import find_files
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import token_lengths
from openbook.training.data.conversation_task import ConversationTask, PackedConversations
from openbook.training.data.dataset import Dataset, generate_text
from openbook.training.data.tokenization import TokenizedConversations, tokenize_conversations
from openbook.training.evaluation.perplexity import TokenBytes
from openbook.training.plan.book_rules import BookRules
from openbook.training.plan.fine_tuning import BaseModel, UntilKnown, plan_fine_tuning
from openbook.training.plan.plan import Plan
from openbook.training.plan.rules import bytes_per_token
from openbook.training.recipe import Recipe
from openbook.training.report.record import hash_of
from openbook.transformer.architecture import Architecture

CONTEXT = 256
"""Tokens of a row where no conversation is longer. Many conversations share a row, and what all begin with is in it
once."""
CONTEXT_MULTIPLE = 32
LEAST_TO_HOLD_OUT = 1000
"""Of fewer conversations none is held out unless the user asks: each of them is to be known afterwards."""
VALIDATION_FRACTION = 0.05
EPOCHS = 12
"""How often conversations are read where some are held out and no minutes are given."""
SAMPLING = Sampling(max_tokens=60, temperature=0)


@dataclass
class ConversationDataset(Dataset):
    """Conversations in the tokens of the model to continue from.

    Raises:
        OpenbookError: there is no model to continue from, it has no chat template, or a file cannot be read.
    """

    tokenizer: Tokenizer = field(init=False)
    train: TokenizedConversations = field(init=False)
    validation: TokenizedConversations = field(init=False)
    held_out: bool = field(init=False)
    """Whether the conversations to validate with are others than those to learn from."""
    _packed: tuple[PackedConversations, PackedConversations] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        request = self.request
        if self.base is None:
            raise SettingError("conversations need a model to continue from; give it with `base_model`")
        if self.base.chat_template is None:
            raise OpenbookError(
                f"{request.base_model}: has no chat template, so there is no form to write conversations in"
            )
        self.tokenizer, template = self.base.make_tokenizer(), self.base.chat_template

        def tokenized(name: str, inputs: Sequence[str | Path]) -> TokenizedConversations:
            stem = request.folder / "tokens" / name
            return tokenize_conversations(find_files(inputs), self.tokenizer, template, stem, track=self.track)

        found, fraction = tokenized("train", request.inputs), request.validation_fraction
        enough = len(found) >= LEAST_TO_HOLD_OUT if fraction is None else fraction != 0
        self.held_out = enough or request.validation is not None
        if not self.held_out:
            self.train = self.validation = found
        elif request.validation is not None:
            self.train, self.validation = found, tokenized("validation", request.validation)
        else:
            self.train, self.validation = hold_out(found, VALIDATION_FRACTION if fraction is None else fraction)

    @property
    def fingerprint(self) -> str:
        settings = f"{self.request.validation} {self.request.validation_fraction}"
        return hashlib.sha256("".join([settings, *map(hash_of, self.files)]).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        train, validation = self.train, self.validation
        few = "" if self.request.validation_fraction == 0 else ", being few"
        held_out = f"{len(validation):,} to validate with" if self.held_out else f"none of them held out{few}"
        line = (
            f"{format_count(len(train), 'conversation')} to learn from, {held_out}; "
            f"{int(train.answer_mask.sum()):,} of {len(train.ids):,} tokens belong to answers"
        )
        return {
            "lines": [line],
            "expectations": None,
            "train_bytes": int(train.answer_bytes.sum()),
            "validation_bytes": int(validation.answer_bytes.sum()),
            "scored": "held-out" if self.held_out else "learned",
        }

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        assert self.base is not None
        architecture = self.base.architecture
        longest = int(self.train.lengths.max())
        context = max(CONTEXT, -(-longest // CONTEXT_MULTIPLE) * CONTEXT_MULTIPLE)
        given = {"context": min(architecture.context, context), **self.request.choices}
        # The plan counts bytes of prose; here the number of tokens is known.
        token_bytes = bytes_per_token(architecture.vocab_size, "bpe")
        rows = max(1, len(self._pack(given["context"])[0].rows))
        rules = BookRules(round(rows * given["context"] * token_bytes))
        base = BaseModel(architecture, lora=self.request.lora_rank is not None)
        until_known = None if self.held_out else UntilKnown(rows, given["context"])
        return plan_fine_tuning(rules, given, base, device, clock(), EPOCHS, until_known)

    def _pack(self, context: int) -> tuple[PackedConversations, PackedConversations]:
        """What to learn from and what to validate with, packed once; the same where nothing is held out."""
        if self._packed is None or self._packed[0].context != context:
            train = PackedConversations(self.train, context)
            self._packed = train, PackedConversations(self.validation, context) if self.held_out else train
        return self._packed

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        train, validation = self._pack(recipe.context)
        if not len(train.fitting) or not len(validation.fitting):
            raise SettingError(
                f"`context` {recipe.context}: no conversation to learn from, or none to validate with, has so few "
                "tokens; take a longer one"
            )
        return recipe, {
            "vocab_size": recipe.vocab_size,
            "train": train.tokens,
            "validation": validation.tokens,
            "unknown": self.train.unknown(np.arange(len(self.train))).tokens,
            "too_long": len(self.train) - len(train.fitting),
        }

    def metadata(self, architecture: Architecture) -> ModelMetadata:
        assert self.base is not None
        return self.base

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> ConversationTask:
        unknown = self.train.unknown(np.arange(len(self.train)))
        token_bytes = TokenBytes(token_lengths(self.tokenizer), self.tokenizer.unknown_id, unknown)
        return ConversationTask(recipe, *self._pack(recipe.context), device, dtype, token_bytes)

    def sample(self, model: nn.Module, number: int) -> tuple[str, str]:
        """The answer to a held-out question."""
        index = number % len(self.validation)
        answers = self.validation.answer_mask[self.validation.span(index)]
        prompt = self.validation[index][: int(np.argmax(answers))].tolist()
        return self.tokenizer.decode(prompt, skip_special=True), generate_text(model, self.tokenizer, prompt, SAMPLING)


def hold_out(
    conversations: TokenizedConversations, fraction: float
) -> tuple[TokenizedConversations, TokenizedConversations]:
    """Split into training and validation conversations by a hash of their tokens, so always in the same way.

    Raises:
        OpenbookError: there are too few, or the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise SettingError(f"`validation_fraction` {fraction}: must be from 0 to below 1")
    held_out: NDArray[np.bool_] = np.zeros(len(conversations), bool)
    for index in range(len(conversations)):
        digest = hashlib.sha256(conversations[index].tobytes()).digest()
        held_out[index] = int.from_bytes(digest[:8], "big") < fraction * 2**64
    if not held_out.any():
        held_out[0] = True  # there has to be one
    if held_out.all():
        raise SettingError("too few conversations to hold any out for validation; add some, or give `validation`")
    return conversations.select(np.flatnonzero(~held_out)), conversations.select(np.flatnonzero(held_out))
