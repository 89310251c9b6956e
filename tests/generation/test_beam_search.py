"""Beam search against the same by hand, and against trying every sequence."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import PROMPTS, default_model
from naive_beam import best_of_all, naive_beam

from openbook.errors import OpenbookError
from openbook.generation.beam_search import beam_search, search_batches
from openbook.generation.beam_trace import BeamTrace
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.hypotheses import DecodingRequest
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import NO_RULES, TokenRules
from strategies import CONTEXT, DEFAULT, VOCABULARY, architectures, build, translators

ENDS = {7, 11}
RULES = [
    TokenRules(),
    TokenRules(suppressed=(0, 3)),
    TokenRules(forced_prefix=(4, 7), min_tokens=3),
    TokenRules(suppressed=(5,), forced_end=7, min_tokens=2),
]


def found(model, prompts, beams, rules=NO_RULES, ends=ENDS, **options):
    rules = replace(rules, end_ids=frozenset(ends))
    results = list(beam_search(TorchEngine(model), prompts, beams, rules, **options))
    assert sorted(each.row for each in results) == list(range(len(prompts)))
    return [each.hypotheses for each in sorted(results, key=lambda each: each.row)]


def check(model, prompts, beams, rules):
    for prompt, hypotheses in zip(prompts, found(model, prompts, beams, rules), strict=True):
        expected = naive_beam(model, prompt, beams, ENDS, rules)
        assert [each.tokens for each in hypotheses] == [tokens for tokens, _ in expected]
        assert [each.score for each in hypotheses] == pytest.approx([score for _, score in expected], abs=1e-5)


settings = st.builds(
    BeamSearch,
    beam_size=st.integers(2, 6),
    n_best=st.integers(1, 2),
    length_penalty=st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    max_tokens=st.integers(1, 8),
    early_stopping=st.sampled_from(["never", "heuristic", "always"]),
)
prompts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6), min_size=1, max_size=4)


@given(architectures(), prompts, settings, st.sampled_from(RULES))
def test_it_is_the_search_by_hand(spec, prompts, beams, rules) -> None:
    check(build(spec, dtype=torch.float64), prompts, beams, rules)


@given(translators(), prompts, settings, st.sampled_from(RULES))
def test_it_is_the_search_by_hand_beside_sources(model, sources, beams, rules) -> None:
    """Of an encoder-decoder: each row looks at its own source, whatever beams and batch do."""
    model, starts = model.double(), [[1] if n % 2 else [2, 5] for n in range(len(sources))]
    sources = [[token % 19 for token in source] for source in sources]
    results = found(model, starts, beams, rules, sources=sources)
    for prompt, source, hypotheses in zip(starts, sources, results, strict=True):

        def by_hand(model, tokens, source=source):
            return model(torch.tensor([tokens]), source=torch.tensor([source]))[0, -1].log_softmax(-1).tolist()

        with torch.no_grad():
            expected = naive_beam(model, prompt, beams, ENDS, rules, by_hand)
        assert [each.tokens for each in hypotheses] == [tokens for tokens, _ in expected]
        assert [each.score for each in hypotheses] == pytest.approx([score for _, score in expected], abs=1e-5)


@contextmanager
def small_batches(late, piece):
    """With batches of a few rows what happens between large ones happens: pieces that join, rows that are late."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openbook.generation.beam_search.STRAGGLER_SHARE", late)
        patch.setattr("openbook.generation.beam_search.PREFILL_TOKENS", piece)
        yield


def in_batches(prompts, sizes):
    """For `search_batches`: as many prompts in each batch as the next of these numbers says."""
    left, sizes = list(prompts), cycle(sizes)

    def more():
        size = next(sizes)
        taken, left[:] = left[:size], left[size:]
        return taken

    return more


many = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6), min_size=1, max_size=9)
sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
late, pieces = st.sampled_from([0.0, 0.3, 0.5, 0.8]), st.integers(1, 9)
ending = st.lists(st.booleans(), min_size=1, max_size=4)
any_width = settings | st.builds(BeamSearch, beam_size=st.just(1), max_tokens=st.integers(1, 8))
ways = st.tuples(any_width, st.sampled_from(RULES), sizes, late, pieces, ending)


def as_if_alone(model, prompts, beams, rules, sizes, late, piece, ending) -> None:
    """All prompts in batches of these sizes, some of whose rows are put aside: each comes to what it would alone."""
    ends = cycle(ending)
    with small_batches(late, piece):
        more = in_batches(prompts, sizes)
        engine = TorchEngine(model)
        with_ends = replace(rules, end_ids=frozenset(ENDS))
        results = list(search_batches(engine, more, beams, with_ends, is_ending=lambda: next(ends)))
    assert sorted(each.row for each in results) == list(range(len(prompts)))
    for each in results:
        prompt = prompts[each.row]
        [alone] = found(model, [prompt.ids], beams, rules, sources=None if prompt.source is None else [prompt.source])
        assert [one.tokens for one in each.hypotheses] == [one.tokens for one in alone]
        assert [one.score for one in each.hypotheses] == pytest.approx([one.score for one in alone], abs=1e-9)


@given(architectures(), many, ways)
def test_batches_whose_late_rows_join_are_as_if_alone(spec, prompts, how) -> None:
    as_if_alone(build(spec, dtype=torch.float64), [DecodingRequest(row, ids) for row, ids in enumerate(prompts)], *how)


@given(translators(), many, ways)
def test_batches_whose_late_rows_join_keep_their_sources(model, sources, how) -> None:
    sources = [[token % 19 for token in source] for source in sources]
    as_if_alone(model.double(), [DecodingRequest(row, [1], source) for row, source in enumerate(sources)], *how)


@pytest.mark.parametrize("early_stopping", ["never", "heuristic", "always"])
@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
def test_long_searches_of_a_batch(early_stopping, rules) -> None:
    beams = BeamSearch(beam_size=4, n_best=3, max_tokens=30, early_stopping=early_stopping, length_penalty=0.8)
    assert len(max(PROMPTS, key=len)) + beams.max_tokens > CONTEXT + 1  # some end at the context's
    check(default_model(), PROMPTS, beams, rules)


@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 4), st.sampled_from([-0.5, 0.0, 1.0, 1.7]))
def test_as_wide_as_there_are_sequences_it_finds_the_best(seed, vocabulary, length, penalty) -> None:
    """Vᵀ⁻¹ beams hold every beginning, so the best of all sequences cannot be missed."""
    model = build(replace(DEFAULT, vocab_size=vocabulary), seed)
    beams = BeamSearch(
        beam_size=vocabulary ** (length - 1), max_tokens=length, length_penalty=penalty, early_stopping="never"
    )
    [[best]] = found(model, [[1]], beams, ends={0})
    expected, score = best_of_all(model, [1], length, 0, penalty)
    assert best.tokens == expected
    assert best.score == pytest.approx(score, abs=1e-5)


@given(st.integers(0, 1000), st.sampled_from([-1.0, 0.0, 1.0, 2.0]))
def test_a_sure_end_loses_nothing(seed, penalty) -> None:
    """Ending when no open beam can win gives what a search to the last token gives."""
    model, beams = (
        build(DEFAULT, seed),
        BeamSearch(beam_size=3, n_best=3, max_tokens=9, length_penalty=penalty, early_stopping="never"),
    )
    ends = set(range(0, VOCABULARY, 3))
    sure = found(model, PROMPTS, beams, ends=ends)
    wider = naive_to_the_end(model, PROMPTS, beams, ends)
    assert [[each.tokens for each in row] for row in sure] == wider


def naive_to_the_end(model, prompts, beams, ends):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("naive_beam.naive_is_over", lambda *_: False)
        rows = [naive_beam(model, prompt, beams, ends, TokenRules()) for prompt in prompts]
    return [[tokens for tokens, _ in row] for row in rows]


def test_one_beam_is_greedy() -> None:
    model = default_model()
    engine = TorchEngine(model)
    for prompt, [best] in zip(
        PROMPTS, found(model, PROMPTS, BeamSearch(beam_size=1, max_tokens=9), ends=()), strict=True
    ):
        tokens = list(prompt)
        for token in best.tokens:
            assert token == int(engine.prefill([tokens])[1].argmax())
            tokens.append(token)


@pytest.mark.parametrize("width", [1, 3])
def test_the_trace_is_the_tree_of_all_beams(width) -> None:
    model, trace = default_model(), BeamTrace()
    beams = BeamSearch(beam_size=width, n_best=width, max_tokens=6)
    results = found(model, PROMPTS, beams, trace=trace)
    for row, hypotheses in enumerate(results):
        nodes, children = trace.nodes[row], trace.children(row)
        ended = {tuple(trace.path(row, place)): node for place, node in enumerate(nodes) if node.state == "ended"}
        for each in hypotheses:
            assert ended[each.tokens].log_probability == pytest.approx(each.log_probability)
        assert all(
            nodes[child].depth == nodes[node].depth + 1 for node in range(len(nodes)) for child in children[node]
        )
        assert all(nodes[child].log_probability <= nodes[node].log_probability for node in children if node is not None
                   for child in children[node])  # fmt: skip
        assert not [node for node in ended.values() if children[nodes.index(node)]]
        for depth in range(1, max(node.depth for node in nodes)):
            assert sum(node.depth == depth and node.state == "open" for node in nodes) == beams.beam_size


def test_a_search_is_as_good_as_its_mates() -> None:
    """No row's hypotheses depend on the rows beside it."""
    model, beams = default_model(), BeamSearch(beam_size=4, n_best=4, max_tokens=12)
    together = found(model, PROMPTS, beams)
    for prompt, hypotheses in zip(PROMPTS, together, strict=True):
        [alone] = found(model, [prompt], beams)
        assert [each.tokens for each in alone] == [each.tokens for each in hypotheses]
        assert [each.score for each in alone] == pytest.approx([each.score for each in hypotheses], abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_best": 6}, "n_best is 6, more than the beam_size 5"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"early_stopping": "sure"}, "early_stopping is 'sure'; give never, heuristic, always"),
    ],
)
def test_settings_out_of_range(wrong, message) -> None:
    with pytest.raises(OpenbookError, match=message):
        BeamSearch(**wrong)


def test_what_cannot_be_searched() -> None:
    model = default_model()
    with pytest.raises(OpenbookError, match="prompt 2 has 25 tokens; the model holds 24"):
        found(model, [[1], [1] * 25], BeamSearch())
    with pytest.raises(OpenbookError, match="a rule names the token 23"):
        found(model, [[1]], BeamSearch(), TokenRules(suppressed=(23,)))
    with pytest.raises(OpenbookError, match="allow no token at all"):
        found(model, [[1]], BeamSearch(), TokenRules(suppressed=tuple(range(VOCABULARY))))
    with torch.no_grad():
        model.decoder.final_norm.weight[0] = torch.nan
    with pytest.raises(OpenbookError, match="not finite"):
        found(model, [[1]], BeamSearch())
