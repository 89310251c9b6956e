"""`Model`, the face of the library: load, ask, look, score, save."""

import math

import numpy as np
import pytest
import torch

import openbook
from openbook.errors import OpenbookError
from openbook.model import Model
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.evaluation.perplexity import sliding_windows
from openbook.training.recipe import build_architecture
from strategies import build as build_model
from strategies import difference
from training.training_examples import TINY, recipe, same, weights, write_book


@pytest.fixture(scope="module")
def model():
    tokenizer = train_tokenizer(["a b"], "bytes", 257)
    spec = build_architecture(recipe(vocab_size=257))
    generation = {"temperature": 0.0, "max_tokens": 4}
    contents = ModelMetadata(architecture=spec, tokenizer=tokenizer.to_json(), generation=generation)
    return Model(contents, build_model(spec))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "it.openbook"
    model.save(path)
    return path


def test_what_is_saved_is_loaded(model, path):
    opened = openbook.load(path, "cpu")
    assert opened.metadata == model.metadata
    assert same(weights(opened.transformer), weights(model.transformer))
    assert not opened.transformer.training


def test_a_model_can_be_saved_over_itself(path):
    before = path.read_bytes()
    opened = openbook.load(path, "cpu")
    with pytest.raises(OpenbookError, match=r"it.openbook: exists"):
        opened.save(path)
    opened.save(path, overwrite=True)
    assert path.read_bytes() == before
    assert opened.ask("a") == openbook.load(path, "cpu").ask("a")


def test_a_saved_model_is_named_as_the_command_names_it(model, tmp_path):
    with pytest.warns(UserWarning, match=r"note.txt: a model's name ends in .openbook, so it becomes note.txt"):
        assert model.save(tmp_path / "note.txt") == tmp_path / "note.txt.openbook"
    assert [each.name for each in tmp_path.iterdir()] == ["note.txt.openbook"]


def test_settings_are_those_of_the_file_unless_given(model):
    assert (model.sampling().max_tokens, model.sampling().temperature) == (4, 0)
    assert model.sampling(max_tokens=7).max_tokens == 7
    assert len(model.generate(["a"])[0].tokens) <= 4
    with pytest.raises(OpenbookError, match=r"colour.*is no decoding setting"):
        model.sampling(colour=1)


def test_answers_stream_as_they_are_given_together(model):
    settings = {"temperature": 1.0, "seed": 3, "max_tokens": 6}
    answers = model.generate(["one", "two"], **settings)
    chunks = list(model.stream(["one", "two"], **settings))
    for row, answer in enumerate(answers):
        assert "".join(chunk.text for chunk in chunks if chunk.row == row) == answer.text
    assert model.ask("one", **settings) == model.generate(["one"], **settings)[0].text
    assert model.ask("one", **settings) == model.ask("one", **settings)


def test_a_text_is_one_prompt_and_bytes_are_none(model):
    assert model.generate("one") == model.generate(["one"])
    assert [chunk.text for chunk in model.stream("one")] == [chunk.text for chunk in model.stream(["one"])]
    for call in (model.generate, model.stream, model.search, model.ask, model.trace, model.prompt_tokens):
        for wrong in (b"one", None, 3, [b"one"]):
            with pytest.raises(OpenbookError, match=r"^prompts?(\[0\])?: \w+ is no text; give a str"):
                call(wrong)
    with pytest.raises(OpenbookError, match=r"^inputs: int is no path"):
        model.evaluate(3)
    with pytest.raises(OpenbookError, match=r"^path: bytes is no path"):
        openbook.load(b"it.openbook")


def test_a_wrong_path_of_a_trace_lists_the_nearest(model):
    recorded = model.trace("hello").trace
    with pytest.raises(KeyError, match=r"the nearest are: decoder\.blocks\.0\.self_attention\.scores, "):
        recorded["decoder.blocks.0.self_attn.scores"]
    assert "decoder.blocks.0.self_attn.scores" not in recorded


def test_a_trace_is_of_the_prompt(model):
    explanation = model.trace("hello")
    assert explanation.tokens.tolist() == [list(b"hello")]
    assert difference(explanation.logits, model.transformer(explanation.tokens)[:, -1]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(("context", "stride"), [(None, None), (8, 8), (8, 3), (16, 1)])
def test_a_score_is_of_every_byte_of_every_file(model, tmp_path, context, stride):
    (tmp_path / "a.txt").write_text("The quick brown fox jumps over the lazy dog. " * 2)
    (tmp_path / "b.txt").write_text("Sphinx of black quartz, judge my vow, and do it now.\n")
    texts = [(tmp_path / name).read_bytes() for name in ("a.txt", "b.txt")]
    found = model.evaluate(tmp_path, context=context, stride=stride)
    ids, nats = [token for text in texts for token in (model.tokenizer.end_id, *text)], 0.0
    length = context or 16
    for start, first in sliding_windows(len(ids), length, stride or max(1, length // 2)):
        logits = model.transformer(torch.tensor([ids[start : start + length]]))[0].log_softmax(-1)
        nats -= sum(float(logits[place - start - 1, ids[place]]) for place in range(first, start + length + 1))
    assert found.bytes == sum(map(len, texts)) and found.tokens == len(ids) - 1
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / found.bytes, rel=1e-5)


@pytest.mark.parametrize("options", [{"context": 0}, {"context": 17}, {"stride": 0}, {"stride": 17}, {"stride": -1}])
def test_nonsense_numbers_are_refused_with_their_range(model, tmp_path, options):
    name, value = next(iter(options.items()))
    with pytest.raises(OpenbookError, match=rf"{name} {value}: must be from 1 to 16"):
        model.evaluate(write_book(tmp_path / "a.txt"), **options)


def test_what_cannot_be_scored_is_told(model, tmp_path):
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty").mkdir()
    for what in ("none.txt", "binary.txt", "empty"):
        with pytest.raises(OpenbookError):
            model.evaluate([tmp_path / what])


@pytest.mark.parametrize("content", [None, b"", b"text", np.zeros(100).tobytes()])
def test_what_is_no_model_is_told(tmp_path, content):
    path = tmp_path / "it.openbook"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(OpenbookError, match=r"it\.openbook"):
        openbook.load(path)


def test_an_unknown_device_is_told(path):
    with pytest.raises(OpenbookError, match=r"^device tpu: is not on this machine.*cpu"):
        openbook.load(path, "tpu")


def test_the_front_door_is_small():
    assert set(openbook.__all__) == {"Model", "OpenbookError", "__version__", "load", "train"}
    assert all(hasattr(openbook, name) for name in openbook.__all__)
    with pytest.raises(AttributeError):
        openbook.nothing  # noqa: B018


def test_bad_choices_in_python_are_told(tmp_path):
    with pytest.raises(OpenbookError, match="colour: is not known; there are minutes, steps"):
        openbook.train(tmp_path, tmp_path / "it.openbook", colour=1, **TINY)
