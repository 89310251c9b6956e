"""Sentences in, translations out: order, problems, both kinds of model, every way of decoding."""

import json
from dataclasses import replace

import pytest
import torch
from naive import default_model
from translators import engine, tokenizer, translator_model

from openbook.cli.sentence_lines import as_json_line, as_line, as_sentence
from openbook.errors import OpenbookError
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch, Sampling, decoding_settings
from openbook.generation.token_rules import TokenRules
from openbook.generation.translation import Sentence, Translator
from openbook.text.corpus.readers.lines import InvalidLine
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

TEXTS = ["the cat sat", "rain", "the dog sat on the log while rain fell", "on", "a mat and the cat", "log the dog"]


@pytest.fixture(scope="module")
def words():
    return tokenizer()


@pytest.fixture(scope="module")
def engine_(words):
    return engine(words.vocab_size)


def make(engine, words, how=None, **options):
    how = how or BeamSearch(beam_size=3, max_tokens=12)
    return Translator(engine=engine, source_tokenizer=words, target_tokenizer=words, decoding=how, **options)


@pytest.mark.parametrize(
    "how",
    [
        BeamSearch(beam_size=3, n_best=2, max_tokens=9),
        BeamSearch(beam_size=1, max_tokens=9),
        Sampling(seed=3, max_tokens=9),
    ],
)
@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_each_gets_its_own_whatever_the_batches(engine_, words, how, batch_tokens) -> None:
    many = list(make(engine_, words, how, batch_tokens=batch_tokens)([[Sentence(text) for text in TEXTS]]))
    assert [each.source for each in many] == TEXTS
    for text, together in zip(TEXTS, many, strict=True):
        [[alone]] = [list(make(engine_, words, how)([[Sentence(text)]]))]
        assert [c.hypothesis.tokens for c in alone.candidates] == [c.hypothesis.tokens for c in together.candidates]
        assert alone.candidates[0].hypothesis.score == pytest.approx(together.candidates[0].hypothesis.score, abs=1e-5)
        assert len(together.candidates) == (how.n_best if isinstance(how, BeamSearch) else 1)


def test_one_beam_is_sampling_at_temperature_0(engine_, words) -> None:
    one = list(make(engine_, words, BeamSearch(beam_size=1, max_tokens=15))([[Sentence(text) for text in TEXTS]]))
    greedy = list(make(engine_, words, Sampling(temperature=0, max_tokens=15))([[Sentence(text) for text in TEXTS]]))
    assert [each.text for each in one] == [each.text for each in greedy]
    for each, other in zip(one, greedy, strict=True):
        ours, theirs = each.candidates[0].hypothesis, other.candidates[0].hypothesis
        assert ours.tokens == theirs.tokens and ours.finish_reason == theirs.finish_reason
        assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-4)


def test_what_cannot_be_translated_keeps_its_place(engine_, words) -> None:
    long = "the cat " * 60
    given = [Sentence("the cat"), Sentence(""), Sentence(" \t"), Sentence(long), Sentence("�", "it is broken")]
    given.append(Sentence("rain"))
    found = list(make(engine_, words)([given]))
    assert [each.source for each in found] == [each.text for each in given]
    assert [each.problem for each in found][:3] == [None, "it is empty", "it is empty"]
    assert "tokens, and the model reads at most 40" in found[3].problem
    assert found[4].problem == "it is broken" and found[5].problem is None
    assert [bool(each.candidates) for each in found] == [True, False, False, False, False, True]
    assert found[1].text == "" and as_line(found[1], 2, 1) == ""
    assert json.loads(as_json_line(words, found[1])) == {"source": "", "translation": "", "problem": "it is empty"}


def test_padding_and_separators_are_never_written(words) -> None:
    """Of a model that would like nothing better."""
    model = translator_model(words.vocab_size)
    special = words.special
    with torch.no_grad():
        model.to_logits.weight[[special.padding, special.separator]] = 40 * model.to_logits.weight[5]
    for how in (BeamSearch(beam_size=3), Sampling(temperature=2.0, seed=1, max_tokens=20)):
        for each in make(TorchEngine(model), words, how)([[Sentence(text) for text in TEXTS]]):
            assert not {special.padding, special.separator} & set(each.candidates[0].hypothesis.tokens)


def test_a_language_comes_first(engine_, words) -> None:
    languages = replace(words.special, languages={"de": 7, "fr": 9}, language_position="before")
    of_many = Tokenizer.from_json(words.to_json(), languages)
    make_one = make(engine_, of_many, BeamSearch(beam_size=2, max_tokens=6), target_language="fr", source_language="de")
    [[result]] = [list(make_one([[Sentence("the cat")]]))]
    assert result.candidates[0].hypothesis.tokens[0] == 9
    assert make_one.encode_source("the cat")[0] == 7
    with pytest.raises(OpenbookError, match="it has de, fr"):
        list(make(engine_, of_many, target_language="es")([[Sentence("the cat")]]))


def test_a_decoder_only_model_reads_the_source_and_the_separator() -> None:
    model = default_model()
    words = tokenizer()
    engine = TorchEngine(model)

    class Reader:
        special = SpecialTokens(end=(0,), separator=22)

        def encode_source(self, text, language):
            return [words.encode(text)[0] % 20 + 1, 3]

        def decode(self, ids, *, skip_special):
            return " ".join(map(str, ids))

        def ids_without_token(self, rows):
            return ()

    how = BeamSearch(beam_size=3, max_tokens=8)
    [[result]] = [list(make(engine, Reader(), how)([[Sentence("rain")]]))]
    prompt = [*Reader().encode_source("rain", None), 22]
    [expected] = beam_search(engine, [prompt], how, TokenRules.of(Reader.special, how))
    assert result.candidates[0].hypothesis.tokens == expected.hypotheses[0].tokens
    Reader.special = SpecialTokens(end=(0,))
    with pytest.raises(OpenbookError, match="not trained on pairs"):
        list(make(engine, Reader())([[Sentence("rain")]]))


def test_a_translation_ends_at_twice_its_source_and_20(engine_, words) -> None:
    model = translator_model(words.vocab_size, context=400)
    with torch.no_grad():
        model.to_logits.weight[words.end_id] = 0
        model.to_logits.weight[3] = 0  # the end is never the most probable
    text = "the cat sat"
    [[result]] = [list(make(TorchEngine(model), words, BeamSearch(beam_size=1))([[Sentence(text)]]))]
    hypothesis = result.candidates[0].hypothesis
    if hypothesis.finish_reason == "length":
        assert len(hypothesis.tokens) == 2 * len(words.encode_source(text)) + 20
    [[result]] = [
        list(make(TorchEngine(model), words, BeamSearch(beam_size=1, max_tokens=99), bounded=False)([[Sentence(text)]]))
    ]
    assert len(result.candidates[0].hypothesis.tokens) in (99, len(hypothesis.tokens))


@pytest.mark.parametrize("beams", [8, 12])
def test_no_text_comes_twice_and_the_best_score_is_kept(words, beams) -> None:
    """Every token of these letters alone is spelled by another as well, so sequences differ where texts do not."""
    ids = [number for text in ("the cat sat", "rain") for number in words.encode(text)]
    names = {number: "ab"[number % 2] for number in range(words.vocab_size)}
    engine_ = engine(words.vocab_size)

    def text_of(tokens):
        return "".join(names[token] for token in tokens if token not in words.end_ids)

    settings = BeamSearch(beam_size=beams, n_best=beams, max_tokens=3)
    rules = TokenRules.of(words.special, settings)
    sources = [[*ids, words.special.suffix[0]]]
    start = [[words.special.decoder_start]]
    [plain] = beam_search(engine_, start, settings, rules, sources=sources)
    [found] = beam_search(engine_, start, settings, rules, sources=sources, text_of=text_of)
    assert len({text_of(each.tokens) for each in plain.hypotheses}) < len(plain.hypotheses)
    texts = [text_of(each.tokens) for each in found.hypotheses]
    assert len(set(texts)) == len(texts) > 1
    assert found.hypotheses[0] == plain.hypotheses[0]
    for each in found.hypotheses:
        alike = [other.score for other in plain.hypotheses if text_of(other.tokens) == text_of(each.tokens)]
        assert each.score >= max(alike, default=each.score)


def test_the_n_best_of_a_translation_differ(engine_, words) -> None:
    for result in make(engine_, words, BeamSearch(beam_size=6, n_best=6, max_tokens=9))([[Sentence(t) for t in TEXTS]]):
        texts = [" ".join(each.text.split()) for each in result.candidates]
        assert len(set(texts)) == len(texts)


def test_lines_of_a_file() -> None:
    assert as_sentence("one") == Sentence("one")
    assert as_sentence(InvalidLine.UNREADABLE) == Sentence("", "it is not readable; see --encoding")


def test_a_source_is_cleaned_as_in_training(engine_, words) -> None:
    translator = make(engine_, words)
    expected = translator.encode_source("the rain falls")
    for text in ("  the rain falls \n", "\ufeffthe\train\xa0falls", "the rain\u2028falls", "the rain\r\nfalls"):
        assert translator.encode_source(text) == expected
    assert translator.encode_target(" rain \t") == translator.encode_target("rain")
    [[result]] = [list(translator([[Sentence("\xa0\u2028")]]))]
    assert result.problem == "it is empty"


def test_a_line_has_no_line_breaks(engine_, words) -> None:
    [[result]] = [list(make(engine_, words, BeamSearch(beam_size=2, n_best=2, max_tokens=5))([[Sentence("rain")]]))]
    broken = replace(result, candidates=tuple(replace(each, text="a\nb\r\nc") for each in result.candidates))
    assert as_line(broken, 4, 1) == "a b c"
    scores = [each.hypothesis.score for each in broken.candidates]
    assert as_line(broken, 4, 2).splitlines() == [f"4\t{score:.4f}\ta b c" for score in scores]


def test_which_way_of_decoding() -> None:
    assert decoding_settings({}, {}, prefer_search=True) == BeamSearch()
    assert decoding_settings({}, {}, prefer_search=False) == Sampling()
    assert decoding_settings({"beam_size": 4, "temperature": 0.5}, {"max_tokens": 7}, prefer_search=True) == BeamSearch(
        beam_size=4, max_tokens=7
    )
    assert decoding_settings({"beam_size": 4, "temperature": 0.5}, {"top_k": 7}, prefer_search=True) == Sampling(
        temperature=0.5, top_k=7
    )
    assert decoding_settings({"temperature": 0.5}, {"n_best": 2}, prefer_search=False) == BeamSearch(n_best=2)
    with pytest.raises(OpenbookError, match="beam_size is for a beam search and seed for sampling"):
        decoding_settings({}, {"beam_size": 2, "seed": 1}, prefer_search=True)
    with pytest.raises(OpenbookError, match="'beam' is no decoding setting"):
        decoding_settings({}, {"beam": 2}, prefer_search=True)
