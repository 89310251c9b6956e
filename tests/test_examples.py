"""The examples answer as they were taught, and their numbers can be followed by hand."""

import pytest
import torch

from openbook.errors import OpenbookError
from openbook.examples import EXAMPLES, QUESTIONS, make_example
from openbook.explanation.run import explain


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    return {name: make_example(name, folder / f"{name}.openbook") for name in EXAMPLES}


def traced(model, example):
    if not example.pairs:
        return explain(model.transformer, model.tokenizer.encode(example.prompt))
    translator = model.translator()
    target = translator.encode_target(example.pairs[0][1])
    return explain(model.transformer, target[:1], source=translator.encode_source(example.prompt))


def test_all_is_learned(models):
    assert models["decoder-only"].ask("what is openbook", temperature=0).strip() == "awesome"
    assert models["decoder-only"].ask("openbook is what", temperature=0).strip() == "awesome"
    assert models["attention"].ask("START The cat", temperature=0).strip() == "sat on mat"
    for name in ("encoder-decoder", "questions"):
        sources, targets = zip(*EXAMPLES[name].pairs, strict=True)
        assert [each.text for each in models[name].translate(sources)] == list(targets)
    for question, answer in QUESTIONS:
        assert models["questions-decoder"].ask(question, temperature=0).strip() == answer


@pytest.mark.parametrize("name", EXAMPLES)
def test_scores_are_small_and_attention_is_spread(models, name):
    trace = traced(models[name], EXAMPLES[name]).trace
    for path, record in trace.items():
        if path.endswith("attention.scores"):
            assert record.value.abs().max() <= 5, path
        if path.endswith("attention.weights") and record.value.shape[-1] > 1:
            assert record.value[0, :, -1].max() < 0.995, path


def test_the_same_name_gives_the_same_model(models, tmp_path):
    again = make_example("attention", tmp_path / "again").transformer.state_dict()
    first = models["attention"].transformer.state_dict()
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert [path.name for path in tmp_path.iterdir()] == ["again.openbook"]


def test_an_unknown_name_lists_the_others(tmp_path):
    with pytest.raises(OpenbookError, match='there is no example "cat"; there are decoder-only, attention'):
        make_example("cat", tmp_path / "cat.openbook")
