"""`--shard`: each process keeps a part of every weight, gradient and optimizer state (FSDP2; Zhao et al. 2023).

Weights are split by rows, or by experts. A block's weights are gathered when it runs and dropped after it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from openbook.training.data_parallel import ForwardBackward
from openbook.training.group import Group, local, part_sizes
from openbook.transformer.transformer import Transformer

PASSES = ("encode", "hidden", "logits")
"""The methods of a model that read its weights."""


def shard(model: Transformer, group: Group, device: torch.device) -> None:
    """Split a model among the processes of a group, in place; one on the meta device gets memory for its part alone.

    A block is gathered at once. What is outside the blocks is one more group, so tied embeddings stay tied.
    """
    # Without the device, a mesh between processors of a machine that has others too would pick those.
    mesh = init_device_mesh(device.type, (group.size,))
    for stack in (model.encoder, model.decoder):
        for block in [] if stack is None else stack.blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in _sharded(model):
        # The loss is divided by the tokens of all processes already.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    for name in PASSES:
        register_fsdp_forward_method(model, name)
    if next(model.parameters()).is_meta:
        model.to_empty(device=device)
    group.sharded = True


def _sharded(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


class ShardedParallel:
    """Runs a step's micro-batches on a model that is split, as `DataParallel` does on replicas.

    A micro-batch has several backward passes: one for each chunk of logits, and one for the hidden states, which comes
    last. The gradients of what is outside the blocks travel during that one; those of a block when it has them, so that
    no process ever holds those of all blocks.
    """

    def __init__(self, model: Transformer) -> None:
        self._model = model
        hidden = model.hidden

        def watched(*args: Any, **kwargs: Any) -> Tensor:
            output = hidden(*args, **kwargs)
            if output.requires_grad:
                output.register_hook(lambda gradient: self._travel(True))  # type: ignore[no-untyped-call]
            return output

        model.hidden = watched  # type: ignore[method-assign]

    def forward_backward(
        self, micro_batches: Sequence[Any], forward_backward: ForwardBackward, seeds: Sequence[int]
    ) -> Tensor:
        """See `DataParallel.forward_backward`; all processes have equally many micro-batches."""
        losses = []
        for batch, seed in zip(micro_batches, seeds, strict=True):
            torch.manual_seed(seed)
            self._travel(False)
            losses.append(forward_backward(self._model, batch))
        return torch.stack(losses).sum()

    def close(self) -> None:
        """Nothing is left behind."""

    def _travel(self, now: bool) -> None:
        """Whether the gradients outside the blocks travel, and their weights are dropped, after a backward pass."""
        assert isinstance(self._model, FSDPModule)
        self._model.set_requires_gradient_sync(now, recurse=False)
        self._model.set_reshard_after_backward(now, recurse=False)


def clip_gradients(parameters: Iterable[nn.Parameter], most: float, group: Group) -> float:
    """Scale the gradients so that their norm is `most` at most; returns the norm before.

    See `torch.nn.utils.clip_grad_norm_`, which it follows.
    """
    gradients = [local(each.grad) for each in parameters if each.grad is not None]
    squares = sum(float(each.double().square().sum()) for each in gradients)
    norm = group.total(squares)[0] ** 0.5
    factor = min(1.0, most / (norm + 1e-6))
    torch._foreach_mul_(gradients, factor)
    return norm


def orthogonalize_in_turn(parts: Tensor, rows: int, group: Group, orthogonalize: Callable[[Tensor], Tensor]) -> Tensor:
    """Orthogonalize matrices of which each process has some rows: matrix i is gathered by process i mod size.

    Args:
        parts: (n, own rows, columns) this process's rows of n matrices.
        rows: of the whole matrices.
        group: the processes.
        orthogonalize: (n, rows, columns) → the same.

    Returns:
        (n, own rows, columns) this process's rows of the results.
    """
    count, _, columns = parts.shape
    order = [number for rank in range(group.size) for number in range(rank, count, group.size)]
    owned = [len(range(rank, count, group.size)) for rank in range(group.size)]
    heights = part_sizes(rows, group.size)
    of_owners = [number * heights[group.rank] * columns for number in owned]
    of_parts = [owned[group.rank] * height * columns for height in heights]
    gathered = _exchange(parts[order].flatten(), of_owners, of_parts)
    if owned[group.rank]:
        blocks = zip(torch.split(gathered, of_parts), heights, strict=True)
        whole = torch.cat([block.view(owned[group.rank], height, columns) for block, height in blocks], dim=1)
        whole = orthogonalize(whole).to(parts.dtype)
        gathered = torch.cat([block.flatten() for block in torch.split(whole, heights, dim=1)])
    back = _exchange(gathered, of_parts, of_owners)
    results = torch.empty_like(parts)
    results[order] = back.view(parts.shape)
    return results


def _exchange(sent: Tensor, sizes: list[int], received: list[int]) -> Tensor:
    """Send each process a part of `sent`, and receive one from each."""
    output = sent.new_empty(sum(received))
    dist.all_to_all_single(output, sent.contiguous(), received, sizes)
    return output
