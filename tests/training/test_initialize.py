"""A new model begins without an opinion."""

from dataclasses import replace

import torch

from openbook.training.initialize import initialize
from strategies import DEFAULT, build


def test_first_weights_have_no_opinion():
    model = build(replace(DEFAULT, tied_embeddings=False))
    initialize(model, seed=3)
    logits = model(torch.randint(DEFAULT.vocab_size, (2, 5)))
    assert logits.abs().max() == 0
