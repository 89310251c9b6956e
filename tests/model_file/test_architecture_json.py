"""`Architecture` as data: it comes back from JSON unchanged, and nothing that could not be built gets in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook.errors import OpenbookError
from openbook.model_file.architecture_json import read_architecture, write_architecture
from openbook.transformer.architecture import (
    MAXIMUM_LAYERS,
    Attention,
    Block,
    FeedForward,
    Norm,
    Position,
    Stack,
)
from soon import soon
from strategies import DEFAULT, ESSENTIAL, RELATIVE, architectures, build, some_tokens


def plain(spec=DEFAULT):
    """The architecture as dictionaries and lists."""
    return json.loads(write_architecture(spec))


def changed(path, value, spec=DEFAULT):
    """JSON of the architecture with one field set; the path is written `decoder.blocks.0.attention.heads`."""
    data = plain(spec)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    here = data
    for part in parents:
        here = here[part]
    here[last] = value
    return json.dumps(data)


def refusal(text):
    """The message with which this JSON is refused; it must come soon."""
    with pytest.raises(OpenbookError) as refused, soon():
        read_architecture(text)
    message = str(refused.value)
    assert len(message) < 500
    assert message.isprintable()
    return message


@given(architectures() | architectures(encoder=True))
def test_json_round_trip(spec):
    again = read_architecture(write_architecture(spec))
    assert again == spec
    assert write_architecture(again) == write_architecture(spec)
    assert hash(again) == hash(spec)


def test_json_says_all_fields_and_the_defaults_fill_missing_ones():
    data = plain()
    assert data["decoder"]["blocks"][0]["attention"]["attention_softcap"] is None
    del data["decoder"]["blocks"][0]["attention"]["attention_softcap"]
    assert read_architecture(json.dumps(data)) == DEFAULT


RELATIVE_ATTENTION = plain(RELATIVE)["encoder"]["blocks"][0]["attention"]
BLOCK, ATTENTION = "decoder.blocks.1", "decoder.blocks.1.attention"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", 2**63),
        ("vocab_size", "23"),
        ("vocab_size", 23.0),
        ("vocab_size", True),
        ("width", -1),
        ("width", None),
        ("context", 10**400),
        ("tied_embeddings", "yes"),
        ("tied_embeddings", 1),
        ("embedding_scale", float("nan")),
        ("logit_scale", float("inf")),
        ("logit_softcap", 0.0),
        ("logit_softcap", -1.0),
        ("decoder", 3),
        ("decoder.position.kind", "alibi"),
        ("decoder.position.base", 0.5),
        ("decoder.position.base", 1e300),
        ("decoder.final_norm.epsilon", 0.0),
        ("decoder.final_norm.kind", ["rms"]),
        ("decoder.blocks", []),
        ("decoder.blocks", {}),
        ("decoder.blocks", 7 * ["x"]),
        (f"{BLOCK}.attention", None),
        (f"{BLOCK}.surprise", 1),
        (f"{ATTENTION}.heads", 2**40),
        (f"{ATTENTION}.head_width", 0),
        (f"{ATTENTION}.window", 0),
        (f"{ATTENTION}.scale", float("-inf")),
        (f"{ATTENTION}.attention_softcap", "30"),
        (f"{ATTENTION}.attention_function", "sigmoid"),
        (f"{BLOCK}.feed_forward.activation", "__import__"),
        (f"{BLOCK}.feed_forward.width", 1.5),
    ],
)
def test_the_refusal_names_the_field(path, value):
    assert f"field {path}" in refusal(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (f"{ATTENTION}.key_value_heads", 3, f"{ATTENTION}: heads (4) must be a multiple of key_value_heads (3)"),
        (f"{ATTENTION}.head_width", 7, f"{ATTENTION}.head_width must be even"),
        (f"{BLOCK}.position", {"kind": "learned"}, f"{BLOCK}.position can only be rotary or none"),
        (f"{BLOCK}.before", {"kind": "rms", "bias": True}, f"{BLOCK}.before: bias is for layer norms"),
        (f"{BLOCK}.cross_attention", plain()["decoder"]["blocks"][0]["attention"], "cross_attention must be absent"),
        ("source_vocab_size", 5, "source_vocab_size is for models with an encoder"),
        (
            "decoder.position",
            {"concatenated": True},
            "decoder.position: concatenated and offset are for sinusoidal positions",
        ),
        (
            "decoder.position",
            {"kind": "relative", "max_distance": 16},
            "max_distance (16) must be more than half of buckets",
        ),
    ],
)
def test_fields_that_do_not_fit_together(path, value, named):
    assert named in refusal(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("decoder.blocks.1.cross_attention", None, "decoder.blocks.1.cross_attention must be present"),
        ("decoder.blocks.0.cross_attention.window", 3, "decoder.blocks.0.cross_attention.window must be absent"),
        ("encoder.blocks.0.cross_attention", RELATIVE_ATTENTION, "encoder.blocks.0.cross_attention must be absent"),
        (
            "encoder.blocks.1.attention.heads",
            8,
            "encoder.blocks that share relative positions must have the same number of heads",
        ),
        ("encoder.position", {"kind": "rotary"}, None),
        ("encoder.blocks.0.attention.surprise", 3, "field encoder.blocks.0.attention.surprise"),
    ],
)
def test_parts_of_an_encoder_decoder_that_do_not_fit_together(path, value, named):
    if named is None:
        assert read_architecture(changed(path, value, RELATIVE)).encoder.position.kind == "rotary"
    else:
        assert named in refusal(changed(path, value, RELATIVE))


def test_sinusoidal_needs_an_even_width():
    assert "width must be even" in refusal(changed("width", 15, ESSENTIAL))


def test_odd_heads_are_fine_without_rotation():
    assert read_architecture(changed(f"{ATTENTION}.head_width", 7, ESSENTIAL))


@pytest.mark.parametrize("field", ["vocab_size", "width", "context", "decoder"])
def test_a_missing_field_is_named(field):
    data = plain()
    del data[field]
    assert f"field {field}" in refusal(json.dumps(data))


HOSTILE = {
    "nothing": "",
    "null": "null",
    "deep lists": 100_000 * "[",
    "deep objects": 100_000 * '{"a":',
    "deep in a field": changed("decoder", 0).replace('"decoder": 0', '"decoder": ' + 5000 * "[" + 5000 * "]"),
    "long number": changed("vocab_size", 0).replace('"vocab_size": 0', '"vocab_size": ' + 1_000_000 * "9"),
    "lone surrogate": "\ud800",
    "trailing text": write_architecture(DEFAULT) + "x",
    "truncated": write_architecture(DEFAULT)[:-1],
    "enormous": 50_000_000 * " ",
    "many wrong layers": changed("decoder.blocks", 600_000 * [0]),
    "many empty layers": changed("decoder.blocks", 600_000 * [{}]),
    "one layer too many": changed("decoder.blocks", (MAXIMUM_LAYERS + 1) * plain()["decoder"]["blocks"][:1]),
    "many unknown fields": json.dumps(plain() | {f"x{number}": 1 for number in range(100_000)}),
    "long unknown field": json.dumps(plain() | {100_000 * "x": 1}),
    "terminal codes in a name": json.dumps(plain() | {"\x1b[31m\n": 1}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_quickly(name):
    refusal(HOSTILE[name])


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(data, prefix=""):
    """Every place in the data, as `changed` writes it."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield f"{prefix}{key}"
        yield from paths(value, f"{prefix}{key}.")


@given(path=st.sampled_from(sorted(paths(plain()))), value=_json)
def test_any_value_anywhere_is_taken_or_refused(path, value):
    try:
        spec = read_architecture(changed(path, value))
    except OpenbookError:
        return
    assert read_architecture(write_architecture(spec)) == spec


@given(architectures())
def test_what_is_accepted_can_be_built_and_run(spec):
    assert build(read_architecture(write_architecture(spec)))(some_tokens(1, 4)).isfinite().all()


def test_objects_are_checked_as_json_is():
    with pytest.raises(ValidationError, match="heads"):
        Attention(heads=4, key_value_heads=3, head_width=8)
    with pytest.raises(ValidationError, match="widht"):
        FeedForward(width=8, widht=8)
    with pytest.raises(ValidationError, match="base"):
        Position(base=float("nan"))
    with pytest.raises(ValidationError, match="bias"):
        Norm(kind="none", bias=True)
    with pytest.raises(ValidationError, match="blocks"):
        Stack(blocks=())


def test_it_cannot_be_changed():
    block = Block(attention=Attention(heads=1, key_value_heads=1, head_width=2), feed_forward=FeedForward(width=2))
    with pytest.raises(AttributeError):
        block.before = Norm(kind="none")
