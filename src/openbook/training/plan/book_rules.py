"""Rules of thumb for books. They come from runs of 15 seconds to 20 minutes (benchmarks/README.md); beyond, a guess."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openbook.text.tokenizer.training import choose_vocab_size
from openbook.training.data_parallel import MAX_PARAMETERS
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.rules import Rules, Size, batch_size, limit_context, shape_choices
from openbook.transformer.architecture import Architecture

FINE_TUNING_CONTEXT = 512
"""More than a new model's, since the base model can already use it."""


@dataclass(frozen=True)
class BookRules(Rules):
    """The rules for so many bytes of training text."""

    train_bytes: int

    SIZES = (
        Size(0, 2, 128, 0), Size(0, 3, 192, 4e5), Size(0, 4, 192, 8e5), Size(0, 4, 256, 2e6), Size(0, 6, 256, 3e6),
        Size(0, 6, 320, 4e6), Size(0, 6, 384, 8e6), Size(0, 8, 512, 4e7), Size(0, 10, 640, 1e8), Size(0, 12, 768, 3e8),
        Size(0, 16, 1024, 1e9), Size(0, 24, 1536, 5e9),
    )  # fmt: skip

    @property
    def text_bytes(self) -> int:
        return self.train_bytes

    @property
    def amount(self) -> str:
        return f"{self.train_bytes / 1e6:.2g} MB of text"

    def epoch_tokens(self, token_bytes: float) -> float:
        return max(1.0, self.train_bytes / token_bytes)

    def vocab_size(self, tokenizer: str) -> int:
        return choose_vocab_size(self.train_bytes, tokenizer)  # type: ignore[arg-type]

    def context(self, token_bytes: float, seconds: float, has_encoder: bool) -> int:
        """128 tokens; half in less than half a minute, twice from ten minutes on."""
        return limit_context(self.epoch_tokens(token_bytes), 64 if seconds < 30 else 128 if seconds < 600 else 256)

    def defaults(self, has_encoder: bool) -> dict[str, Any]:
        return {}

    def shape(self, size: Size, given: Mapping[str, Any]) -> dict[str, Any]:
        return shape_choices(given.get("layers", size.layers), given.get("width", size.width), given)

    def measured_batch(self, architecture: Architecture, context: int, token_bytes: float) -> tuple[int, int]:
        """A step of a large model takes seconds, and fewer tokens show its speed."""
        tokens = 1024 if count_parameters(architecture) <= MAX_PARAMETERS else 256
        length = min(context, tokens)
        return length, tokens // length

    def regularization(self, epochs: float, given: Mapping[str, Any]) -> dict[str, Any]:
        """Dropout, tied embeddings and BPE dropout.

        Tied embeddings learn more slowly at first and are ahead from the third epoch on. They need a lower learning
        rate, whoever chose them.
        """
        chosen: dict[str, Any] = {"dropout": 0.0 if epochs < 3 else 0.1 if epochs < 5 else 0.2 if epochs < 10 else 0.3}
        if given.get("tied_embeddings", epochs >= 2.5):
            chosen |= {"tied_embeddings": True, "embedding_lr": 0.02}
        if epochs >= 6 and given.get("tokenizer", "bpe") == "bpe":
            chosen |= {"bpe_dropout": 0.05}
        return chosen

    def fine_tuning_context(self, architecture: Architecture, token_bytes: float) -> int:
        return min(architecture.context, limit_context(self.epoch_tokens(token_bytes), FINE_TUNING_CONTEXT))

    def fine_tuning_batch(self, tokens: float) -> int:
        """Half of a new model's: a large model takes few steps here, and small ones are hardly slower per token."""
        return batch_size(tokens / 4, minimum=256)

    def fine_tuning_regularization(self, epochs: float) -> dict[str, Any]:
        """None: today's models are pretrained without dropout."""
        return {"dropout": 0.0}
