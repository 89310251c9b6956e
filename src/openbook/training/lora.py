"""LoRA: learn a low-rank change of a few matrices and leave the rest of the model as it is (Hu et al. 2021, eq. 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.transformer.experts import ExpertLinear

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear parts of a block that may be changed."""
SCALE = 2.0


class LowRank(nn.Module):
    """linear(x) + SCALE · B(A(x)); A (rank, inputs) is random and B (outputs, rank) zero: nothing changes at first.

    The product B · A is never made: the gradient of a matrix as large, a third of a step's work, is then not needed.
    """

    def __init__(self, linear: nn.Linear | ExpertLinear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        *experts, outputs, inputs = linear.weight.shape
        with linear.weight.device:
            self.a, self.b = _linear(experts, inputs, rank), _linear(experts, rank, outputs)
        nn.init.normal_(self.a.weight, std=inputs**-0.5)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor, *rows: Sequence[int]) -> Tensor:
        """(…, inputs) → (…, outputs); `rows` are those of each expert, where there are experts."""
        changed: Tensor = self.linear(x, *rows) + SCALE * self.b(self.a(x, *rows), *rows)
        return changed

    @torch.no_grad()
    def merged(self) -> nn.Linear | ExpertLinear:
        """The linear part with the change added to its weight for good."""
        self.linear.weight += SCALE * (self.b.weight @ self.a.weight)
        return self.linear


def _linear(experts: list[int], inputs: int, outputs: int) -> nn.Linear | ExpertLinear:
    if experts:
        return ExpertLinear(experts[0], inputs, outputs, bias=False)
    return nn.Linear(inputs, outputs, bias=False)


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
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | ExpertLinear) and ".blocks." in path and path.rsplit(".", 1)[-1] in targets
    ]
    for path, module in found:
        model.set_submodule(path, LowRank(module, rank))
    if not found:
        raise OpenbookError(f"--lora-targets {','.join(targets)}: this model has none of them")


def low_rank_changes(model: nn.Module) -> dict[str, Tensor]:
    """A and B of every change, under the name of the weight with `.a` and `.b` behind it."""
    return {
        f"{path}.weight.{name}": part.weight.detach().clone()
        for path, module in model.named_modules()
        if isinstance(module, LowRank)
        for name, part in (("a", module.a), ("b", module.b))
    }


def merge_low_rank(model: nn.Module) -> None:
    """Add every learned change to its matrix for good; a model without changes stays as it is."""
    for path, module in list(model.named_modules()):
        if isinstance(module, LowRank):
            model.set_submodule(path, module.merged())
    model.requires_grad_(True)
