"""What `explain --terminal` prints, and the same for programs."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from traced_examples import ARCHITECTURES, LAYER_NORM, changed

from openbook.errors import OpenbookError
from openbook.explanation.attention_rows import attention_rows
from openbook.explanation.reader import TensorOffset
from openbook.explanation.run import explain
from openbook.explanation.summarise import summarise
from openbook.explanation.terminal import explain_as_json, explain_in_terminal
from openbook.explanation.terminal_number import parse_number
from openbook.explanation.terminal_page import print_summary
from openbook.explanation.token_display import readable, short
from openbook.transformer.mask import positions_of
from strategies import (
    DEFAULT,
    ENCODER_DECODERS,
    ESSENTIAL,
    ORIGINAL,
    RELATIVE,
    VOCABULARY,
    build,
    some_tokens,
    with_windows,
)


class Words:
    """A tokenizer of a few hostile tokens; the last ids have none, as in a vocabulary that was rounded up."""

    tokens = (
        b" the",
        b"\x1b[31mred",
        b"[bold]",
        b"\n",
        "\u202eback".encode(),
        "\u0301".encode(),
        b"\xe2\x82",
        "日本語".encode() * 9,
        b'"',
        b"",
    )

    def token_bytes(self, token_id):
        if token_id >= VOCABULARY - 2:
            raise OpenbookError(f"token {token_id}")
        return self.tokens[token_id % len(self.tokens)]


def printed(spec=DEFAULT, tokens=range(10), width=80, **choices):
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None)
    explain_in_terminal(build(spec), Words(), list(tokens), console, **choices)
    return stream.getvalue()


def summed(spec=DEFAULT, tokens=range(6), positions=None, documents=None, **choices):
    model = build(spec)
    explained = explain(model, torch.tensor([list(tokens)]), positions, documents)
    return explained, summarise(explained, Words(), **choices)


# Tokens.


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (0, '" the"'),
        (1, '"\\x1b[31mred"'),
        (2, '"[bold]"'),
        (3, '"\\n"'),
        (4, '"\\u202eback"'),
        (5, '"◌\u0301"'),
        (6, "<E2 82>"),
        (9, '""'),
        (VOCABULARY - 1, "(unused)"),
    ],
)
def test_tokens_are_readable(token, text):
    assert readable(Words(), token) == text


def test_wide_characters_are_cut_to_the_cells_they_take():
    assert short('"abc"') == '"abc"'
    assert cell_len(short(readable(Words(), 7))) <= 18


# The page.


@pytest.mark.parametrize("spec", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_architecture_prints_within_80_columns(spec):
    page = printed(spec)
    assert max(cell_len(line.rstrip()) for line in page.splitlines()) <= 80
    assert "\x1b" not in page and "\u202e" not in page
    for title in ("The prompt", "From tokens to vectors", "All layers", "Layer 0, step by step", "The next token"):
        assert f"{title} ─" in page


def test_every_quantity_of_the_layer_is_there_with_shape_formula_and_weights():
    places = {name: TensorOffset(4096, 4, tuple(each.shape)) for name, each in build(DEFAULT).named_parameters()}
    page = " ".join(printed(layer=1, head=3, token=4, places=places).replace("\N{NO-BREAK SPACE}", " ").split())
    explained, summary = summed(tokens=range(10), layer=1, head=3, token=4)
    names = [path for path in explained.trace if ".blocks.1." in path]
    assert [quantity.path for quantity in summary.detail] == names
    for quantity in summary.detail:
        assert f"{quantity.path} {' × '.join(map(str, quantity.shape))}" in page
        assert quantity.formula in page
    assert "query.weight: decoder.blocks.1.self_attention.query.weight, 32 × 16, from byte 4,096" in page
    assert "x: decoder.blocks.1.self_attention_residual.before.output" in page


def test_numbers_are_those_of_the_chosen_head_and_token():
    explained, summary = summed(tokens=range(10), layer=1, head=3, token=4)
    shown = {quantity.path.removeprefix("decoder.blocks.1."): quantity for quantity in summary.detail}

    def recorded(name, *index):
        return tuple(explained.trace[f"decoder.blocks.1.{name}"].value[index].flatten()[:6].tolist())

    assert shown["self_attention.query"].numbers == recorded("self_attention.query", 0, 4, 3)
    assert shown["self_attention.key"].numbers == recorded("self_attention.key", 0, 4, 1)  # two heads share a key
    assert shown["self_attention.keys"].numbers == recorded("self_attention.keys", 0, 3, 4)
    assert shown["self_attention.head_context"].numbers == recorded("self_attention.head_context", 0, 3, 4)
    assert shown["feed_forward.hidden"].numbers == recorded("feed_forward.hidden", 0, 4)
    assert (summary.neurons[0].values["hidden"], summary.neuron_count) == (
        max(explained.trace["decoder.blocks.1.feed_forward.hidden"].value[0, 4].tolist(), key=abs),
        32,
    )


def test_the_first_layer_and_head_and_the_last_token_are_the_default():
    _, summary = summed()
    assert (summary.layer, summary.head, summary.token) == (0, 0, 5)
    assert len(summary.layers) == 2
    assert list(summary.layers[0].adds) == ["self-attention", "feed-forward"]


def test_equal_tokens_stay_apart():
    _, summary = summed(tokens=[3, 3, 3])
    rows = summary.attention["decoder.blocks.0.self_attention"]
    assert [row.place for row in rows] == [0, 1, 2]
    assert len({row.values["scores"] for row in rows}) == 3
    assert [token.place for token in summary.tokens] == [0, 1, 2]


def test_a_long_prompt_shows_a_window_and_says_what_is_left_out():
    spec = replace(DEFAULT, context=256)
    page = printed(spec, tokens=some_tokens(1, 200)[0].tolist(), token=100)
    assert "left out: tokens 0 to 87 and 104 to 199" in page
    assert "which weigh" in page
    assert "← followed below" in page


def test_the_next_token_comes_with_its_runners_up():
    explained, summary = summed()
    probabilities = [candidate.probability for candidate in summary.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert summary.candidates[0].id == explained.choice.item()
    assert len(summary.candidates) == 10


def test_what_may_not_be_seen_is_told_apart():
    real = torch.tensor([[False, False, True, True, True, True, True, True]])
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    _, summary = summed(with_windows(DEFAULT, 3), range(8), positions_of(real), documents, token=6)
    reasons = [row.hidden for row in summary.attention["decoder.blocks.0.self_attention"]]
    window = "beyond the window of 3"
    assert reasons == ["padding", "padding", window, window, None, None, None, "later"]
    _, summary = summed(DEFAULT, range(8), None, documents, token=6)
    reasons = [row.hidden for row in summary.attention["decoder.blocks.0.self_attention"]]
    assert reasons == ["other document"] * 3 + [None] * 4 + ["later"]


@pytest.mark.parametrize("spec", [DEFAULT, with_windows(DEFAULT, 3), ESSENTIAL], ids=["causal", "window", "essential"])
@pytest.mark.parametrize("padding", [0, 2])
def test_the_reasons_are_the_recorded_mask(spec, padding):
    real = torch.arange(8)[None] >= padding
    for token in range(8):
        explained, summary = summed(spec, range(8), positions_of(real), token=token)
        allowed = explained.trace["decoder.blocks.0.self_attention.mask"].value[0, 0, token].tolist()
        rows = summary.attention["decoder.blocks.0.self_attention"]
        assert [row.hidden is None for row in rows] == allowed


def test_padding_is_named_on_the_page():
    model, stream = build(DEFAULT), io.StringIO()
    explained = explain(model, torch.arange(6)[None], positions_of(torch.tensor([[False] * 2 + [True] * 4])))
    print_summary(summarise(explained, Words(), token=4), Console(file=stream, width=80))
    page = stream.getvalue()
    assert page.count("padding  ") >= 4 and "later" in page


def test_layers_may_differ_in_heads():
    first, second = DEFAULT.decoder.blocks
    fewer = replace(second, attention=replace(second.attention, heads=2))
    spec = replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(first, fewer)))
    assert "no such head" in printed(spec, layer=0, head=3)
    with pytest.raises(OpenbookError, match="--head 3: there are 2 here, numbered 0 to 1"):
        printed(spec, layer=1, head=3)


# Encoder-decoders.


def translated(spec=ORIGINAL, source=range(1, 9), target=range(5), **choices):
    """The page of a source and a target so far."""
    return printed(spec, target, source=list(source), **choices)


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("spec", ENCODER_DECODERS.values(), ids=ENCODER_DECODERS)
def test_a_translation_prints_within_80_columns(spec, encoder):
    page = translated(spec, encoder=encoder)
    assert max(cell_len(line.rstrip()) for line in page.splitlines()) <= 80
    assert "The source ─" in page
    stack = "encoder" if encoder else "decoder"
    for title in (f"All layers of the {stack}", f"Layer 0 of the {stack}, step by step"):
        assert f"{title} ─" in page
    for title in ("The target so far", "The next token"):
        assert (f"{title} ─" in page) != encoder
    assert ("cross_attention" in page) != encoder


def test_cross_attention_shows_the_source_as_the_chosen_step_and_head_see_it():
    model = build(ORIGINAL)
    explained = explain(model, list(range(5)), source=list(range(1, 9)))
    summary = summarise(explained, Words(), layer=1, head=3, token=2)
    path = "decoder.blocks.1.cross_attention"
    rows = summary.attention[path]
    assert [row.values["weights"] for row in rows] == explained.trace[f"{path}.weights"].value[0, 3, 2].tolist()
    assert [row.hidden for row in rows] == [None] * 8
    assert [token.id for token in summary.seen_by(path)] == list(range(1, 9))
    most = max(rows, key=lambda row: row.values["weights"])
    assert summary.layers[1].looks_at["cross-attention"].place == most.place
    assert list(summary.layers[0].adds) == ["self-attention", "cross-attention", "feed-forward"]
    key = next(quantity for quantity in summary.detail if quantity.path == f"{path}.key")
    assert key.numbers == tuple(explained.trace[f"{path}.key"].value[0, most.place, 3].tolist())


def test_the_encoder_follows_a_token_of_the_source():
    explained = explain(build(RELATIVE), list(range(5)), source=list(range(1, 9)))
    summary = summarise(explained, Words(), encoder=True, layer=1, head=2, token=6)
    assert [token.id for token in summary.tokens] == list(range(1, 9))
    rows = summary.attention["encoder.blocks.1.self_attention"]
    assert [row.hidden for row in rows] == [None] * 8
    assert "biased_scores" in rows[0].values
    assert {quantity.path.partition(".")[0] for quantity in summary.before} == {"source_embedding", "encoder"}
    assert [quantity.path for quantity in summary.after] == [
        "encoder.final_norm.mean_square",
        "encoder.final_norm.output",
    ]
    assert not summary.candidates


def test_reasons_in_an_encoder_and_across_are_the_recorded_masks():
    real = torch.tensor([[True] * 5 + [False] * 2])
    (block, _) = ORIGINAL.encoder.blocks
    near = replace(block, attention=replace(block.attention, window=3))
    model = build(replace(ORIGINAL, encoder=replace(ORIGINAL.encoder, blocks=(near,))))
    explained = explain(model, torch.arange(4)[None], source=torch.arange(7)[None], source_positions=positions_of(real))
    for path, rows in (("encoder.blocks.0.self_attention", 7), ("decoder.blocks.1.cross_attention", 4)):
        for token in range(rows):
            seen = [row.hidden is None for row in attention_rows(explained, path, 0, token)]
            assert seen == explained.trace[f"{path}.mask"].value[0, 0, token].tolist()


def test_each_kind_is_refused_what_the_other_takes():
    with pytest.raises(OpenbookError, match="explaining a prompt alone takes a decoder-only model"):
        printed(ORIGINAL, range(5))
    with pytest.raises(OpenbookError, match="takes an encoder-decoder, and this model is decoder-only"):
        printed(DEFAULT, range(5), source=[1, 2])
    with pytest.raises(OpenbookError, match="--encoder: this model is decoder-only"):
        printed(DEFAULT, range(5), encoder=True)
    with pytest.raises(OpenbookError, match="the source has no tokens"):
        translated(source=[])


# One number.


def test_one_number_prints_formula_operands_terms_and_error():
    page = printed(number="decoder.blocks.1.self_attention.scores[0, 3, 4, 2]")
    assert "scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]" in page
    assert "for b = 0, h = 3, t = 4, s = 2" in page
    assert "recorded: decoder.blocks.1.self_attention.rotated_query[0,4,3,0–7]" in page
    assert " Σ_k " in page and "error " in page
    assert max(map(len, page.splitlines())) <= 80


def test_a_long_sum_shows_its_largest_terms():
    assert "The 16 largest of 23; the sum is over all:" in printed(number="probabilities[0,5]")


@pytest.mark.parametrize("path", ["tokens", "choice", "decoder.final_norm.output", "decoder.position.angle"])
def test_any_number_prints(path):
    explained = explain(build(DEFAULT), list(range(10)))
    index = ",".join("0" for _ in explained.trace[path].value.shape)
    assert path in printed(number=f"{path}[{index}]")


def test_a_weight_says_its_byte():
    places = {"token_embedding.weight": TensorOffset(1000, 4, (VOCABULARY, 16))}
    page = printed(number="token_embedding.output[0,2,3]", places=places)
    assert "weight: token_embedding.weight[2,3], byte 1,140" in page


# What is refused.


@pytest.mark.parametrize(
    ("choice", "range_named"),
    [
        ({"layer": 2}, "--layer 2: there are 2 here, numbered 0 to 1"),
        ({"layer": -1}, "--layer -1: there are 2 here"),
        ({"head": 4}, "--head 4: there are 4 here, numbered 0 to 3"),
        ({"token": 10}, "--token 10: there are 10 here, numbered 0 to 9"),
        ({"number": "decoder.embedded[0,0,16]"}, "0–0, 0–9, 0–15"),
        ({"number": "decoder.embeded[0,0,1]"}, "decoder.embedded"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(choice, range_named):
    with pytest.raises(OpenbookError, match=range_named.replace("[", r"\[")):
        printed(**choice)


@pytest.mark.parametrize("text", ["", "decoder.embedded", "decoder.embedded[]", "a[1,]", "a[-1]", "a[1]b", "\x1b[0]"])
def test_a_number_of_another_form_is_refused(text):
    with pytest.raises(OpenbookError, match="give a path and an index") as error:
        parse_number(text)
    assert "\x1b" not in str(error.value)


# Programs.


@pytest.mark.parametrize("spec", [DEFAULT, ESSENTIAL, changed(outer=LAYER_NORM)], ids=["default", "essential", "outer"])
def test_the_summary_is_json(spec):
    data = explain_as_json(build(spec), Words(), range(6), token=2)
    data = json.loads(json.dumps(data, allow_nan=False))
    assert data["tokens"][2] == {"place": 2, "position": 2, "id": 2, "text": '"[bold]"', "template": False}
    assert {"path", "shape", "formula", "numbers", "sources"} <= set(data["detail"][0])
    hidden = data["attention"]["decoder.blocks.0.self_attention"][3]
    assert (hidden["hidden"], hidden["values"]["masked_scores"]) == ("later", 0.0 if spec is ESSENTIAL else None)


def test_a_derivation_is_json():
    number = "decoder.blocks.0.self_attention.weights[0,0,2,1]"
    data = json.loads(json.dumps(explain_as_json(build(DEFAULT), Words(), [1, 2, 3], number=number), allow_nan=False))
    assert data["operands"][0]["numbers"][0]["index"] == [0, 0, 2, 1]
    assert data["error"] < 1e-6


# The logit lens.


def test_what_each_layer_would_say():
    _, summary = summed()
    assert [said.layer for said in summary.said] == [-1, 0, 1]
    last = summary.said[-1]
    assert (last.id, last.rank) == (summary.candidates[0].id, 1)
    assert last.probability == pytest.approx(summary.candidates[0].probability, rel=1e-5)
    assert last.answer == last.probability
    page = printed(tokens=range(6))
    part = page[page.index("What each layer would say") :]
    assert f"The last layer says {short(last.text)}" in " ".join(part.split())
    assert [line.split()[0] for line in part.splitlines() if line.split()[:1] and line.split()[0] in "none01"][:3] == [
        "none", "0", "1",
    ]  # fmt: skip


def test_tokens_that_the_template_wrote_are_marked():
    _, summary = summed(template={0, 1, 5})
    assert [token.place for token in summary.tokens if token.template] == [0, 1, 5]
    page = printed(tokens=range(6), template={0, 1, 5})
    marked = [line for line in page.splitlines() if "of the template" in line]
    assert [line.split()[0] for line in marked] == ["0", "1", "5"]
    assert marked[-1].rstrip().endswith("← followed below")
