"""Whether a run fits in memory, said before it starts."""

from collections.abc import Collection
from dataclasses import replace

import torch

from openbook.errors import SettingError
from openbook.training.data_parallel import choose_replicas
from openbook.training.group import current_group
from openbook.training.plan.machine import machine_memory
from openbook.training.plan.measure import count_parameters
from openbook.training.recipe import Recipe
from openbook.transformer.architecture import Architecture, FeedForward
from openbook.transformer.transformer import Transformer


def training_bytes(architecture: Architecture, recipe: Recipe, frozen: bool = False, parts: int = 1) -> int:
    """Roughly the bytes that training takes: weights, gradients, optimizer state, activations and logits.

    Args:
        architecture: of the model.
        recipe: gives micro-batch size and so on.
        frozen: whether the weights are frozen (LoRA), so that they have neither gradients nor optimizer state.
        parts: processes among which weights, gradients and optimizer state are split; the bytes are of one.
    """
    parameters = count_parameters(architecture)
    replicas = choose_replicas(recipe, parameters, torch.device("cpu"))
    # The weight, a gradient per replica, up to two of optimizer state, and the moving average.
    copies = 1 if frozen else 3 + replicas + bool(recipe.ema_decay)
    tokens = replicas * recipe.micro_batch_size * recipe.context
    blocks = [
        10 * architecture.width + 4 * attention.heads * attention.head_width + 4 * _active_width(block.feed_forward)
        for stack in architecture.stacks.values()
        for block in stack.blocks
        for attention in filter(None, (block.attention, block.cross_attention))
    ]
    activations = len(blocks) * architecture.width + max(blocks) if recipe.gradient_checkpointing else sum(blocks)
    held = copies * parameters / parts
    if parts > 1:
        # Gathered: what is outside the blocks as weights, gradients and what is sent of them; a block and the next one.
        blocks_alone = _block_parameters(architecture)
        if recipe.optimizer == "muon" and not frozen:  # it keeps one number where AdamW keeps two
            held -= sum(blocks_alone) / parts
        held += 3 * (parameters - sum(blocks_alone)) + 4 * max(blocks_alone)
    return round(4 * (held + tokens * (activations + 3 * architecture.vocab_size)))


def _block_parameters(architecture: Architecture) -> list[int]:
    """Parameters of each block."""
    with torch.device("meta"):
        model = Transformer(architecture)
    stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
    return [sum(each.numel() for each in block.parameters()) for stack in stacks for block in stack.blocks]


def _active_width(feed_forward: FeedForward) -> int:
    """Hidden units per token."""
    return feed_forward.width * (1 if feed_forward.experts is None else feed_forward.experts.experts_per_token)


def fits_in_memory(architecture: Architecture, recipe: Recipe, frozen: bool = False) -> bool:
    """Whether training fits in this machine's memory, once for each process of a group on it."""
    return _needed_here(architecture, recipe, frozen) <= machine_memory()


def _needed_here(architecture: Architecture, recipe: Recipe, frozen: bool) -> int:
    group = current_group()
    return group.local_size * training_bytes(architecture, recipe, frozen, group.size if group.sharded else 1)


def check_memory(architecture: Architecture, recipe: Recipe, frozen: bool = False) -> None:
    """Refuse a run that cannot fit in this machine's memory.

    Raises:
        OpenbookError: naming the options that would help.
    """
    if not fits_in_memory(architecture, recipe, frozen):
        needed = _needed_here(architecture, recipe, frozen)
        raise SettingError(
            f"training this model takes about {needed / 1e9:.1f} GB, and the machine has {machine_memory() / 1e9:.1f} "
            f"GB; take a smaller `width` (now {recipe.width}), `layers` ({recipe.layers}), `vocab_size` "
            f"({recipe.vocab_size}) or `micro_batch_size` ({recipe.micro_batch_size})"
        )


def save_memory(architecture: Architecture, recipe: Recipe, given: Collection[str], frozen: bool = False) -> Recipe:
    """The recipe with gradient checkpointing, then with smaller micro-batches, if it would not fit otherwise.

    Choices that are `given` stay.
    """
    if "gradient_checkpointing" not in given and not fits_in_memory(architecture, recipe, frozen):
        recipe = replace(recipe, gradient_checkpointing=True)
    while (
        "micro_batch_size" not in given
        and recipe.micro_batch_size > 1
        and not fits_in_memory(architecture, recipe, frozen)
    ):
        recipe = replace(recipe, micro_batch_size=recipe.micro_batch_size // 2)
    return recipe
