"""A mixture of experts: against one token at a time, what learning does to it, and that it learns."""

from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import openbook
from openbook.model_file.file import load
from openbook.training.initialize import initialize, set_load_balancing
from openbook.training.lora import add_lora, merge_lora
from openbook.training.optimizer import Muon
from openbook.transformer.activation import ACTIVATIONS
from openbook.transformer.architecture import Experts, FeedForward
from openbook.transformer.experts import ExpertLinear, MixtureOfExperts
from openbook.transformer.feed_forward import make_feed_forward
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, build, difference, randomise, some_tokens
from training.training_examples import TINY, write_book


def mixed(count, chosen):
    block = DEFAULT.decoder.blocks[0]
    part = replace(block.feed_forward, experts=Experts(count=count, experts_per_token=chosen))
    return replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=2 * (replace(block, feed_forward=part),)))


def naive(part, spec, x):
    """One token after the other, each through its experts one by one."""
    activation, output = ACTIVATIONS[spec.activation], torch.zeros_like(x)
    for place in torch.cartesian_prod(*map(torch.arange, x.shape[:-1])).tolist():
        token = x[tuple(place)]
        chances = (part.router(token)).softmax(-1)
        best = chances.argsort(descending=True)[: spec.experts.experts_per_token].tolist()
        shares = chances[best] / chances[best].sum() if spec.experts.normalize_weights else chances[best]
        for expert, share in zip(best, shares, strict=True):

            def layer(name, value, expert=expert):
                linear = part.get_submodule(name)
                return linear.weight[expert] @ value + (0 if linear.bias is None else linear.bias[expert])

            if spec.gated:
                limit = spec.limit or torch.inf
                gate, up = layer("gate", token).clamp(max=limit), layer("up", token).clamp(-limit, limit)
                hidden = activation(gate) * (up + spec.up_offset)
            else:
                hidden = activation(layer("up", token))
            output[tuple(place)] += share * layer("down", hidden)
    return output


@torch.no_grad()
@given(st.data())
def test_each_token_goes_through_its_experts(data):
    gated, count = data.draw(st.booleans()), data.draw(st.integers(1, 5))
    spec = FeedForward(
        width=6,
        gated=gated,
        bias=data.draw(st.booleans()),
        limit=data.draw(st.sampled_from([None, 0.3])) if gated else None,
        up_offset=1.0 if gated and data.draw(st.booleans()) else 0.0,
        activation=data.draw(st.sampled_from(["silu", "gelu_sigmoid"])),
        experts=Experts(
            count=count,
            experts_per_token=data.draw(st.integers(1, count)),
            normalize_weights=data.draw(st.booleans()),
            router_bias=data.draw(st.booleans()),
        ),
    )
    part = make_feed_forward(4, spec)
    randomise(part)
    x = torch.randn(2, 5, 4)
    assert difference(part.double()(x.double()), naive(part, spec, x.double())) < 1e-12


def test_busy_experts_are_pulled_down_as_the_paper_says():
    """The gradient is that of strength · E · Σ load · sum of probabilities, load counted as a constant."""
    spec = FeedForward(width=6, experts=Experts(count=4, experts_per_token=2))
    part = make_feed_forward(4, spec)
    randomise(part)
    x = torch.randn(1, 9, 4)
    part.balance = 0.3
    part(x).sum().backward()
    found = part.router.weight.grad.clone()
    part.router.weight.grad, part.balance = None, 0.0
    probabilities = part.router(x).softmax(-1)
    load = F.one_hot(probabilities.topk(2).indices, 4).flatten(0, -2).float().mean(0)
    (part(x).sum() + 0.3 * 4 * (load * probabilities.sum((0, 1))).sum()).backward()
    assert difference(found, part.router.weight.grad) < 1e-5


def loads(model, tokens):
    """For each block the share of choices that falls on each expert."""
    shares = []
    parts = [module for module in model.modules() if isinstance(module, MixtureOfExperts)]
    hooks = [
        part.router.register_forward_hook(lambda part, given, scores: shares.append(scores.topk(2).indices))
        for part in parts
    ]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return [F.one_hot(each, 8).flatten(0, -2).float().mean(0) for each in shares]


def test_at_first_all_experts_have_work():
    model = Transformer(mixed(8, 2))
    initialize(model, seed=4)
    for share in loads(model, some_tokens(16, 24)):
        assert share.min() > 0.02 and share.max() < 0.35
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def imbalance_after_learning(strength):
    """E · Σ load² of each block after learning that begins with all tokens at two of eight experts: 4; at best 1."""
    torch.manual_seed(0)
    model, tokens = build(mixed(8, 2)), some_tokens(8, 24)
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.router.weight.data *= 0.1
            module.router.weight.data[:2] += 0.5  # vectors have a mean that this rewards
    model.token_embedding.weight.data += 1.0
    set_load_balancing(model, strength / tokens.numel())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(150):
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [8 * float(share.square().sum()) for share in loads(model, tokens)]


def test_learning_wakes_idle_experts():
    assert max(imbalance_after_learning(0.1)) < 2.8 < 3.5 < min(imbalance_after_learning(0.0))


def test_muon_takes_each_expert_as_a_matrix():
    stack = torch.nn.Parameter(torch.randn(3, 4, 6))
    each = [torch.nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    gradient = torch.randn(3, 4, 6)
    stack.grad = gradient.clone()
    for matrix, own in zip(each, gradient, strict=True):
        matrix.grad = own.clone()
    options = (0.1, 0.9, 0.01, torch.float32)
    Muon({"stack": stack}, *options).step(1.0)
    Muon({str(number): matrix for number, matrix in enumerate(each)}, *options).step(1.0)
    assert difference(stack.detach(), torch.stack([matrix.detach() for matrix in each])) < 1e-6


def test_low_rank_changes_of_experts():
    model, tokens = build(mixed(4, 2)), some_tokens(2, 8)
    before = model(tokens)
    add_lora(model, 2, ["up"], seed=1)
    assert torch.equal(model(tokens), before)
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    changed = model(tokens)
    merge_lora(model)
    assert difference(model(tokens), changed) < 1e-5 < difference(changed, before)
    assert any(isinstance(module, ExpertLinear) for module in model.modules())


def test_a_model_with_experts_is_trained_by_the_command(tmp_path):
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        choices = TINY | {"vocab_size": 300, "steps": 30, "experts": 4, "experts_per_token": 2, "validations": 2}
        model = openbook.train(write_book(tmp_path / "b.txt"), tmp_path / "m.openbook", device="cpu", **choices)
    losses = [
        each["bits_per_byte"] for each in load(tmp_path / "m.openbook")[0].training["losses"] if "bits_per_byte" in each
    ]
    assert losses[-1] < losses[0]
    experts = model.metadata.architecture.decoder.blocks[0].feed_forward.experts
    assert experts == Experts(count=4, experts_per_token=2)
    assert model.ask("It", max_tokens=5, temperature=0) is not None
