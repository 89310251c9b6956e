"""Translations of held-out sentences while a model learns, and their BLEU and chrF."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from openbook.generation.engine import Engine, TorchEngine
from openbook.text.tokenizer import Tokenizer
from openbook.transformer.base import Transformer

ROWS = 64
"""Sentences that are translated together."""


@dataclass(frozen=True)
class Translations:
    """Sentences to translate, and what they should become.

    Args:
        sources: token ids with all marks.
        references: the translations to come near.
        start: what the decoder of an encoder-decoder begins with.
        tokenizer: spells what is written; its end token closes it.
    """

    sources: Sequence[Sequence[int]]
    references: Sequence[str]
    start: Sequence[int]
    tokenizer: Tokenizer

    def measure(self, model: nn.Module) -> dict[str, float]:
        """BLEU (Papineni et al. 2002; cased, 13a tokens) and chrF2 (Popović 2015), by sacrebleu, of greedy choices."""
        from sacrebleu import corpus_bleu, corpus_chrf

        translations = self.write(model, self.sources)
        bleu = corpus_bleu(translations, [self.references], force=True).score
        return {"bleu": round(bleu, 3), "chrf": round(corpus_chrf(translations, [self.references]).score, 3)}

    def write(self, model: nn.Module, sources: Sequence[Sequence[int]]) -> list[str]:
        """The translations of these sources, each next token the likeliest."""
        assert isinstance(model, Transformer)
        was_training = model.training
        model.eval()
        try:
            written = greedy(TorchEngine(model), sources, self.start, self.tokenizer.end_id)
        finally:
            model.train(was_training)
        return [self.tokenizer.decode(ids, skip_special=True) for ids in written]


@torch.inference_mode()
def greedy(engine: Engine, sources: Sequence[Sequence[int]], start: Sequence[int], end: int) -> list[list[int]]:
    """What follows each source, each next token the likeliest; without the end token.

    Args:
        engine: of either kind; a decoder-only model goes on from the source itself.
        sources: token ids in any order; those of like lengths are worked on together.
        start: what the decoder of an encoder-decoder begins with.
        end: ends what is written.
    """
    written: list[list[int]] = [[] for _ in sources]
    apart = engine.source_vocabulary is not None
    order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
    for first in range(0, len(order), ROWS):
        rows = order[first : first + ROWS]
        read = [list(sources[row]) for row in rows]
        session, logits = engine.prefill([list(start)] * len(rows), read) if apart else engine.prefill(read)
        while rows:
            tokens = logits.argmax(-1)
            going = []
            for place, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
                if token == end:
                    continue
                written[row].append(token)
                room = engine.context - (len(start) if apart else len(sources[row]))
                if len(written[row]) < min(room, 2 * len(sources[row]) + 20):
                    going.append(place)
            if 0 < len(going) < len(rows):
                kept = torch.tensor(going, device=tokens.device)
                tokens = tokens[kept]
                session.reorder(kept)
            rows = [rows[place] for place in going]
            if rows:
                logits = session.step(tokens)
    return written
