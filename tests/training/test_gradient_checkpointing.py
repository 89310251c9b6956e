"""Gradient checkpointing: the same gradients from fewer stored activations, chosen only where memory is short."""

import pytest
import torch
from training_examples import recipe

from openbook.training.plan.memory import save_memory, training_bytes
from openbook.training.recipe import build_architecture
from openbook.transformer.block import Stack
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, ORIGINAL, randomise, some_source, some_tokens


def gradients_and_bytes(spec, gradient_checkpointing):
    """The gradients of a pass with dropout, and the bytes that it kept for them."""
    torch.manual_seed(0)
    model = Transformer(spec, dropout=0.3)
    randomise(model)
    for part in model.modules():
        if isinstance(part, Stack):
            part.gradient_checkpointing = gradient_checkpointing
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    source = some_source(2, 7) if spec.is_encoder_decoder else None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(some_tokens(2, 9), source=source).square().sum()
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder-only", "encoder-decoder"])
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(spec):
    plain, much = gradients_and_bytes(spec, gradient_checkpointing=False)
    again, little = gradients_and_bytes(spec, gradient_checkpointing=True)
    assert plain.keys() == again.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name
    assert little < much / 2


def test_memory_is_spared_only_where_it_is_short_and_only_by_what_is_free(monkeypatch):
    wanted = recipe(layers=4, micro_batch_size=4, batch_tokens=64)
    spec = build_architecture(wanted)
    whole, again = (
        training_bytes(spec, wanted),
        training_bytes(spec, recipe(layers=4, micro_batch_size=4, gradient_checkpointing=True)),
    )
    least = training_bytes(spec, recipe(layers=4, micro_batch_size=1, gradient_checkpointing=True))
    assert least < again < whole

    def spared(memory, *given):
        monkeypatch.setattr("openbook.training.plan.memory.machine_memory", lambda: memory)
        chosen = save_memory(spec, wanted, given)
        return chosen.gradient_checkpointing, chosen.micro_batch_size

    assert spared(whole) == (False, 4)
    assert spared(whole - 1) == (True, 4)
    assert spared(again - 1)[0]
    assert spared(again - 1)[1] < 4
    assert spared(0) == (True, 1)
    assert spared(0, "gradient_checkpointing", "micro_batch_size") == (False, 4)
