"""What `openbook explain` prints."""

import io
from dataclasses import replace

import pytest
import torch
from explained import Words, printed, summed, translated
from rich.cells import cell_len
from rich.console import Console
from traced_examples import ARCHITECTURES

from openbook.errors import OpenbookError
from openbook.explanation.reader import TensorOffset
from openbook.explanation.run import explain
from openbook.explanation.terminal.summary_page import print_summary
from openbook.explanation.token_display import truncate
from openbook.explanation.views.summarize import Selection, summarize
from openbook.transformer.mask import positions_of
from strategies import DEFAULT, ENCODER_DECODERS, ORIGINAL, build, some_tokens


@pytest.mark.parametrize("spec", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_architecture_prints_within_80_columns(spec):
    page = printed(spec)
    assert max(cell_len(line.rstrip()) for line in page.splitlines()) <= 80
    assert "\x1b" not in page and "\u202e" not in page
    for title in ("The prompt", "From tokens to vectors", "All layers", "Layer 0, step by step", "The next token"):
        assert f"{title} ─" in page


def test_every_tensor_of_the_layer_is_there_with_shape_formula_and_weights():
    offsets = {name: TensorOffset(4096, 4, tuple(each.shape)) for name, each in build(DEFAULT).named_parameters()}
    page = " ".join(printed(layer=1, head=3, token=4, offsets=offsets).replace("\N{NO-BREAK SPACE}", " ").split())
    explained, summary = summed(tokens=range(10), layer=1, head=3, token=4)
    names = [path for path in explained.trace if ".blocks.1." in path]
    assert [tensor.path for tensor in summary.detail] == names
    for tensor in summary.detail:
        assert f"{tensor.path} {' × '.join(map(str, tensor.shape))}" in page
        assert tensor.formula in page
    assert "query.weight: decoder.blocks.1.self_attention.query.weight, 32 × 16, from byte 4,096" in page
    assert "x: decoder.blocks.1.self_attention_residual.before.output" in page


def test_a_long_prompt_shows_a_window_and_says_what_is_left_out():
    spec = replace(DEFAULT, context=256)
    page = printed(spec, tokens=some_tokens(1, 200)[0].tolist(), token=100)
    assert "left out: tokens 0 to 87 and 104 to 199" in page
    assert "← followed below" in page


def test_no_token_is_hidden_that_weighs_more_than_one_shown():
    spec, tokens = replace(DEFAULT, context=256), some_tokens(1, 200)[0].tolist()
    _, summary = summed(spec, tokens, token=150)
    weights = {row.index: row.values["weights"] for row in summary.attention["decoder.blocks.0.self_attention"]}
    page = printed(spec, tokens=tokens, token=150)
    _, _, table = page.partition("how token 150 attends to each token s")
    lines = table.splitlines()[2:19]
    shown = [int(line.split()[0]) for line in lines[:16]]
    assert shown == sorted(sorted(weights, key=weights.get)[-16:])
    hidden = [weight for index, weight in weights.items() if index not in shown]
    assert "the 184 lightest of 200 tokens" in lines[16]
    said = " ".join(table.splitlines()[18:20])
    assert f"they weigh {sum(hidden):.4f} together and {max(hidden):.4f} at most" in " ".join(said.split())


def test_the_closing_table_is_of_the_followed_token():
    page = " ".join(printed(tokens=range(10), token=3).split())
    _, summary = summed(tokens=range(10), token=3)
    best = truncate(summary.candidates[0].text)
    assert f"After token 3, {truncate(summary.tokens[3].text)}, the most probable of" in page
    assert f"tokens is {best}. The text goes on with {truncate(summary.tokens[4].text)}." in page


def test_padding_is_named_on_the_page():
    model, stream = build(DEFAULT), io.StringIO()
    explained = explain(model, torch.arange(6)[None], positions_of(torch.tensor([[False] * 2 + [True] * 4])))
    print_summary(summarize(explained, Words(), Selection(token=4)), Console(file=stream, width=80))
    page = stream.getvalue()
    assert page.count("padding  ") >= 4 and "later" in page


def test_layers_may_differ_in_heads():
    first, second = DEFAULT.decoder.blocks
    fewer = replace(second, attention=replace(second.attention, heads=2))
    spec = replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(first, fewer)))
    assert "no such head" in printed(spec, layer=0, head=3)
    with pytest.raises(OpenbookError, match="head 3: there are 2 here, numbered 0 to 1"):
        printed(spec, layer=1, head=3)


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


def test_each_kind_is_refused_what_the_other_takes():
    with pytest.raises(OpenbookError, match="explaining a prompt alone takes a decoder-only model"):
        printed(ORIGINAL, range(5))
    with pytest.raises(OpenbookError, match="takes an encoder-decoder, and this model is decoder-only"):
        printed(DEFAULT, range(5), source=[1, 2])
    with pytest.raises(OpenbookError, match="encoder: this model is decoder-only"):
        printed(DEFAULT, range(5), encoder=True)
    with pytest.raises(OpenbookError, match="the source has no tokens"):
        translated(source=[])


@pytest.mark.parametrize(
    ("choice", "range_named"),
    [
        ({"layer": 2}, "layer 2: there are 2 here, numbered 0 to 1"),
        ({"layer": -1}, "layer -1: there are 2 here"),
        ({"head": 4}, "head 4: there are 4 here, numbered 0 to 3"),
        ({"token": 10}, "token 10: there are 10 here, numbered 0 to 9"),
        ({"number": "decoder.embedded[0,0,16]"}, "0–0, 0–9, 0–15"),
        ({"number": "decoder.embeded[0,0,1]"}, "decoder.embedded"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(choice, range_named):
    with pytest.raises(OpenbookError, match=range_named.replace("[", r"\[")):
        printed(**choice)


def test_what_each_layer_predicts():
    _, summary = summed()
    assert [prediction.layer for prediction in summary.layer_predictions] == [-1, 0, 1]
    last = summary.layer_predictions[-1]
    assert (last.token_id, last.answer_rank) == (summary.candidates[0].id, 1)
    assert last.probability == pytest.approx(summary.candidates[0].probability, rel=1e-5)
    assert last.answer_probability == last.probability
    page = printed(tokens=range(6))
    part = page[page.index("What each layer predicts") :]
    assert f"The last layer predicts {truncate(last.text)}" in " ".join(part.split())
    assert [line.split()[0] for line in part.splitlines() if line.split()[:1] and line.split()[0] in "none01"][:3] == [
        "none", "0", "1",
    ]  # fmt: skip


def test_tokens_that_the_template_wrote_are_marked():
    _, summary = summed(template={0, 1, 5})
    assert [token.index for token in summary.tokens if token.template] == [0, 1, 5]
    page = printed(tokens=range(6), template={0, 1, 5})
    marked = [line for line in page.splitlines() if "of the template" in line]
    assert [line.split()[0] for line in marked] == ["0", "1", "5"]
    assert marked[-1].rstrip().endswith("← followed below")
