"""An architecture as a module on the meta device: which tensors it needs, at no cost in memory."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby

import torch

from openbook.model_file.header import Shape
from openbook.transformer.architecture import Architecture, Stack
from openbook.transformer.transformer import Transformer


def meta_model(architecture: Architecture) -> Transformer:
    """The model on the meta device: every parameter has its shape and no memory."""
    with torch.device("meta"):
        return Transformer(architecture)


def expected_shapes(architecture: Architecture) -> dict[str, Shape]:
    """The name and shape of every tensor, in the order in which the model uses them.

    Only one block of each kind is built, and the rest are repeated from it: a model of many layers, or a file that
    claims to be one, is checked in milliseconds.
    """
    stacks, encoder = architecture.stacks, architecture.encoder
    small = meta_model(
        replace(
            architecture,
            encoder=None if encoder is None else _distinct_blocks(encoder),
            decoder=_distinct_blocks(architecture.decoder),
        )
    )
    needed = {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()}
    shapes: dict[str, Shape] = {}
    for prefix, names in groupby(needed, key=_stack_of):
        found = {name: needed[name] for name in names}
        shapes |= found if prefix is None else _repeated(stacks[prefix], f"{prefix}.blocks.", found)
    return shapes


def _distinct_blocks(stack: Stack) -> Stack:
    return replace(stack, blocks=tuple(dict.fromkeys(stack.blocks)))


def _stack_of(name: str) -> str | None:
    """The stack whose block this tensor is in; None outside the blocks."""
    stack, _, rest = name.partition(".")
    return stack if rest.startswith("blocks.") else None


def _repeated(stack: Stack, prefix: str, found: dict[str, Shape]) -> dict[str, Shape]:
    """The tensors of all blocks, from those of one block of each kind."""
    kinds = {block: number for number, block in enumerate(dict.fromkeys(stack.blocks))}
    within: dict[int, dict[str, Shape]] = defaultdict(dict)
    for name, shape in found.items():
        number, rest = name.removeprefix(prefix).split(".", 1)
        within[int(number)][rest] = shape
    return {
        f"{prefix}{number}.{rest}": shape
        for number, block in enumerate(stack.blocks)
        for rest, shape in within[kinds[block]].items()
    }
