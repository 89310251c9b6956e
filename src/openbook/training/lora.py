"""LoRA: learn a low-rank change of a few matrices and leave the rest of the model as it is (Hu et al. 2021, eq. 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from openbook.errors import OpenbookError
from openbook.transformer.experts import ExpertLinear

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear parts of a block that may be changed."""
SCALE = 2.0


class LowRankChange(nn.Module):
    """weight + SCALE · B · A; A (rank, inputs) is random, B (outputs, rank) zero, so that nothing changes at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        *experts, outputs, inputs = weight.shape
        self.a = nn.Parameter(torch.randn(*experts, rank, inputs, device=weight.device) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(*experts, outputs, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """(outputs, inputs), or (experts, outputs, inputs) → the same."""
        return weight + SCALE * (self.b @ self.a).to(weight.dtype)


def check_low_rank(rank: int, targets: Sequence[str]) -> None:
    """Raises OpenbookError if the rank is not positive or a target is unknown."""
    if rank < 1:
        raise OpenbookError(f"--lora {rank}: the rank must be 1 or more; 8 is a good start")
    for target in targets:
        if target not in TARGETS:
            raise OpenbookError(f"--lora-targets {target}: must be some of {', '.join(TARGETS)}")


def add_low_rank(model: nn.Module, rank: int, targets: Sequence[str], seed: int) -> None:
    """Freeze `model` and give each target matrix of its blocks a change of rank `rank` to learn.

    Raises:
        OpenbookError: the rank is not positive, or a target is unknown or not there.
    """
    check_low_rank(rank, targets)
    model.requires_grad_(False)
    torch.manual_seed(seed)
    changed = 0
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear | ExpertLinear) and ".blocks." in path and path.rsplit(".", 1)[-1] in targets:
            parametrize.register_parametrization(module, "weight", LowRankChange(module.weight, rank))
            changed += 1
    if not changed:
        raise OpenbookError(f"--lora-targets {','.join(targets)}: this model has none of them")


def low_rank_changes(model: nn.Module) -> dict[str, Tensor]:
    """A and B of every change, under the name of the weight with `.a` and `.b` behind it."""
    changes: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, LowRankChange):
            weight = path.removesuffix(".parametrizations.weight.0") + ".weight"
            changes |= {f"{weight}.a": module.a.detach().clone(), f"{weight}.b": module.b.detach().clone()}
    return changes


def merge_low_rank(model: nn.Module) -> None:
    """Add every learned change to its matrix for good; a model without changes stays as it is."""
    for module in model.modules():
        if isinstance(module, nn.Linear | ExpertLinear) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    model.requires_grad_(True)
