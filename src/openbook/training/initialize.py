"""Weight initialization: small random matrices; output projections and the LM head start at zero."""

import torch
from torch import nn

from openbook.transformer.experts import MixtureOfExperts
from openbook.transformer.transformer import Transformer


@torch.no_grad()
def initialize(model: Transformer, seed: int) -> None:
    """Initialize every matrix of a new model.

    A matrix is uniform in ±√(3 / inputs), so that its outputs have the variance of its inputs. Output projections are
    zero, so every block starts as the identity; an untied LM head is zero, so all tokens start equally likely.
    """
    generator = torch.Generator().manual_seed(seed)
    tied = model.architecture.tied_embeddings
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or name.endswith(".bias"):
            continue
        if name.endswith((".output.weight", ".down.weight")) or name == "to_logits.weight":
            nn.init.zeros_(parameter)
        elif ".blocks." in name:
            bound = (3 / parameter.shape[-1]) ** 0.5
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        else:
            nn.init.normal_(parameter, std=0.02 if tied or "position" in name else 1.0, generator=generator)


def set_load_balancing(model: nn.Module, strength: float) -> None:
    """Set the coefficient of the load-balancing gradient in every mixture of experts; 0 turns it off."""
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.balance = strength
