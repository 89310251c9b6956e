"""Adapters with random updates, without a training run."""

import torch

from openbook.model_file.adapter import LORA_A, LORA_B, Adapter, fingerprint, save_adapter, shapes_of
from openbook.model_file.file import load
from openbook.training.lora_targets import TARGETS


def write_adapter(path, base, targets=TARGETS, rank=3, scale=2.0, size=0.3, seed=0):
    """An adapter at `path` of the model file `base`, which changes these matrices of all blocks; its tensors."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes_of(load(base)[1]).items():
        *_, module, leaf = name.split(".")
        if ".blocks." in name and module in targets and leaf == "weight":
            *experts, outputs, inputs = shape
            tensors[name + LORA_A] = size * torch.randn(*experts, rank, inputs, generator=generator)
            tensors[name + LORA_B] = size * torch.randn(*experts, outputs, rank, generator=generator)
    save_adapter(path, Adapter(base.name, fingerprint(base), scale, {"steps": 5}), tensors)
    return tensors
