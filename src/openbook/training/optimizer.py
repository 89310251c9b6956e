"""Optimizers: Muon for the matrices of the blocks, AdamW for everything else; the learning rate schedule; weight EMA.

AdamW is PyTorch's fused kernel through its functional interface: the first step of a `torch.optim.Optimizer` imports
`torch._dynamo`, which takes two seconds. Muon is written out: `torch.optim.Muon` takes matrices one by one and always
in bfloat16. Tests compare both with `torch.optim`.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from openbook.training.group import current_group, drop_gathered, local
from openbook.training.recipe import Recipe

NEWTON_SCHULZ_STEPS = 3
"""Jordan et al. take five, which was half of a small model's step; three learn the same to 0.002 bits per byte."""

CHUNK_NUMBERS = 1 << 20
"""Numbers that Newton–Schulz steps work on at a time, so that they stay in the processor's cache."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,
    w ← w · (1 − lr·decay) − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + 10⁻¹⁰)

    Args:
        parameters: what to update, by name.
        lr: the peak learning rate.
        betas: β₁ and β₂.
        weight_decay: decay.
        relative: whether to multiply the rate of each tensor by its root mean square, 1 at most, as it is now (as in
            Shazeer & Stern 2018, section 8), so that weights which were trained to be small are not overrun.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        relative: bool = False,
    ) -> None:
        self.parameters, self.lr, self.betas, self.weight_decay = dict(parameters), lr, betas, weight_decay
        self.scale = {name: _root_mean_square(each) if relative else 1.0 for name, each in parameters.items()}
        self.state = {
            f"{name}.{key}": torch.zeros_like(parameter, requires_grad=False)
            for key in ("exp_avg", "exp_avg_sq")
            for name, parameter in parameters.items()
        }
        self.steps = 0

    @torch.no_grad()
    def step(self, lr_multiplier: float) -> None:
        """One step at the peak rate times `lr_multiplier`."""
        same_scale: dict[float, list[str]] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                same_scale.setdefault(self.scale[name], []).append(name)
        for scale, names in same_scale.items():
            adamw(
                [local(self.parameters[name].detach()) for name in names],
                [local(self.parameters[name].grad) for name in names],  # type: ignore[arg-type]
                [local(self.state[f"{name}.exp_avg"]) for name in names],
                [local(self.state[f"{name}.exp_avg_sq"]) for name in names],
                [],
                [torch.tensor(float(self.steps), device=self.parameters[name].device) for name in names],
                fused=True,
                lr=lr_multiplier * self.lr * scale,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay / scale,
                eps=1e-10,
                amsgrad=False,
                maximize=False,
            )
        self.steps += 1


def _root_mean_square(parameter: Tensor) -> float:
    """From 0.001 to 1."""
    if local(parameter) is parameter:
        return min(1.0, max(1e-3, float(parameter.detach().float().square().mean().sqrt())))
    squares = current_group().total(float(local(parameter.detach()).double().square().sum()))[0]
    return min(1.0, max(1e-3, math.sqrt(squares / parameter.numel())))


class Muon:
    """Nesterov momentum, orthogonalised (Jordan et al. 2024): every direction of a matrix moves alike.

    m ← μ·m + (1 − μ)·g,  w ← w · (1 − lr·decay) − lr · √max(1, rows/columns) · NS((1 − μ)·g + μ·m)

    Matrices of one shape are stacked: where they are small, one batched product costs a third of one product each.

    Args:
        parameters: the matrices to update, by name.
        lr: the peak learning rate.
        momentum: μ.
        weight_decay: decay.
        dtype: in which `orthogonalize` runs: bfloat16 where the machine multiplies it fast, else float32.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype,
    ) -> None:
        self.parameters, self.lr, self.momentum, self.weight_decay = dict(parameters), lr, momentum, weight_decay
        self.dtype = dtype
        self.state = {
            f"{name}.momentum": torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def step(self, lr_multiplier: float) -> None:
        """One step at the peak rate times `lr_multiplier`."""
        same_shape: dict[torch.Size, list[str]] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                same_shape.setdefault(parameter.shape, []).append(name)
        for names in same_shape.values():
            # Of matrices that are split, one for each process, so that little has to be gathered at once.
            split = local(self.parameters[names[0]]) is not self.parameters[names[0]]
            at_once = current_group().size if split else len(names)
            for first in range(0, len(names), at_once):
                self._step(names[first : first + at_once], lr_multiplier * self.lr, split)

    def _step(self, names: list[str], lr: float, split: bool) -> None:
        """Update matrices of one shape; `split` says whether each process has a part of them."""
        *experts, rows, columns = self.parameters[names[0]].shape
        weights = [local(self.parameters[name].detach()) for name in names]
        momentum = [local(self.state[f"{name}.momentum"]) for name in names]
        gradient = torch.stack([local(self.parameters[name].grad) for name in names])  # type: ignore[arg-type]
        torch._foreach_lerp_(momentum, list(gradient), 1 - self.momentum)
        direction = gradient.lerp_(torch.stack(momentum), self.momentum)
        if not split:
            update = current_group().divided(self._orthogonalized, direction)
        else:  # experts as whole matrices, other matrices by rows
            update = self._orthogonalized(direction) if experts else self._gathered(direction, rows)
        torch._foreach_mul_(weights, 1 - lr * self.weight_decay)
        size = lr * math.sqrt(max(1.0, rows / columns))
        torch._foreach_add_(weights, list(update.to(weights[0].dtype)), alpha=-size)

    def _orthogonalized(self, direction: Tensor) -> Tensor:
        """Matrices (…, rows, columns) → the same; there may be none, where experts are fewer than processes."""
        if not direction.numel():
            return direction
        return orthogonalize(direction.view(-1, *direction.shape[-2:]), self.dtype).view(direction.shape)

    def _gathered(self, direction: Tensor, rows: int) -> Tensor:
        """This process's rows (n, own rows, columns) of matrices that have so many rows in all → the same."""
        from openbook.training.distributed.sharding import orthogonalize_in_turn

        return orthogonalize_in_turn(direction, rows, current_group(), self._orthogonalized)


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Quintic Newton–Schulz steps from each matrix U·S·Vᵀ towards U·Vᵀ. (n, rows, columns) → the same.

    X ← (a·I + b·X·Xᵀ + c·(X·Xᵀ)²) · X   (Jordan et al. 2024)
    """
    size = max(1, CHUNK_NUMBERS // matrices[0].numel())
    return torch.cat([_orthogonalize(chunk.to(dtype)) for chunk in torch.split(matrices, size)])


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
    """All optimizers of a run as one, with a state of plain tensors."""

    def __init__(self, model: nn.Module, recipe: Recipe, dtype: torch.dtype) -> None:
        groups: dict[str, dict[str, nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(parameter_group(name, parameter), {})[name] = parameter
        decay = recipe.weight_decay
        self.optimizers: list[AdamW | Muon] = []
        if recipe.optimizer == "muon" and "matrix" in groups:
            self.optimizers.append(Muon(groups.pop("matrix"), recipe.matrix_lr, recipe.muon_momentum, decay, dtype))
        rates = {
            "matrix": (recipe.adamw_lr, decay),
            "lora": (recipe.adamw_lr, decay),
            "embedding": (recipe.embedding_lr, 0.0),
            "lm_head": (recipe.lm_head_lr, decay),
            "norm": (recipe.norm_lr, 0.0),
        }
        for group, parameters in groups.items():
            lr, decay = rates[group]
            relative = recipe.relative_lr and group != "lora"
            self.optimizers.append(AdamW(parameters, lr, recipe.adamw_betas, decay, relative))
        self._model = model

    def step(self, lr_multiplier: float) -> None:
        """One step with every peak rate times `lr_multiplier`; sets the gradients to None."""
        for optimizer in self.optimizers:
            optimizer.step(lr_multiplier)
        self._model.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the optimizers' state under a name of its own."""
        return {f"optimizer.{name}": tensor for each in self.optimizers for name, tensor in each.state.items()}

    def resume(self, steps: int) -> None:
        """Go on after so many steps, the tensors of `state` being those of then."""
        for optimizer in self.optimizers:
            if isinstance(optimizer, AdamW):
                optimizer.steps = steps


def parameter_group(name: str, parameter: Tensor) -> str:
    """The group of a parameter: matrix (of a block), norm (and biases), lora, lm_head or embedding."""
    if parameter.ndim == 1 or name.endswith(".bias"):
        return "norm"
    if name.endswith((".a.weight", ".b.weight")):
        return "lora"
    if name.startswith("to_logits"):
        return "lm_head"
    return "matrix" if ".blocks." in name else "embedding"


def lr_multiplier(progress: float, step: int, recipe: Recipe) -> float:
    """What multiplies every peak rate: a linear warm-up, a constant part, and a linear decay to `min_lr_ratio`.

    With the schedule `inverse_sqrt` the middle part is √(warmup_steps / step) instead (Vaswani et al. 2017, 5.3).

    Args:
        progress: the fraction of the run that is done, 0 to 1.
        step: number of the coming step, from 0.
        recipe: gives `lr_schedule`, `warmup_steps`, `decay_fraction` and `min_lr_ratio`.
    """
    warmup = max(1, recipe.warmup_steps)
    multiplier = min(1.0, (step + 1) / warmup)
    if recipe.lr_schedule == "inverse_sqrt":
        multiplier *= min(1.0, math.sqrt(warmup / (step + 1)))
    left = (1 - progress) / recipe.decay_fraction if recipe.decay_fraction else 1.0
    return multiplier * (recipe.min_lr_ratio + (1 - recipe.min_lr_ratio) * min(1.0, max(0.0, left)))


class ExponentialMovingAverage:
    """The exponential moving average of the weights (Polyak & Juditsky 1992): average ← d · average + (1 − d) · w.

    The decay d grows with the steps as (1 + step)/(10 + step), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = dict(model.named_parameters())
        averages, weights = (
            list(map(local, self.weights.values())),
            [local(current[name].detach()) for name in self.weights],
        )
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the average; a second call undoes the first."""
        drop_gathered(model)
        for name, parameter in model.named_parameters():
            if name in self.weights:
                mine, average = local(parameter.detach()), local(self.weights[name])
                held = mine.clone()
                mine.copy_(average)
                average.copy_(held)
