"""An architecture as a module without numbers: which tensors it needs, at no cost in memory."""

from collections import defaultdict
from dataclasses import replace

import torch

from openbook.transformer.architecture import Architecture
from openbook.transformer.decoder_only import DecoderOnly

Shape = tuple[int, ...]
_BLOCKS = "decoder.blocks."


def blueprint(architecture: Architecture) -> DecoderOnly:
    """The model on the meta device: every parameter has its shape and no memory."""
    with torch.device("meta"):
        return DecoderOnly(architecture)


def expected_shapes(architecture: Architecture) -> dict[str, Shape]:
    """The name and shape of every tensor, in the order in which the model uses them.

    Only one block of each kind is built, and the rest are repeated from it: a model of many layers, or a file that
    claims to be one, is checked in milliseconds.
    """
    blocks = architecture.decoder.blocks
    kinds = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    small = blueprint(replace(architecture, decoder=replace(architecture.decoder, blocks=tuple(kinds))))

    before: dict[str, Shape] = {}
    after: dict[str, Shape] = {}
    within: dict[int, dict[str, Shape]] = defaultdict(dict)
    for name, tensor in small.state_dict().items():
        if name.startswith(_BLOCKS):
            number, rest = name.removeprefix(_BLOCKS).split(".", 1)
            within[int(number)][rest] = tuple(tensor.shape)
        else:
            (after if within else before)[name] = tuple(tensor.shape)
    repeated = {
        f"{_BLOCKS}{number}.{rest}": shape
        for number, block in enumerate(blocks)
        for rest, shape in within[kinds[block]].items()
    }
    return before | repeated | after
