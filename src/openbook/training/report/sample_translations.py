"""Translations of held-out sentences while a model learns, and their BLEU and chrF."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch
from openbook.generation.token_translator import TokenTranslator
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.transformer.transformer import Transformer


@dataclass(frozen=True)
class Translations:
    """Sentences to translate, and what they should become.

    Args:
        sources: token ids with all marks.
        references: the translations to come near.
        tokenizer: spells what is written.
    """

    sources: Sequence[Sequence[int]]
    references: Sequence[str]
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
            engine = TorchEngine(model)
            decoding = BeamSearch(beam_size=1, max_tokens=engine.context)
            translator = TokenTranslator(engine=engine, special=self.tokenizer.special, decoding=decoding)
            written = [best.tokens for best, *_ in translator([sources])]
        finally:
            model.train(was_training)
        return [self.tokenizer.decode(ids, skip_special=True) for ids in written]
