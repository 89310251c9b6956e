"""Optimizers: Muon for the matrices of the blocks, AdamW for the rest; the schedule; the average of weights.

AdamW is PyTorch's kernel, Muon is written out, and tests hold both to `torch.optim`: importing that takes one and a
half seconds, a tenth of the shortest run.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from openbook.training.recipe import Recipe

NEWTON_SCHULZ_STEPS = 3
"""Jordan et al. take five, which cost half a small model's update; three learn the same to 0.002 bits a byte."""

NUMBERS_AT_ONCE = 1 << 20
"""How much Newton–Schulz steps work on at a time: matrices that stay in the processor's cache."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,
    weight ← weight · (1 − rate·decay) − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + 10⁻¹⁰)

    Args:
        parameters: what to update, by name.
        rate: the full rate.
        betas: β₁ and β₂.
        decay: weight decay.
        by_size: whether the rate is a share of each tensor's root mean square as it is now, 1 at most (as in Shazeer &
            Stern 2018, section 8): numbers that were trained to be small are not overrun.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        rate: float,
        betas: tuple[float, float],
        decay: float,
        by_size: bool = False,
    ) -> None:
        self.parameters, self.rate, self.betas, self.decay = dict(parameters), rate, betas, decay
        self.size = {name: _size(parameter) if by_size else 1.0 for name, parameter in parameters.items()}
        self.state = {
            f"{name}.{key}": torch.zeros_like(parameter, requires_grad=False)
            for key in ("mean", "square")
            for name, parameter in parameters.items()
        }
        self.steps = 0

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One update at this share of the full rate."""
        self.steps += 1
        same_size: dict[float, list[str]] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                same_size.setdefault(self.size[name], []).append(name)
        for size, names in same_size.items():
            weights = [self.parameters[name].detach() for name in names]
            steps = torch.tensor(float(self.steps), device=weights[0].device)
            # One kernel for all of the formula: a fifth of the time of one operation after the other.
            torch._fused_adamw_(
                weights,
                [self.parameters[name].grad for name in names],  # type: ignore[misc]
                [self.state[f"{name}.mean"] for name in names],
                [self.state[f"{name}.square"] for name in names],
                [],
                [steps] * len(names),
                lr=share * self.rate * size,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.decay / size,
                eps=1e-10,
                amsgrad=False,
                maximize=False,
            )


def _size(parameter: Tensor) -> float:
    """The root mean square, from a thousandth to 1."""
    return min(1.0, max(1e-3, float(parameter.detach().float().square().mean().sqrt())))


class Muon:
    """Momentum, made orthogonal (Jordan et al. 2024): every direction of a matrix moves alike.

    m ← μ·m + (1 − μ)·g,  weight ← weight · (1 − rate·decay) − rate · √max(1, rows/columns) · NS((1 − μ)·g + μ·m)

    Matrices of one shape are taken together: one batched product costs a third of one product each where they are
    small.

    Args:
        parameters: the matrices to update, by name.
        rate: the full rate.
        momentum: μ.
        decay: weight decay.
        dtype: in which `orthogonalize` runs: bfloat16 where the machine multiplies it fast, else float32.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], rate: float, momentum: float, decay: float, dtype: torch.dtype
    ) -> None:
        self.parameters, self.rate, self.momentum, self.decay = dict(parameters), rate, momentum, decay
        self.dtype = dtype
        self.state = {
            f"{name}.momentum": torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One update at this share of the full rate."""
        same_shape: dict[torch.Size, list[str]] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                same_shape.setdefault(parameter.shape, []).append(name)
        rate = share * self.rate
        for (*experts, rows, columns), names in same_shape.items():
            weights = [self.parameters[name].detach() for name in names]
            momentum = [self.state[f"{name}.momentum"] for name in names]
            gradient = torch.stack([self.parameters[name].grad for name in names])  # type: ignore[misc]
            torch._foreach_lerp_(momentum, list(gradient), 1 - self.momentum)
            direction = gradient.lerp_(torch.stack(momentum), self.momentum).view(-1, rows, columns)
            update = orthogonalize(direction, self.dtype).view(-1, *experts, rows, columns)
            torch._foreach_mul_(weights, 1 - rate * self.decay)
            size = rate * math.sqrt(max(1.0, rows / columns))
            torch._foreach_add_(weights, list(update.to(weights[0].dtype)), alpha=-size)


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Quintic Newton–Schulz steps from each matrix U·S·Vᵀ towards U·Vᵀ. (n, rows, columns) → the same.

    X ← (a·I + b·X·Xᵀ + c·(X·Xᵀ)²) · X   (Jordan et al. 2024)
    """
    some = max(1, NUMBERS_AT_ONCE // matrices[0].numel())
    return torch.cat([_orthogonalize(part.to(dtype)) for part in torch.split(matrices, some)])


def _orthogonalize(x: Tensor) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        factor = (gram @ gram).mul_(c).add_(gram, alpha=b)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        x = factor @ x
    return x.mT if tall else x


class Optimizers:
    """All optimizers of a run as one: a step at a share of their full rates, and a state of plain tensors."""

    def __init__(self, model: nn.Module, recipe: Recipe, dtype: torch.dtype) -> None:
        kinds: dict[str, dict[str, nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                kinds.setdefault(kind_of(name, parameter), {})[name] = parameter
        decay = recipe.weight_decay
        self.parts: list[AdamW | Muon] = []
        if recipe.optimizer == "muon" and "matrix" in kinds:
            self.parts.append(Muon(kinds.pop("matrix"), recipe.matrix_lr, recipe.momentum, decay, dtype))
        rates = {
            "matrix": (recipe.adamw_lr, decay),
            "low rank": (recipe.adamw_lr, decay),
            "embedding": (recipe.embedding_lr, 0.0),
            "logits": (recipe.lm_head_lr, decay),
            "vector": (recipe.norm_lr, 0.0),
        }
        for kind, parameters in kinds.items():
            rate, decay = rates[kind]
            by_size = recipe.relative_lr and kind != "low rank"
            self.parts.append(AdamW(parameters, rate, recipe.betas, decay, by_size))
        self._model = model

    def step(self, share: float) -> None:
        """One update with every rate multiplied by `share`; gradients are forgotten afterwards."""
        for part in self.parts:
            part.step(share)
        self._model.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of every optimizer's state under a name of its own."""
        return {f"optimizer.{name}": tensor for part in self.parts for name, tensor in part.state.items()}

    def load_state(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Take back what `state` gave after this many steps."""
        for part in self.parts:
            for name, tensor in part.state.items():
                tensor.copy_(tensors[f"optimizer.{name}"])
            if isinstance(part, AdamW):
                part.steps = steps


def kind_of(name: str, parameter: Tensor) -> str:
    """What a parameter is to the optimizers: matrix (of a block), vector, low rank, logits or embedding."""
    if parameter.ndim == 1 or name.endswith(".bias"):
        return "vector"
    if name.endswith((".a.weight", ".b.weight")):
        return "low rank"
    if name.startswith("to_logits"):
        return "logits"
    return "matrix" if ".blocks." in name else "embedding"


def schedule(progress: float, step: int, recipe: Recipe) -> float:
    """The share of the full rate: rises over `warmup_steps`, stays, falls linearly to `min_lr_ratio` over `decay_fraction`.

    With the schedule `inverse-square-root` it does not stay, but is √(warmup_steps / step) (Vaswani et al. 2017, 5.3).

    Args:
        progress: the part of the run that is done, 0 to 1.
        step: number of the coming update, from 0.
        recipe: gives `schedule`, `warmup_steps`, `decay_fraction` (a part of the run) and `min_lr_ratio` (a share).
    """
    warmup = max(1, recipe.warmup_steps)
    share = min(1.0, (step + 1) / warmup)
    if recipe.schedule == "inverse-square-root":
        share *= min(1.0, math.sqrt(warmup / (step + 1)))
    left = (1 - progress) / recipe.decay_fraction if recipe.decay_fraction else 1.0
    return share * (recipe.min_lr_ratio + (1 - recipe.min_lr_ratio) * min(1.0, max(0.0, left)))


class Average:
    """The exponential moving average of the weights (Polyak & Juditsky 1992): average ← d · average + (1 − d) · weight.

    The decay d grows with the steps as (1 + step)/(10 + step), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after update number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = dict(model.named_parameters())
        torch._foreach_lerp_(list(self.weights.values()), [current[name].detach() for name in self.weights], 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the average; a second call undoes the first."""
        for name, parameter in model.named_parameters():
            if name in self.weights:
                held = parameter.detach().clone()
                parameter.copy_(self.weights[name])
                self.weights[name].copy_(held)
