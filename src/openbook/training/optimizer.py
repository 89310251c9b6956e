"""Optimizers: Muon for the matrices of the blocks, AdamW for the rest; the schedule; the average of weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from openbook.training.recipe import Recipe


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, taking matrices of one shape together.

    Momentum, then Newton–Schulz to the nearest orthogonal matrix (Jordan et al. 2024). One batched product for all
    matrices of a shape costs a third of one product each where matrices are small. Adds `param_groups[i]["dtype"]`,
    the type in which Newton–Schulz runs: bfloat16 where the machine multiplies it fast, as in torch, else float32.
    """

    def __init__(self, params: Iterable[Tensor], *, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(params, **options)
        for group in self.param_groups:
            group["dtype"] = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            same_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in same_shape.items():
                self._step_together(group, shape, parameters)

    def _step_together(self, group: dict[str, Any], shape: tuple[int, ...], parameters: list[Tensor]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        gradient = torch.stack([parameter.grad for parameter in parameters if parameter.grad is not None])
        buffers = [self._buffer(parameter) for parameter in parameters]
        torch._foreach_lerp_(buffers, list(gradient), 1 - momentum)
        update = orthogonalize(gradient.lerp_(torch.stack(buffers), momentum), group["dtype"])
        # Long matrices move further, so that outputs change alike whatever the shape.
        size = rate * math.sqrt(max(1.0, shape[0] / shape[1]))
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_add_(parameters, list(update.to(parameters[0].dtype)), alpha=-size)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Five quintic Newton–Schulz steps towards U·Vᵀ of each matrix's U·S·Vᵀ. (n, rows, columns) → the same."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Optimizers:
    """All optimizers of a run as one: a step at a share of their full rates, and a state of plain tensors."""

    def __init__(self, model: nn.Module, recipe: Recipe, dtype: torch.dtype) -> None:
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in trained if p.ndim == 2 and ".blocks." in name and "parametrizations" not in name]
        if recipe.optimizer == "adamw":
            matrices = []
        taken = {id(p) for p in matrices}
        rest = [(name, p) for name, p in trained if id(p) not in taken]
        groups = [
            {"params": [p for name, p in rest if _kind(name, p) == kind], "lr": rate, "weight_decay": decay}
            for kind, rate, decay in (
                ("matrix", recipe.adamw_rate, recipe.weight_decay),
                ("embedding", recipe.embedding_rate, 0.0),
                ("logits", recipe.logits_rate, recipe.weight_decay),
                ("vector", recipe.vector_rate, 0.0),
            )
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW([g for g in groups if g["params"]], betas=recipe.betas, eps=1e-10, fused=True)
        ]
        if matrices:
            self.parts.append(
                Muon(
                    matrices,
                    lr=recipe.matrix_rate,
                    momentum=recipe.momentum,
                    weight_decay=recipe.weight_decay,
                    dtype=dtype,
                )
            )
        self._full = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def step(self, share: float) -> None:
        """One update with every rate multiplied by `share`; gradients are forgotten afterwards."""
        for part, rates in zip(self.parts, self._full, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * share
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of every optimizer's state under a name of its own."""
        return {
            f"optimizer.{number}.{index}.{key}": value
            for number, part in enumerate(self.parts)
            for index, values in part.state_dict()["state"].items()
            for key, value in values.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for number, part in enumerate(self.parts):
            whole = part.state_dict()
            whole["state"] = {}
            for name, value in tensors.items():
                kind, which, index, key = name.split(".", 3)
                if kind == "optimizer" and int(which) == number:
                    whole["state"].setdefault(int(index), {})[key] = value
            part.load_state_dict(whole)


def _kind(name: str, parameter: Tensor) -> str:
    if parameter.ndim == 1:
        return "vector"
    if name.startswith("to_logits"):
        return "logits"
    return "matrix" if ".blocks." in name else "embedding"


def schedule(progress: float, step: int, recipe: Recipe) -> float:
    """The share of the full rate: rises over `warmup_steps`, stays, falls linearly to `final_rate` over `warmdown`.

    Args:
        progress: the part of the run that is done, 0 to 1.
        step: number of the coming update, from 0.
        recipe: gives `warmup_steps`, `warmdown` (a part of the run) and `final_rate` (a share).
    """
    rise = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    left = (1 - progress) / recipe.warmdown if recipe.warmdown else 1.0
    return rise * (recipe.final_rate + (1 - recipe.final_rate) * min(1.0, max(0.0, left)))


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
