"""Attention by hand on two tokens, and against torch's own."""

from math import exp, tanh

import pytest
import torch
from torch import nn

from openbook.trace import trace
from openbook.transformer import architecture
from openbook.transformer.attention import Attention
from openbook.transformer.mask import Mask, TokenPositions, make_mask

EVERYTHING = Mask(None)
CAUSAL = Mask(torch.ones(2, 2, dtype=torch.bool).tril()[None], is_causal=True)


def run(part, x, mask=EVERYTHING):
    return part(x, x, mask)


def simple(**options):
    """One head of width 2 whose query, key, value and output matrices are the identity."""
    spec = architecture.Attention(heads=1, key_value_heads=1, head_width=2, **options)
    part = Attention(2, spec)
    for linear in (part.query, part.key, part.value, part.output):
        linear.weight.data = torch.eye(2)
    return part


# Two tokens, x₀ = (1, 0) and x₁ = (2, 1): x₁ · x₀ = 2 and x₁ · x₁ = 5, x₀ · x₀ = 1 and x₀ · x₁ = 2.
TWO = torch.tensor([[[1.0, 0.0], [2.0, 1.0]]])


def blend(first, second):
    """The values x₀ and x₁ with these weights."""
    return torch.tensor([first * 1.0 + second * 2.0, second * 1.0])


@pytest.mark.parametrize("traced", [False, True])
def test_two_tokens_by_hand(traced):
    part = simple(scale=1.0)
    if traced:
        with trace(part) as recorded:
            y = run(part, TWO)
        assert recorded["scores"].value.flatten().tolist() == [1, 2, 2, 5]
    else:
        y = run(part, TWO)
    low, high = 1 / (1 + exp(1)), 1 / (1 + exp(3))  # softmax(1, 2) and softmax(2, 5), their smaller share
    torch.testing.assert_close(y[0, 0], blend(low, 1 - low))
    torch.testing.assert_close(y[0, 1], blend(high, 1 - high))


def test_the_scale_is_one_over_the_root_of_the_head_width():
    y = run(simple(), TWO)
    share = 1 / (1 + exp(3 / 2**0.5))
    torch.testing.assert_close(y[0, 1], blend(share, 1 - share))


@pytest.mark.parametrize("attention_function", ["softmax", "none"])
def test_the_first_token_sees_itself_alone(attention_function):
    y = run(simple(scale=1.0, attention_function=attention_function), TWO, CAUSAL)
    torch.testing.assert_close(y[0, 0], TWO[0, 0])  # its weight is 1 either way: softmax of one score, or x₀ · x₀


def test_no_softmax_by_hand():
    y = run(simple(scale=1.0, attention_function="none"), TWO)
    torch.testing.assert_close(y[0, 1], blend(2.0, 5.0))  # the scores are the weights


def test_score_cap_by_hand():
    y = run(simple(scale=1.0, attention_softcap=3.0), TWO)
    share = 1 / (1 + exp(3 * tanh(5 / 3) - 3 * tanh(2 / 3)))
    torch.testing.assert_close(y[0, 1], blend(share, 1 - share))


def test_grouped_heads_share_keys_and_values_in_order():
    # Heads 0 and 1 read key/value head 0, heads 2 and 3 read head 1: each value head passes one coordinate.
    spec = architecture.Attention(heads=4, key_value_heads=2, head_width=1)
    part = Attention(2, spec)
    part.value.weight.data = torch.eye(2)
    part.output.weight.data = torch.tensor([[1.0, 10.0, 0, 0], [0, 0, 100.0, 1000.0]])
    y = run(part, torch.tensor([[[3.0, 7.0]]]))  # one token: every weight is 1
    torch.testing.assert_close(y, torch.tensor([[[33.0, 7700.0]]]))


@pytest.mark.parametrize("traced", [False, True])
def test_grouped_heads_are_full_heads_with_repeated_weights(traced):
    grouped = Attention(8, architecture.Attention(heads=4, key_value_heads=2, head_width=2))
    full = Attention(8, architecture.Attention(heads=4, key_value_heads=4, head_width=2))
    full.load_state_dict(
        {
            "query.weight": grouped.query.weight,
            "key.weight": grouped.key.weight.view(2, 2, 8).repeat_interleave(2, 0).flatten(0, 1),
            "value.weight": grouped.value.weight.view(2, 2, 8).repeat_interleave(2, 0).flatten(0, 1),
            "output.weight": grouped.output.weight,
        }
    )
    x = torch.randn(2, 5, 8)
    if traced:
        with trace(grouped):
            y = run(grouped, x)
    else:
        y = run(grouped, x)
    torch.testing.assert_close(y, run(full, x), atol=1e-6, rtol=0)


def test_query_key_norm_makes_scores_free_of_length():
    part = simple(scale=1.0, query_key_norm=architecture.Norm(epsilon=1e-12))
    with trace(part) as one:
        run(part, TWO)
    with trace(part) as other:
        run(part, 10 * TWO)
    torch.testing.assert_close(one["scores"].value, other["scores"].value)
    # x₁ = (2, 1) has mean square 2.5: its score with itself is 5 / 2.5
    torch.testing.assert_close(one["scores"].value[0, 0, 1, 1], torch.tensor(2.0))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_against_torch(heads, causal):
    reference = nn.MultiheadAttention(8, heads, batch_first=True)
    nn.init.normal_(reference.in_proj_bias)
    nn.init.normal_(reference.out_proj.bias)
    spec = architecture.Attention(
        heads=heads, key_value_heads=heads, head_width=8 // heads, bias=True, output_bias=True
    )
    part = Attention(8, spec)
    for linear, weight, bias in zip(
        (part.query, part.key, part.value),
        reference.in_proj_weight.chunk(3),
        reference.in_proj_bias.chunk(3),
        strict=True,
    ):
        linear.weight.data, linear.bias.data = weight, bias
    part.output.load_state_dict(reference.out_proj.state_dict())
    x = torch.randn(3, 6, 8)
    allowed = torch.ones(6, 6, dtype=torch.bool).tril() if causal else torch.ones(6, 6, dtype=torch.bool)
    expected, _ = reference(x, x, x, attn_mask=~allowed, need_weights=False)
    y = run(part, x, Mask(allowed[None], is_causal=causal))
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)


def test_learning_in_bfloat16_by_plain_steps_gives_what_the_fused_kernel_gives(monkeypatch):
    spec = architecture.Attention(heads=4, key_value_heads=2, head_width=16)
    part = Attention(32, spec).bfloat16()
    x = torch.randn(2, 24, 32, dtype=torch.bfloat16)
    mask = make_mask(TokenPositions(torch.arange(24)[None]), TokenPositions(torch.arange(24)[None]))
    results = []
    for plain in (True, False):
        monkeypatch.setattr("openbook.transformer.fused._formula_is_faster", lambda query, key, plain=plain: plain)
        results.append(part(x, x, mask).float())
    torch.testing.assert_close(*results, rtol=0.05, atol=0.02)
