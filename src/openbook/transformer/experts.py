"""A mixture of experts: many feed-forward parts, of which a router picks a few for each token."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.activation import ACTIVATIONS, gated
from openbook.transformer.fused import at_least_float32


class ExpertLinear(nn.Module):
    """One linear layer for each expert, all in one tensor: weight (E, out, in), bias (E, out)."""

    def __init__(self, experts: int, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs)) if bias else None

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows x (n, in) sorted by expert, `counts[e]` of them for expert e → (n, out)."""
        weights = self.weight.unbind()
        biases = len(weights) * (None,) if self.bias is None else self.bias.unbind()
        each = zip(torch.split(x, list(counts)), weights, biases, strict=True)
        return torch.cat([F.linear(part, weight, bias) for part, weight, bias in each if len(part)])


class MixtureOfExperts(nn.Module):
    """Σ_j gate_weight_j · expert_j(x) over the experts j that the router picks for x   (Shazeer et al. 2017, eq. 1).

    `balance` is the weight, for each token, of the load-balancing loss that training adds (see `_balance`).
    """

    def __init__(self, width: int, spec: architecture.FeedForward, experts: architecture.Experts) -> None:
        super().__init__()
        self.spec, self.experts, self.balance = spec, experts, 0.0
        self.router = nn.Linear(width, experts.count, bias=experts.router_bias)
        self.up = ExpertLinear(experts.count, width, spec.width, spec.bias)
        self.gate = ExpertLinear(experts.count, width, spec.width, spec.bias) if spec.gated else None
        self.down = ExpertLinear(experts.count, spec.width, width, spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        gate_weight, chosen = self._route(x)
        # Each choice is a row. The rows of one expert lie together, so that one product serves them all.
        order = chosen.flatten().argsort(stable=True)
        back = order.argsort()
        counts = chosen.flatten().bincount(minlength=self.experts.count).tolist()
        rows = x.flatten(0, -2)[order // self.experts.experts_per_token]

        def by_token(value: Tensor) -> Tensor:
            """Sorted rows (B · T · chosen, …) → (B, T, chosen, …)."""
            return value[back].view(*chosen.shape, value.shape[-1])

        up = note("up", self.up(rows, counts), by_token)
        if self.gate is None:
            hidden = ACTIVATIONS[self.spec.activation](up)
        else:
            gate = note("gate", self.gate(rows, counts), by_token)
            hidden = gated(gate, up, self.spec, by_token)
        hidden = note("hidden", hidden, by_token)
        expert_output = note("expert_output", by_token(self.down(hidden, counts)))
        return note("output", (gate_weight[..., None].to(x.dtype) * expert_output).sum(-2))

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D) → gate weights and numbers of each token's experts, most probable first; both (B, T, chosen)."""
        scores = note("router_scores", self.router(x))
        probabilities = note("router_probabilities", at_least_float32(scores).softmax(-1))
        chosen = note("chosen", probabilities.topk(self.experts.experts_per_token, dim=-1).indices)
        if self.balance and probabilities.requires_grad:
            _balance(probabilities, chosen, self.balance)
        gate_weight = probabilities.gather(-1, chosen)
        if self.experts.normalize_weights:
            gate_weight = gate_weight / gate_weight.sum(-1, keepdim=True)
        return note("gate_weight", gate_weight), chosen


def _balance(probabilities: Tensor, chosen: Tensor, strength: float) -> None:
    """Add to the gradient of `probabilities` (B, T, E) that of the loss strength · E · Σ_e load_e · sum_e.

    load_e is the share of choices that fell on expert e, and sum_e the sum of its probabilities over all tokens
    (Fedus et al. 2021, eq. 4): busy experts become less probable, so that none stays idle.
    """
    experts = probabilities.shape[-1]
    counts = chosen.flatten().bincount(minlength=experts)
    pull = strength * experts * counts / counts.sum()
    probabilities.register_hook(lambda gradient: gradient + pull.to(gradient.dtype))  # type: ignore[no-untyped-call]
