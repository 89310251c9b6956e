"""Whether a run fits into memory, said before it starts."""

import math
import os
from collections.abc import Collection
from dataclasses import replace

import torch

from openbook.errors import OpenbookError
from openbook.training.data_parallel import choose_replicas
from openbook.training.plan.measure import count_parameters
from openbook.training.recipe import Recipe
from openbook.transformer.architecture import Architecture, FeedForward


def bytes_to_train(architecture: Architecture, recipe: Recipe, frozen: bool = False) -> int:
    """Roughly the bytes that training takes: weights, gradients and optimizer state, and what one pass keeps.

    The weights of a `frozen` model stay as they are, and what it learns besides is small.
    """
    parameters = count_parameters(architecture)
    workers = choose_replicas(recipe, parameters, torch.device("cpu"))
    # Weight, gradients, up to two of optimizer state.
    copies = 1 if frozen else 3 + workers + bool(recipe.ema_decay)
    tokens = workers * recipe.micro_batch_size * recipe.context
    blocks = [
        10 * architecture.width + 4 * attention.heads * attention.head_width + 4 * _neurons(block.feed_forward)
        for stack in architecture.stacks.values()
        for block in stack.blocks
        for attention in filter(None, (block.attention, block.cross_attention))
    ]
    kept = len(blocks) * architecture.width + max(blocks) if recipe.gradient_checkpointing else sum(blocks)
    return 4 * (copies * parameters + tokens * (kept + 3 * architecture.vocab_size))


def _neurons(feed_forward: FeedForward) -> int:
    """How many a token passes through."""
    return feed_forward.width * (1 if feed_forward.experts is None else feed_forward.experts.experts_per_token)


def memory_here() -> float:
    """Bytes of memory of this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def fits_in_memory(architecture: Architecture, recipe: Recipe, frozen: bool = False) -> bool:
    """Whether training takes no more memory than this machine has."""
    return bytes_to_train(architecture, recipe, frozen) <= memory_here()


def check_memory(architecture: Architecture, recipe: Recipe, frozen: bool = False) -> None:
    """Refuse a run that cannot fit into this machine's memory.

    Raises:
        OpenbookError: naming the choices that would help.
    """
    if not fits_in_memory(architecture, recipe, frozen):
        needed = bytes_to_train(architecture, recipe, frozen)
        raise OpenbookError(
            f"training this model takes about {needed / 1e9:.1f} GB, and the machine has {memory_here() / 1e9:.1f} GB; "
            f"take a smaller --width (now {recipe.width}), --layers ({recipe.layers}), --vocab-size "
            f"({recipe.vocab_size}) or --micro-batch-size ({recipe.micro_batch_size})"
        )


def save_memory(architecture: Architecture, recipe: Recipe, given: Collection[str], frozen: bool = False) -> Recipe:
    """The recipe with blocks worked out again, then with fewer windows at once, where it would not fit otherwise.

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
