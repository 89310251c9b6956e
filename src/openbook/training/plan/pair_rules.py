"""Rules of thumb for pairs. They come from runs of up to 20 minutes (benchmarks/README.md); beyond, a guess."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openbook.text.formatting import format_count
from openbook.text.tokenizer.training import choose_vocab_size
from openbook.training.plan.rules import Rules, Size, batch_size, even, shape_choices
from openbook.training.recipe import PAIR_DEFAULTS
from openbook.transformer.architecture import Architecture

LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class PairRules(Rules):
    """The rules for so many training pairs.

    Args:
        pairs: how many.
        source_bytes: of all sources.
        target_bytes: of all targets.
        long_bytes: of a long sentence; one pair in 200 has a longer one.
    """

    pairs: int
    source_bytes: int
    target_bytes: int
    long_bytes: float

    SIZES = (
        Size(2, 1, 128, 0), Size(3, 2, 192, 6e5), Size(4, 3, 256, 5e6), Size(6, 4, 384, 2e7), Size(6, 6, 512, 1e8),
        Size(8, 8, 768, 1e9),
    )  # fmt: skip
    """Their tokens are those of the targets."""

    @property
    def text_bytes(self) -> int:
        return self.source_bytes + self.target_bytes

    @property
    def amount(self) -> str:
        return format_count(self.pairs, "pair")

    def epoch_tokens(self, token_bytes: float) -> float:
        return self.target_bytes / token_bytes

    def vocab_size(self, tokenizer: str) -> int:
        """Half of what books of as many bytes get: two languages share it, and rare words are copied in subwords."""
        size = choose_vocab_size(self.text_bytes, tokenizer)  # type: ignore[arg-type]
        return max(512, size // 2) if tokenizer in ("bpe", "unigram") else size

    def context(self, token_bytes: float, seconds: float, has_encoder: bool) -> int:
        """A power of two, with ample room: the length in tokens is a guess, and room takes no time here."""
        wanted = 2.5 * self.long_bytes / token_bytes * (1 if has_encoder else 2) + 2
        return int(2 ** min(12, max(6, math.ceil(math.log2(wanted)))))

    def defaults(self, has_encoder: bool) -> dict[str, Any]:
        return {**(PAIR_DEFAULTS if has_encoder else {}), "label_smoothing": LABEL_SMOOTHING}

    def shape(self, size: Size, given: Mapping[str, Any]) -> dict[str, Any]:
        """A decoder-only model has as many layers as encoder and decoder together."""
        has_encoder = given.get("encoder_layers") != 0
        layers = size.layers if has_encoder else size.encoder_layers + size.layers
        width = given.get("width", size.width)
        # With two heads of 64, models up to width 128 learn alignments more slowly than with four.
        narrow = {"head_width": even(width // 4)} if has_encoder and "heads" not in given and width <= 128 else {}
        shape = shape_choices(given.get("layers", layers), width, narrow | dict(given))
        return shape | {"encoder_layers": given.get("encoder_layers", size.encoder_layers)}

    def measured_batch(self, architecture: Architecture, context: int, token_bytes: float) -> tuple[int, int]:
        """Pairs of average length."""
        average = round(self.target_bytes / token_bytes / max(1, self.pairs))
        length = max(4, min(architecture.context, average))
        if architecture.encoder is None:
            length = min(architecture.context, 2 * length)
        return length, max(1, 1024 // length)

    def regularization(self, epochs: float, given: Mapping[str, Any]) -> dict[str, Any]:
        """Dropout."""
        return {"dropout": 0.0 if epochs < 2 else 0.1 if epochs < 12 else 0.2 if epochs < 30 else 0.3}

    def fine_tuning_context(self, architecture: Architecture, token_bytes: float) -> int:
        return min(architecture.context, self.context(token_bytes, 0.0, architecture.encoder is not None))

    def fine_tuning_batch(self, tokens: float) -> int:
        return batch_size(tokens)

    def fine_tuning_regularization(self, epochs: float) -> dict[str, Any]:
        return {"label_smoothing": LABEL_SMOOTHING, **self.regularization(epochs, {})}
