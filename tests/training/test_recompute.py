"""Working blocks out again for the gradient: the same learning, with less kept."""

import pytest
import torch
from training_examples import recipe

from openbook.training.plan.memory import bytes_to_train, spare_memory
from openbook.training.recipe import build_architecture
from openbook.transformer.block import Stack
from openbook.transformer.make import make_transformer
from strategies import DEFAULT, ORIGINAL, randomise, some_source, some_tokens


def learned(spec, recompute):
    """The gradients of a pass with dropout, and the bytes that it kept for them."""
    torch.manual_seed(0)
    model = make_transformer(spec, dropout=0.3)
    randomise(model)
    for part in model.modules():
        if isinstance(part, Stack):
            part.recompute = recompute
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    given = (some_tokens(2, 9),) if spec.encoder is None else (some_source(2, 7), some_tokens(2, 9))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(*given).square().sum()
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder-only", "encoder-decoder"])
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(spec):
    plain, much = learned(spec, recompute=False)
    again, little = learned(spec, recompute=True)
    assert plain.keys() == again.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name
    assert little < much / 2


def test_memory_is_spared_only_where_it_is_short_and_only_by_what_is_free(monkeypatch):
    wanted = recipe(layers=4, rows_at_once=4, batch_tokens=64)
    spec = build_architecture(wanted)
    whole, again = bytes_to_train(spec, wanted), bytes_to_train(spec, recipe(layers=4, rows_at_once=4, recompute=True))
    least = bytes_to_train(spec, recipe(layers=4, rows_at_once=1, recompute=True))
    assert least < again < whole

    def spared(memory, *given):
        monkeypatch.setattr("openbook.training.plan.memory.memory_here", lambda: memory)
        chosen = spare_memory(spec, wanted, given)
        return chosen.recompute, chosen.rows_at_once

    assert spared(whole) == (False, 4)
    assert spared(whole - 1) == (True, 4)
    assert spared(again - 1)[0]
    assert spared(again - 1)[1] < 4
    assert spared(0) == (True, 1)
    assert spared(0, "recompute", "rows_at_once") == (False, 4)
