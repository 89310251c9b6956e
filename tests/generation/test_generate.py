"""Token streams against the naive oracle, in batches and alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import GREEDY, PROMPTS, ScriptedEngine, default_model, naive_greedy, naive_logits

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.transformer.architecture import Position
from strategies import CONTEXT, DEFAULT, VOCABULARY, architectures, build


def by_row(chosen, rows):
    """Tokens and the finish of each row."""
    tokens, finish = [[] for _ in range(rows)], [None] * rows
    for each in chosen:
        assert finish[each.row] is None, "nothing comes after the finish"
        tokens[each.row].append(each.token_id)
        finish[each.row] = each.finish_reason
    return tokens, finish


def margin(model, prompt, tokens):
    """By how much the naive choice was the best one at its closest."""
    gaps, text = [], list(prompt)
    for token in tokens:
        if len(text) <= CONTEXT:
            best = naive_logits(model, text).topk(2).values
            gaps.append(float(best[0] - best[1]))
        text.append(token)
    return min(gaps)


@given(architectures(max_layers=2), st.integers(0, 100))
def test_greedy_is_the_naive_oracle(spec, seed) -> None:
    model = build(spec, seed, torch.float64)
    settings = Sampling(temperature=0, max_tokens=8)
    tokens, finish = by_row(generate(TorchEngine(model), PROMPTS, settings), len(PROMPTS))
    assert finish == ["length"] * len(PROMPTS)
    for prompt, answer in zip(PROMPTS, tokens, strict=True):
        expected = naive_greedy(model, prompt, 8)
        assert answer == expected or margin(model, prompt, expected) < 1e-4, "only a tie may fall either way"


SETTINGS = [
    GREEDY,
    Sampling(seed=3, max_tokens=12, min_p=0),
    Sampling(seed=4, max_tokens=12, temperature=1.5, top_k=9, top_p=0.95, repetition_penalty=1.2, presence_penalty=0.3),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_batch_is_as_many_batches_of_one(settings) -> None:
    """Rows that end at different times, by tokens that end texts, included."""
    engine = TorchEngine(default_model())
    rules = TokenRules(end_ids=frozenset({1, 6, 13}))
    together, finish = by_row(generate(engine, PROMPTS, settings, rules), len(PROMPTS))
    for number, prompt in enumerate(PROMPTS):
        alone, finish_alone = by_row(generate(engine, [prompt], settings, rules), 1)
        assert (together[number], finish[number]) == (alone[0], finish_alone[0])
    assert len({len(tokens) for tokens in together}) > 1, "the case is only worth something if rows leave one by one"


def test_same_seed_same_tokens_and_other_seed_others() -> None:
    engine = TorchEngine(default_model())

    def answer(seed):
        return by_row(generate(engine, [PROMPTS[0]], Sampling(seed=seed, temperature=2, min_p=0)), 1)[0]

    assert answer(1) == answer(1)
    assert len({str(answer(seed)) for seed in (1, 2, 3)}) == 3
    assert answer(None) != answer(None)


def test_end_of_text_and_length() -> None:
    engine = ScriptedEngine([[4, 5, 9, 4], [4, 4, 4, 4], [9]], vocab_size=10)
    tokens, finish = by_row(
        generate(engine, [[1], [2], [3]], Sampling(temperature=0, max_tokens=4), TokenRules(end_ids=frozenset({9}))), 3
    )
    assert tokens == [[4, 5, 9], [4, 4, 4, 4], [9]]
    assert finish == ["end", "length", "end"]


def test_rows_that_are_stopped_leave() -> None:
    engine = ScriptedEngine([[4] * 9, [5] * 9], vocab_size=10)
    seen = []
    for chosen in generate(
        engine, [[1], [2]], Sampling(temperature=0, max_tokens=6), is_stopped=lambda row: row == 0 and len(seen) > 3
    ):
        seen.append((chosen.row, chosen.token_id))
    assert seen == [(0, 4), (1, 5), (0, 4), (1, 5), (1, 5), (1, 5), (1, 5), (1, 5)]


def test_closing_ends_the_work() -> None:
    engine = ScriptedEngine([[4] * 100], vocab_size=10)
    stream = generate(engine, [[1]], Sampling(temperature=0, max_tokens=100))
    assert engine.steps == 0
    for _ in range(3):
        next(stream)
    stream.close()
    assert engine.steps == 2
    assert list(stream) == []


@pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 3 * CONTEXT])
@pytest.mark.parametrize("kind", ["rotary", "learned", "sinusoidal", "none"])
def test_the_window_slides_when_the_context_is_full(kind, length) -> None:
    model = build(replace(DEFAULT, decoder=replace(DEFAULT.decoder, position=Position(kind=kind))))
    prompts = [[(3 * i + 1) % VOCABULARY for i in range(length)], [5, 3, 8, 1]]
    settings = Sampling(temperature=0, max_tokens=2 * CONTEXT)
    tokens, finish = by_row(generate(TorchEngine(model), prompts, settings), 2)
    assert tokens == [naive_greedy(model, prompt, 2 * CONTEXT) for prompt in prompts]
    assert finish == ["length", "length"]


def test_probabilities_are_the_models_own_and_the_filtered_ones() -> None:
    model = default_model()
    settings = Sampling(seed=1, temperature=0.5, top_k=4, min_p=0, max_tokens=5, top_alternatives=6)
    text = list(PROMPTS[0])
    for chosen in generate(TorchEngine(model), [text], settings):
        logits = naive_logits(model, text)
        plain = logits.softmax(-1)
        best = logits.topk(4)
        sharper = torch.zeros(VOCABULARY).scatter(0, best.indices, (best.values / 0.5).softmax(-1))
        for each in (chosen, *chosen.top_alternatives):
            assert each.probability == pytest.approx(float(plain[each.token_id]), abs=1e-5)
            assert each.sampling_probability == pytest.approx(float(sharper[each.token_id]), abs=1e-5)
        others = [token for token in plain.argsort(descending=True).tolist() if token != chosen.token_id]
        assert [each.token_id for each in chosen.top_alternatives] == others[:6]
        text.append(chosen.token_id)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no prompt"),
        ([[1], []], "prompt 2 is empty"),
        ([[1, VOCABULARY]], f"prompt 1 has a token that is not from 0 to {VOCABULARY - 1}"),
        ([[-1]], "prompt 1 has a token"),
    ],
)
def test_prompts_that_cannot_be_answered(prompts, message) -> None:
    with pytest.raises(OpenbookError, match=message):
        next(generate(TorchEngine(default_model()), prompts, GREEDY))


@pytest.mark.parametrize("top_alternatives", [-1, VOCABULARY])
def test_top_alternatives_out_of_range(top_alternatives) -> None:
    with pytest.raises(OpenbookError, match=f"top_alternatives is {top_alternatives}; give a whole number from 0 to"):
        settings = Sampling(temperature=0, top_alternatives=top_alternatives)
        next(generate(TorchEngine(default_model()), PROMPTS, settings))


def test_a_damaged_model_is_said_to_be_one() -> None:
    model = default_model()
    with torch.no_grad():
        model.token_embedding.weight[3] = torch.nan
    with pytest.raises(OpenbookError, match="not finite"):
        next(generate(TorchEngine(model), [[3]], GREEDY))
