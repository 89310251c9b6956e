"""Beam search against transformers' `generate`: the same sequences and scores from the same tiny random models."""

import pytest
import torch
import transformers

from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import TokenRules
from parity.test_encoder_decoders import MODELS, SOURCE_LENGTHS, VOCABULARY, padded, pair

MOST = 15
THEIR_WORDS = {"never": "never", "heuristic": False, "always": True}
ENDS = [4, 9]
"""Two end tokens, so that random models end often enough."""


def up_to_end(tokens):
    """Without what fills their shorter rows."""
    return tokens[: next((place + 1 for place, token in enumerate(tokens) if token in ENDS), None)]


@torch.no_grad()
@pytest.mark.parametrize("early_stopping", THEIR_WORDS)
@pytest.mark.parametrize("name", MODELS)
def test_sequences_and_scores_are_theirs(name, early_stopping):
    theirs, ours = pair(name)
    padding, start = theirs.config.pad_token_id, theirs.config.decoder_start_token_id
    source, real = padded(SOURCE_LENGTHS, VOCABULARY, padding)
    never, first, penalty = [padding, 7], 11, {"never": 0.6, "heuristic": 1.0, "always": 1.4}[early_stopping]
    theirs.generation_config = transformers.GenerationConfig(
        max_new_tokens=MOST, min_new_tokens=3, no_repeat_ngram_size=2, do_sample=False, num_beams=4,
        num_return_sequences=3, length_penalty=penalty, early_stopping=THEIR_WORDS[early_stopping],
        forced_bos_token_id=first, forced_eos_token_id=4,
        bad_words_ids=[[token] for token in never], pad_token_id=padding, eos_token_id=ENDS,
        decoder_start_token_id=start, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    expected = theirs.generate(source, attention_mask=real.long())

    sources = [row[its_real].tolist() for row, its_real in zip(source, real, strict=True)]
    beams = BeamSearch(beam_size=4, n_best=3, length_penalty=penalty, max_tokens=MOST, early_stopping=early_stopping)
    rules = TokenRules(
        end_ids=frozenset(ENDS),
        suppressed=tuple(never),
        forced_prefix=(first,),
        forced_end=4,
        min_tokens=3,
        no_repeat_ngram_size=2,
    )
    found = beam_search(
        TorchEngine(ours), [[start]] * len(sources), beams, rules, sources=sources
    )  # fmt: skip
    hypotheses = [each for row in sorted(found, key=lambda each: each.row) for each in row.hypotheses]
    assert [list(each.tokens) for each in hypotheses] == [up_to_end(row[1:].tolist()) for row in expected.sequences]
    assert [each.score for each in hypotheses] == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)
    assert all(len({each.tokens for each in hypotheses[row : row + 3]}) == 3 for row in (0, 3, 6))
