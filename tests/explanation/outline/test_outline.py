"""The algorithm in words: every quantity in its step, in order, and nothing said that this model does not do."""

import pytest
from paged import paged
from traced_examples import ARCHITECTURES

from openbook.explanation.glossary import all_terms
from strategies import DEFAULT, ENCODER_DECODERS, ESSENTIAL, ORIGINAL

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS


def steps_of(page):
    return [step for section in page.manifest()["outline"] for step in section["steps"]]


def texts_of(page):
    manifest = page.manifest()
    steps = steps_of(page)
    steps = steps + [each for step in steps for each in step["substeps"]]
    return " ".join([each["title"] + " " + each["sentence"] for each in [*steps, *manifest["path"]]])


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_every_quantity_belongs_to_one_step_with_its_weights(spec):
    page = paged(spec, max_tokens=2)
    steps, recorded = steps_of(page), list(page.run.trace(0))
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))
    told = [path for step in steps for path in step["quantities"]]
    assert len(told) == len(set(told))
    silent = set(recorded) - set(told)
    assert silent <= {"encoder.embedded", "decoder.embedded"}  # the embedding itself, where nothing is added to it
    of_model = {name for name, _ in page.run.model.named_parameters()}
    assert {name for step in steps for name in step["weights"]} == of_model
    terms = {term for step in steps for term in step["terms"]}
    assert terms <= set(page.manifest()["glossary"])


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_steps_follow_from_steps_before(spec):
    known = {"tokens", "positions", "source", "source_positions", "key_positions"}
    for step in steps_of(paged(spec, max_tokens=2)):
        assert set(step["in"]) <= known, step["title"]
        known |= set(step["quantities"])


@pytest.mark.parametrize(
    ("spec", "absent", "present"),
    [
        (ESSENTIAL, ["otat", "Normalize", "Softmax  ", "add up to 1", "share"], ["There is no softmax"]),
        (ARCHITECTURES["no positions"], ["osition", "otat"], ["Softmax"]),
        (ARCHITECTURES["post norms"], ["−∞ or"], ["Normalize"]),
        (ARCHITECTURES["a key for each head"], ["share each key"], ["query"]),
        (DEFAULT, ["source", "encoder", "bias", "cap"], ["Rotate", "share each key"]),
        (ORIGINAL, ["otat", "share each key"], ["Cross-attention", "encoder"]),
        (ARCHITECTURES["experts"], ["neurons look"], ["router"]),
        (ARCHITECTURES["window"], [], ["tokens 4 or more away"]),
        (ARCHITECTURES["sinks"], [], ["less what the sink takes"]),
    ],
    ids=["essential", "no positions", "post norms", "ungrouped", "default", "original", "experts", "window", "sinks"],
)
def test_the_text_fits_the_model(spec, absent, present):
    text = texts_of(paged(spec))
    assert not [word for word in absent if word in text]
    assert not [word for word in present if word not in text]


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_the_path_goes_from_the_text_to_the_second_token(spec):
    stops = paged(spec).manifest()["path"]
    assert 20 <= len(stops) <= 30
    assert [stop["title"] for stop in stops[-3:]] == ["The second token", "Why not again", "The answer"]
    assert all(stop["sentence"].endswith((".", "”.")) and "\n" not in stop["sentence"] for stop in stops)
    levels = {stop["opens"]["level"] for stop in stops}
    assert {"answer", "model", "layer", "head", "panel"} <= levels


def test_a_sentence_has_the_numbers_of_the_trace():
    page = paged(DEFAULT)
    row = page.run.trace(0)["decoder.blocks.1.self_attention.weights"].value[0, :, -1]
    (attention,) = [step for step in steps_of(page) if step["id"] == "decoder.blocks.1.self_attention"]
    head = int(row[:, :-1].amax(-1).argmax())
    assert attention["opens"]["head"] == head
    assert f"in head {head}, “w5” takes {100 * row[head].max().item():.0f} % from" in attention["sentence"]


def test_a_later_step_says_that_the_rest_is_in_the_cache():
    page = paged(DEFAULT)
    first, *_ = page.view("outline", {"step": "2"})["sections"][0]["steps"]
    assert first["title"] == "Read the new token" and "is in the cache" in first["sentence"]


def test_every_term_is_one_plain_sentence():
    terms = all_terms()
    assert {"residual connection", "normalization", "query", "key", "value", "softmax", "feed-forward", "logit"} <= set(
        terms
    )
    for title, term in terms.items():
        assert term.sentence[0].isupper() and term.sentence.endswith(".") and "\n" not in term.sentence, title
        assert set(term.see) <= set(terms), title
    for step in steps_of(paged(DEFAULT)):
        assert set(step["terms"]) <= set(terms)
