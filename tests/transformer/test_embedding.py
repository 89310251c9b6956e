"""From ids to vectors and from vectors to logits, by hand."""

from dataclasses import replace
from math import tanh

import pytest
import torch

from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Stack
from openbook.transformer.embedding import LMHead, TokenEmbedding

BLOCK = Block(attention=Attention(heads=1, key_value_heads=1, head_width=2), feed_forward=FeedForward(width=2))
SPEC = Architecture(vocab_size=3, width=2, context=4, decoder=Stack(blocks=(BLOCK,)), tied_embeddings=True)
TABLE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
X = torch.tensor([[[5.0, 1.0]]])  # with the rows of the table: 5, 2 and 19


def logits(**options):
    return LMHead(replace(SPEC, **options))(X, TABLE)[0, 0].tolist()


def test_a_token_is_its_row():
    part = TokenEmbedding(replace(SPEC, embedding_scale=10.0))
    part.weight.data = TABLE
    assert part(torch.tensor([[2, 0]])).tolist() == [[[30, 40], [10, 0]]]


def test_tied_logits_are_products_with_the_embedding():
    assert logits() == [5, 2, 19]


def test_untied_logits_have_a_matrix_of_their_own():
    part = LMHead(replace(SPEC, tied_embeddings=False))
    part.weight.data = TABLE.flip(0)
    assert part(X, TABLE).tolist() == [[[19, 2, 5]]]


def test_scale_then_bias_then_cap():
    part = LMHead(replace(SPEC, logit_scale=0.5, logit_bias=True, logit_softcap=4.0))
    part.bias.data = torch.tensor([1.0, -1.0, 0.0])
    # 5 · 0.5 + 1 = 3.5, 2 · 0.5 − 1 = 0, 19 · 0.5 = 9.5
    expected = [4 * tanh(3.5 / 4), 0, 4 * tanh(9.5 / 4)]
    assert part(X, TABLE)[0, 0].tolist() == pytest.approx(expected)
