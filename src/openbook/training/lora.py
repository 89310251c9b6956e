"""LoRA: train a low-rank change of some matrices and freeze the rest of the model (Hu et al. 2021, eq. 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openbook.errors import SettingError
from openbook.training.group import drop_gathered, local, whole
from openbook.training.lora_targets import SCALE, check_lora
from openbook.transformer.experts import ExpertLinear


class LoRALinear(nn.Module):
    """linear(x) + SCALE · B(A(x)); A (rank, inputs) is random at first and B (outputs, rank) zero: no change.

    The product B · A is never formed, so the gradient of the whole matrix, a third of a step's work, is not needed.
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
        """(…, inputs) → (…, outputs); `rows` are the number of rows of each expert, if there are experts."""
        changed: Tensor = self.linear(x, *rows) + SCALE * self.b(self.a(x, *rows), *rows)
        return changed

    @torch.no_grad()
    def merged(self) -> nn.Linear | ExpertLinear:
        """The linear layer with the change added to its weight."""
        a = self.a.weight if self.a.weight.ndim > 2 else whole(self.a.weight)  # experts are split as whole matrices
        local(self.linear.weight).add_(SCALE * (local(self.b.weight) @ local(a)))
        return self.linear


def _linear(experts: list[int], inputs: int, outputs: int) -> nn.Linear | ExpertLinear:
    if experts:
        return ExpertLinear(experts[0], inputs, outputs, bias=False)
    return nn.Linear(inputs, outputs, bias=False)


def add_lora(model: nn.Module, rank: int, targets: Sequence[str], seed: int) -> None:
    """Freeze `model` and give each target matrix of its blocks a trainable change of rank `rank`.

    Raises:
        OpenbookError: the rank is not positive, or a target is unknown or missing in the model.
    """
    check_lora(rank, targets)
    model.requires_grad_(False)
    torch.manual_seed(seed)
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | ExpertLinear) and ".blocks." in path and path.rsplit(".", 1)[-1] in targets
    ]
    for path, module in found:
        model.set_submodule(path, LoRALinear(module, rank))
    if not found:
        raise SettingError(f"`lora_targets` {','.join(targets)}: this model has none of them")


def lora_matrices(model: nn.Module) -> dict[str, Tensor]:
    """A and B of every changed matrix, under the name of its weight followed by `.a` and `.b`."""
    drop_gathered(model)
    return {
        f"{path}.weight.{name}": whole(part.weight.detach()).clone()
        for path, module in model.named_modules()
        if isinstance(module, LoRALinear)
        for name, part in (("a", module.a), ("b", module.b))
    }


def merge_lora(model: nn.Module) -> None:
    """Add every change to its matrix; a model without changes stays as it is."""
    for path, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            model.set_submodule(path, module.merged())
    model.requires_grad_(True)
