"""An architecture as a module on the meta device: every parameter has its shape and no memory."""

import torch

from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer


def meta_model(architecture: Architecture) -> Transformer:
    """The model on the meta device."""
    with torch.device("meta"):
        return Transformer(architecture)
