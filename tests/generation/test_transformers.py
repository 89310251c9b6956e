"""Whole answers against transformers' `generate`, from the same weights."""

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from interop.foreign_models import imported, save_folder
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.transformer.transformer import Transformer


@pytest.fixture(scope="module")
def theirs() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        initializer_range=0.3,
        eos_token_id=[7, 8],
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory) -> Transformer:
    return imported(save_folder(theirs, tmp_path_factory.mktemp("theirs"), size=60))


def their_answers(theirs, prompts, **options):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    real = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = theirs.generate(tokens, attention_mask=real, max_new_tokens=20, do_sample=False, **options)
    return out[:, longest:].tolist()


@pytest.mark.parametrize(("penalty", "no_repeat_ngram_size"), [(1.0, 0), (1.3, 0), (1.0, 1), (1.0, 2), (1.1, 3)])
def test_greedy_answers_of_a_padded_batch(theirs, ours, penalty, no_repeat_ngram_size) -> None:
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(9, 60, (n,), generator=generator).tolist() for n in (3, 9, 1, 14, 6, 2)]
    settings = Sampling(temperature=0, max_tokens=20, repetition_penalty=penalty)
    answers = [[] for _ in prompts]
    rules = TokenRules(end_ids=frozenset({7, 8}), no_repeat_ngram_size=no_repeat_ngram_size)
    for chosen in generate(TorchEngine(ours), prompts, settings, rules):
        answers[chosen.row].append(chosen.token_id)
    expected = their_answers(theirs, prompts, repetition_penalty=penalty, no_repeat_ngram_size=no_repeat_ngram_size)
    assert [answer + [0] * (20 - len(answer)) for answer in answers] == [
        row + [0] * (20 - len(row)) for row in expected
    ]


def up_to_end(tokens):
    """Without what fills their shorter rows."""
    return tokens[: next((place + 1 for place, token in enumerate(tokens) if token in (7, 8)), None)]


THEIR_WORDS = {"never": "never", "heuristic": False, "always": True}


@pytest.mark.parametrize("early_stopping", THEIR_WORDS)
@pytest.mark.parametrize(("penalty", "no_repeat_ngram_size"), [(0.0, 0), (1.0, 3), (1.8, 0), (-0.7, 2)])
def test_beams_of_a_padded_batch(theirs, ours, early_stopping, penalty, no_repeat_ngram_size) -> None:
    generator = torch.Generator().manual_seed(2)
    prompts = [torch.randint(9, 60, (n,), generator=generator).tolist() for n in (3, 9, 1, 14, 6, 2)]
    beams = BeamSearch(beam_size=4, n_best=4, length_penalty=penalty, max_tokens=20, early_stopping=early_stopping)
    rules = TokenRules(
        end_ids=frozenset({7, 8}), min_tokens=4, suppressed=(0, 13), no_repeat_ngram_size=no_repeat_ngram_size
    )
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    theirs_found = theirs.generate(
        tokens,
        attention_mask=(tokens > 0).long(),
        num_beams=4,
        num_return_sequences=4,
        length_penalty=penalty,
        early_stopping=THEIR_WORDS[early_stopping],
        min_new_tokens=4,
        suppress_tokens=[0, 13],
        no_repeat_ngram_size=no_repeat_ngram_size,
        max_new_tokens=20,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    expected = [row[longest:].tolist() for row in theirs_found.sequences]
    found = sorted(beam_search(TorchEngine(ours), prompts, beams, rules), key=lambda each: each.row)
    hypotheses = [each for row in found for each in row.hypotheses]
    assert [list(each.tokens) for each in hypotheses] == [up_to_end(row) for row in expected]
    assert [each.score for each in hypotheses] == pytest.approx(theirs_found.sequences_scores.tolist(), abs=1e-4)
    assert {each.finish_reason for each in hypotheses} == {"end", "length"} or early_stopping != "never"
