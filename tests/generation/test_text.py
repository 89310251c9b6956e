"""Streams of text: whole characters, stop texts across token borders, and what ends an answer."""

from dataclasses import replace
from itertools import pairwise

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from naive import ScriptedEngine, byte_tokenizer

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.stop_sequences import StopSequences
from openbook.generation.text import answer, search, stream
from openbook.text.tokenizer.tokenizer import Tokenizer
from strategies import DEFAULT, build

TOKENIZER = byte_tokenizer()
few = st.text(alphabet="ab", max_size=24)


def scripted(texts: list[str], tokenizer: Tokenizer = TOKENIZER) -> ScriptedEngine:
    """Says these texts, each ended as a text is."""
    return ScriptedEngine([[*tokenizer.encode(text), tokenizer.end_id] for text in texts], tokenizer.vocab_size)


def settings(**values) -> Sampling:
    return Sampling(temperature=0, **{"max_tokens": 10_000, **values})


def cut(text: str, stops: list[str]) -> str:
    """What comes before the stop text that is complete first, by looking at every beginning of the text."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)]
    return text


def parts(text: str, borders: list[int]) -> list[str]:
    places = sorted({min(border, len(text)) for border in borders} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@given(few, st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=3), st.lists(st.integers(0, 24)))
@example("aab", ["aab", "a"], [1, 2])
@example("abab", ["b", "bab"], [4])
@example("aabaab", ["abb"], [])
def test_a_stop_text_is_found_wherever_the_borders_are(text, stops, borders) -> None:
    watcher, passed = StopSequences(stops), ""
    for part in parts(text, borders):
        passed += watcher.feed(part)
        assert cut(text, stops).startswith(passed), "what is given was never to be taken back"
        if watcher.found:
            break
    if not watcher.found:
        held = max(map(len, stops), default=1) - 1
        assert len(passed) >= len(text) - held, "no more is held than needed"
        passed += watcher.flush()
    assert passed == cut(text, stops)
    assert watcher.found == any(stop in text for stop in stops)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
@example(["🙂é", "a", "日本"])
def test_streams_never_split_a_character(texts) -> None:
    """Every token is one byte here, and still only whole characters arrive, in full."""
    arrived = [""] * len(texts)
    for chunk in stream(scripted(texts), TOKENIZER, ["x"] * len(texts), settings()):
        arrived[chunk.row] += chunk.text
        assert texts[chunk.row].startswith(arrived[chunk.row])
    assert arrived == texts


@given(st.text(alphabet="aé🙂", max_size=12), st.text(alphabet="aé🙂", min_size=1, max_size=3))
def test_stop_texts_of_several_bytes(text, stop) -> None:
    (only,) = answer(scripted([text]), TOKENIZER, ["x"], settings(stop=[stop]))
    assert only.text == cut(text, [stop])
    assert only.finish_reason == ("stop" if stop in text else "end")


def test_one_chunk_for_each_token_and_one_finish_for_each_row() -> None:
    texts = ["one. two", "no", "longer than allowed"]
    chunks = list(stream(scripted(texts), TOKENIZER, ["x", "y", "z"], settings(stop=(". ",), max_tokens=8)))
    assert [[p.text for p in chunks if p.row == row] for row in range(3)] == [
        ["o", "n", "e", "", ""],
        ["n", "o", ""],
        list("longer t"),
    ]
    assert {p.row: p.finish_reason for p in chunks if p.finish_reason} == {0: "stop", 1: "end", 2: "length"}


def test_what_was_held_back_comes_at_the_end() -> None:
    """The beginning of a stop text, and half a character, when the tokens run out."""
    (held,) = answer(scripted(["hope for i"]), TOKENIZER, ["x"], settings(stop=("it",)))
    assert (held.text, held.finish_reason) == ("hope for i", "end")
    (half,) = answer(scripted(["a🙂"]), TOKENIZER, ["x"], settings(max_tokens=3))
    assert (half.text, half.finish_reason) == ("a\ufffd", "length")
    (last,) = answer(scripted(["abc"]), TOKENIZER, ["x"], settings(stop=("c",), max_tokens=3))
    assert (last.text, last.finish_reason) == ("ab", "stop")


def test_the_whole_answer_is_the_stream() -> None:
    engine = TorchEngine(build(replace(DEFAULT, vocab_size=TOKENIZER.vocab_size)))
    sampling = Sampling(seed=5, max_tokens=30, temperature=2.0, top_alternatives=2)
    prompts = ["what can you do", "", "é"]
    chunks = list(stream(engine, TOKENIZER, prompts, sampling))
    answers = answer(engine, TOKENIZER, prompts, sampling)
    for row, whole in enumerate(answers):
        own = [chunk for chunk in chunks if chunk.row == row]
        assert whole.text == "".join(chunk.text for chunk in own)
        assert whole.tokens == tuple(chunk.token for chunk in own)
        assert whole.finish_reason == own[-1].finish_reason
    alone = [answer(engine, TOKENIZER, [prompt], sampling)[0] for prompt in prompts]
    assert [each.text for each in alone] == [each.text for each in answers]


def test_ids_without_a_token_are_never_chosen() -> None:
    """Rows that round an embedding up: here the most probable ones."""
    size = TOKENIZER.vocab_size
    transformer = build(replace(DEFAULT, vocab_size=size + 40))
    with torch.no_grad():
        transformer.token_embedding.weight[size:] *= 100
    engine = TorchEngine(transformer)
    assert TOKENIZER.ids_without_token(size + 40) == tuple(range(size, size + 40))
    assert engine.prefill([[65]])[1].argmax() >= size
    for sampling in (settings(max_tokens=20), Sampling(seed=1, max_tokens=20, temperature=50.0, top_alternatives=3)):
        (found,) = answer(engine, TOKENIZER, ["A"], sampling)
        assert max(token.token_id for token in found.tokens) < size
    ((best, *_),) = search(engine, TOKENIZER, ["A"], BeamSearch(beam_size=3, max_tokens=9))
    assert max(best.hypothesis.tokens) < size
    assert TOKENIZER.token_text(size) == "(unused)"


def test_closing_a_stream_ends_the_work() -> None:
    engine = scripted(["a long story"])
    chunks = stream(engine, TOKENIZER, ["x"], settings())
    next(chunks), next(chunks)
    chunks.close()
    assert engine.steps == 1
