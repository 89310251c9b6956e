"""Families: what transformers computes with a folder, openbook computes with the model file made of it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from foreign_models import CASES, END, PAIR_CASES, VOCABULARY, cache_for, pair
from paged import check_page, paged

from openbook.explanation.derivations import relative_errors
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.trace import trace
from openbook.transformer.mask import positions_of
from strategies import difference

LIMIT = 1e-4
LENGTH = 12
PADDINGS = {
    "none": [[1] * LENGTH, [1] * LENGTH],
    "left": [[0] * 5 + [1] * 7, [1] * LENGTH, [0] * 11 + [1]],
    "right": [[1] * 7 + [0] * 5, [1] * LENGTH, [1] + [0] * 11],
}
NAMES = [", ".join(case) for case in CASES]
PAIR_NAMES = [", ".join(case) for case in PAIR_CASES]


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_logits_are_theirs(case, record_property):
    theirs, _, ours = pair(case)
    greatest = 0.0
    for padding, rows in PADDINGS.items():
        real = torch.tensor(rows, dtype=torch.bool)
        tokens = torch.randint(3, VOCABULARY, real.shape).where(real, 0)
        positions = positions_of(real)
        expected = theirs(tokens, attention_mask=real.long(), position_ids=positions.clamp(min=0)).logits[real]
        assert expected.std() > 0.1  # logits near zero would agree with anything
        given = None if padding == "none" else positions
        fused = ours(tokens, given)[real]
        with trace(ours):
            readable = ours(tokens, given)[real]
        cache = cache_for(ours)
        parts = [ours(tokens[:, :7], positions[:, :7], cache=cache), ours(tokens[:, 7:], positions[:, 7:], cache=cache)]
        cached = torch.cat(parts, dim=1)[real]
        greatest = max(greatest, *(float((each - expected).abs().max()) for each in (fused, readable, cached)))
        assert difference(readable, fused) <= 1e-5
    record_property("greatest difference", greatest)
    print(f"| {case[0]} | {case[1]} | {greatest:.1e} |")
    assert greatest <= LIMIT


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_sixty_greedy_tokens_are_theirs(case):
    """Past the original context too, where positions are stretched."""
    theirs, _, ours = pair(case)
    prompts = [[5, 9, 11, 7, 30, 8], [17, 40, 4, 33, 21, 6]]
    if "length" not in case[1]:  # there theirs let the longest row of a batch decide for all
        prompts[1] = prompts[1][:3]
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    # Random models say one token for ever, which would agree with anything: what was said becomes less likely.
    options = {"max_new_tokens": 60, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    options["repetition_penalty"] = 3.0
    expected = theirs.generate(tokens, attention_mask=real, **options)[:, longest:].tolist()
    engine = TorchEngine(ours)
    engine.context = 96  # a dynamic rope_scaling goes on past the context
    settings, answers = Sampling(temperature=0, max_tokens=60, repetition_penalty=3.0), [[], []]
    for chosen in generate(engine, prompts, settings):
        answers[chosen.row].append(chosen.token_id)
    assert len({token for row in answers for token in row}) > 10
    assert answers == expected


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_recorded_number_recomputes(case):
    ours = pair(case)[2]
    with trace(ours) as recorded:
        ours(torch.tensor([[5, 9, 11, 7, 30]]))
    assert max(relative_errors(ours, recorded).values()) <= 1e-5


@pytest.mark.parametrize("case", [*CASES, *PAIR_CASES], ids=[*NAMES, *PAIR_NAMES])
def test_the_page_has_every_number(case):
    """Its slices are Python's numbers, its derivations recompute, and each part adds to the logit what it should."""
    page = paged(pair(case)[2].architecture, model=pair(case)[2], prompt=[5, 9, 11, 7, 30], max_tokens=2)
    assert check_page(page) > 80
    added = page.view("contributions", {"step": "1"})
    assert added["error"] <= 1e-4 * max(1, abs(added["logit"]))
    assert page.manifest()["outline"]


def places_of(case, real):
    """How the family counts a padded source: without the padding, or with it."""
    if case[0] == "M2M-100":
        return positions_of(real)
    return torch.arange(real.shape[1]).expand(real.shape).where(real, -1)


@torch.no_grad()
@pytest.mark.parametrize("case", PAIR_CASES, ids=PAIR_NAMES)
def test_logits_of_pairs_are_theirs(case, record_property):
    theirs, _, ours = pair(case)
    padding_id, greatest = theirs.config.pad_token_id, 0.0
    target = torch.randint(3, VOCABULARY, (3, 9))
    for padding, rows in PADDINGS.items():
        real = torch.tensor(rows, dtype=torch.bool)
        source = torch.randint(3, 50, real.shape).where(real, padding_id)
        some = target[: len(source)]
        expected = theirs(input_ids=source, attention_mask=real.long(), decoder_input_ids=some).logits
        assert expected.std() > 0.1
        given = None if padding == "none" else places_of(case, real)
        fused = ours(some, source=source, source_positions=given)
        with trace(ours):
            readable = ours(some, source=source, source_positions=given)
        cache = cache_for(ours)
        parts = [
            ours(some[:, :5], source=source, source_positions=given, cache=cache),
            ours(some[:, 5:], cache=cache),
        ]
        for each in (fused, readable, torch.cat(parts, dim=1)):
            greatest = max(greatest, float((each - expected).abs().max()))
        assert difference(readable, fused) <= 1e-5
    record_property("greatest difference", greatest)
    print(f"| {case[0]} | {case[1]} | {greatest:.1e} |")
    assert greatest <= LIMIT


SOURCES = [[5, 9, 11, 7, 30, 8, 2], [17, 40, 4, 33, 21, 6, 2]]


@torch.no_grad()
@pytest.mark.parametrize("case", PAIR_CASES, ids=PAIR_NAMES)
def test_sixty_greedy_tokens_of_pairs_are_theirs(case):
    """No pair of tokens may come twice, for random models say one token for ever, which would agree with anything."""
    theirs, _, ours = pair(case)
    start = theirs.config.decoder_start_token_id
    options = {
        "max_new_tokens": 60,
        "min_new_tokens": 60,
        "do_sample": False,
        "num_beams": 1,
        "no_repeat_ngram_size": 2,
    }
    options["use_cache"] = "T5" not in case[0]  # their cache fails where the decoder has more layers than the encoder
    expected = theirs.generate(torch.tensor(SOURCES), attention_mask=torch.ones(2, 7), **options).tolist()
    session, logits = TorchEngine(ours).prefill([[start]] * 2, SOURCES)
    answers = [[start], [start]]
    for _ in range(60):
        logits[:, END] = -np.inf  # as min_new_tokens does
        for row, said in enumerate(answers):
            logits[row, [after for token, after in pairwise(said) if token == said[-1]]] = -np.inf
            said.append(int(logits[row].argmax()))
        logits = session.step(np.array([[said[-1]] for said in answers]))[:, 0]
    assert len(set(answers[0])) > 10
    assert answers == expected


@torch.no_grad()
@pytest.mark.parametrize("case", PAIR_CASES, ids=PAIR_NAMES)
def test_the_best_beams_of_pairs_are_theirs(case):
    theirs, _, ours = pair(case)
    start, beams, length = theirs.config.decoder_start_token_id, 4, 12
    options = {"max_new_tokens": length, "num_beams": beams, "num_return_sequences": beams, "do_sample": False}
    options |= {"length_penalty": 0.7, "early_stopping": False, "return_dict_in_generate": True, "output_scores": True}
    options["use_cache"] = "T5" not in case[0]
    found = theirs.generate(torch.tensor(SOURCES), attention_mask=torch.ones(2, 7), **options)
    how = BeamSearch(beam_size=beams, n_best=beams, length_penalty=0.7, max_tokens=length)
    rows = sorted(
        beam_search(TorchEngine(ours), [[start]] * 2, how, TokenRules(end_ids=frozenset({END})), sources=SOURCES),
        key=lambda each: each.row,
    )
    best = [hypothesis for row in rows for hypothesis in row.hypotheses]
    padding = theirs.config.pad_token_id
    for hypothesis, expected, score in zip(best, found.sequences.tolist(), found.sequences_scores, strict=True):
        assert [*hypothesis.tokens, *[padding] * 99][: len(expected) - 1] == expected[1:]
        assert hypothesis.score == pytest.approx(float(score), abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("case", PAIR_CASES, ids=PAIR_NAMES)
def test_every_recorded_number_of_pairs_recomputes(case):
    ours = pair(case)[2]
    with trace(ours) as recorded:
        ours(torch.tensor([[3, 8, 12]]), source=torch.tensor([[5, 9, 11, 7, 30]]))
    assert max(relative_errors(ours, recorded).values()) <= 1e-5
