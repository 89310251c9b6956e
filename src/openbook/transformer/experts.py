"""A mixture of experts: many feed-forward parts, of which each token passes through the few that a router picks."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture
from openbook.transformer.activation import ACTIVATIONS, limited


class ExpertLinear(nn.Module):
    """One linear layer for each expert, all in one tensor: weight (E, out, in), bias (E, out)."""

    def __init__(self, experts: int, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs)) if bias else None

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """x (n, in) in the order of their experts, `counts[e]` of them for expert e → (n, out)."""
        weights = self.weight.unbind()
        biases = len(weights) * (None,) if self.bias is None else self.bias.unbind()
        each = zip(torch.split(x, list(counts)), weights, biases, strict=True)
        return torch.cat([F.linear(part, weight, bias) for part, weight, bias in each if len(part)])


class _Balanced(torch.autograd.Function):
    """Leaves probabilities as they are, and adds to their gradient that of strength · E · Σ_e load_e · sum_e.

    load_e is the gate_weight of choices that fell on expert e and sum_e the sum of its probabilities over all tokens (Fedus
    et al. 2021, eq. 4): the gradient pulls down experts that are busy, so that none stays idle.
    """

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, counts: Tensor, strength: float) -> Tensor:
        ctx.pull = strength * len(counts) * counts / counts.sum()
        return probabilities.view_as(probabilities)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] + ctx.pull.to(gradients[0].dtype), None, None


class MixtureOfExperts(nn.Module):
    """Σ_j share_j · expert_j(x) over the experts j that the router picks for x   (Shazeer et al. 2017, eq. 1).

    `balance` is how strongly learning spreads the tokens over the experts: the weight of `_Balanced` for each token.
    """

    def __init__(self, width: int, spec: architecture.FeedForward, experts: architecture.Experts) -> None:
        super().__init__()
        self.limit, self.up_offset = spec.limit, spec.up_offset
        self.experts, self.balance = experts, 0.0
        self.activation = ACTIVATIONS[spec.activation]
        self.router = nn.Linear(width, experts.count, bias=experts.router_bias)
        self.up = ExpertLinear(experts.count, width, spec.width, spec.bias)
        self.gate = ExpertLinear(experts.count, width, spec.width, spec.bias) if spec.gated else None
        self.down = ExpertLinear(experts.count, spec.width, width, spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        gate_weight, chosen = self._route(x)
        # Each choice becomes a row; the rows of one expert stand together, so that it multiplies them at once.
        order = chosen.flatten().argsort(stable=True)
        back = order.argsort()
        counts = chosen.flatten().bincount(minlength=self.experts.count).tolist()
        rows = x.flatten(0, -2)[order // self.experts.experts_per_token]

        def in_place(value: Tensor) -> Tensor:
            """Rows (B · T · chosen, …) in the order of the tokens and their choices, (B, T, chosen, …)."""
            return value[back].view(*chosen.shape, value.shape[-1])

        up = self.up(rows, counts)
        if tracing():
            note("up", in_place(up))
        if self.gate is None:
            hidden = self.activation(up)
        else:
            gate = self.gate(rows, counts)
            limited_gate, limited_up = limited(gate, up, self.limit, self.up_offset)
            opened = self.activation(limited_gate)
            if tracing():
                note("gate", in_place(gate))
                note("activation", in_place(opened))
            hidden = opened * limited_up
        if tracing():
            note("hidden", in_place(hidden))
        expert_output = note("expert_output", in_place(self.down(hidden, counts)))
        return note("output", (gate_weight[..., None].to(x.dtype) * expert_output).sum(-2))

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D) → each token's chosen experts, the most probable first, and their shares; (B, T, chosen) both."""
        scores = note("router_scores", self.router(x))
        wide = torch.promote_types(scores.dtype, torch.float32)
        probabilities = note("router_probabilities", scores.softmax(-1, dtype=wide))
        chosen = note("chosen", probabilities.topk(self.experts.experts_per_token, dim=-1).indices)
        if self.balance and torch.is_grad_enabled():
            counts = chosen.flatten().bincount(minlength=self.experts.count)
            probabilities = _Balanced.apply(probabilities, counts, self.balance)  # type: ignore[no-untyped-call]
        gate_weight = probabilities.gather(-1, chosen)
        if self.experts.normalize_weights:
            gate_weight = gate_weight / gate_weight.sum(-1, keepdim=True)
        return note("gate_weight", gate_weight), chosen
