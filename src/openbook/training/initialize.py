"""Weight initialization: small random matrices; output projections and the LM head start at zero."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from openbook.training.group import copy_into, local
from openbook.transformer.experts import MixtureOfExperts
from openbook.transformer.norm import Norm
from openbook.transformer.transformer import Transformer


@torch.no_grad()
def initialize(model: Transformer, seed: int) -> None:
    """Initialize every weight of a new model, whole or split among processes: the numbers are the same.

    A matrix is uniform in ±√(3 / inputs), so that its outputs have the variance of its inputs. Output projections are
    zero, so every block starts as the identity; an untied LM head is zero, so all tokens start equally likely. Norms
    scale by 1, and biases are zero.
    """
    generator = torch.Generator().manual_seed(seed)
    tied = model.architecture.tied_embeddings
    norms = {id(module.weight): 1.0 - module.offset for module in model.modules() if isinstance(module, Norm)}
    for name, parameter in model.named_parameters():
        if id(parameter) in norms:
            nn.init.constant_(local(parameter), norms[id(parameter)])
        elif parameter.ndim < 2 or name.endswith((".bias", ".output.weight", ".down.weight", "to_logits.weight")):
            nn.init.zeros_(local(parameter))
        elif ".blocks." in name:
            bound = (3 / parameter.shape[-1]) ** 0.5
            with _whole(parameter) as whole:
                nn.init.uniform_(whole, -bound, bound, generator=generator)
        else:
            with _whole(parameter) as whole:
                nn.init.normal_(whole, std=0.02 if tied or "position" in name else 1.0, generator=generator)


@contextmanager
def _whole(parameter: Tensor) -> Iterator[Tensor]:
    """The parameter; or for one that is split, a whole one to fill, of which this process's part is kept."""
    if local(parameter) is parameter:
        yield parameter
        return
    whole = torch.empty(parameter.shape)
    yield whole
    copy_into(parameter, whole)


@contextmanager
def without_load_balancing(model: nn.Module) -> Iterator[None]:
    """The mixtures of experts of a model without their load-balancing gradient."""
    parts = [module for module in model.modules() if isinstance(module, MixtureOfExperts)]
    strengths = [part.balance for part in parts]
    set_load_balancing(model, 0.0)
    try:
        yield
    finally:
        for part, strength in zip(parts, strengths, strict=True):
            part.balance = strength


def set_load_balancing(model: nn.Module, strength: float) -> None:
    """Set the coefficient of the load-balancing gradient in every mixture of experts; 0 turns it off."""
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.balance = strength
