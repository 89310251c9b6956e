"""First weights: small random matrices; what adds to the residual stream, and the logits, start at zero."""

import torch
from torch import nn

from openbook.transformer.experts import MixtureOfExperts
from openbook.transformer.transformer import Transformer


@torch.no_grad()
def initialize(model: Transformer, seed: int) -> None:
    """Fill every matrix of a new model.

    A matrix is uniform in ±√(3 / inputs), so that its outputs have the variance of its inputs. Every block begins
    as the identity, since its output projections are zero, and all tokens begin equally likely, since untied logits
    are zero too: learning starts from no opinion.
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
    """Have learning spread the tokens over the experts, wherever there are any; a strength of 0 leaves them alone."""
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.balance = strength
