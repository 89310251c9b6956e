"""Write an adapter as a folder that PEFT loads: adapter_config.json and adapter_model.safetensors."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.peft.modules import Modules, Part, modules_of
from openbook.model_file.adapter import Update
from openbook.model_file.atomic import atomic_folder
from openbook.model_file.merging import OpenedAdapter
from openbook.model_file.writing import write_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def write_peft(folder: Path, opened: OpenedAdapter, overwrite: bool) -> str:
    """Write a folder, whole or not at all; the name of the family whose names it uses.

    Where their layer holds several of our matrices, its A has the rows of all of ours, and its B a block for each.

    Args:
        folder: must not exist, or be empty, unless `overwrite`.
        opened: the adapter. `base_model_name_or_path` becomes the name of its base without suffix.
        overwrite: replace an existing folder.

    Raises:
        OpenbookError: no family has the base's shape, or an update changes no linear layer of it.
    """
    modules = modules_of(opened.base.metadata.architecture)
    left = dict(opened.updates)
    matrices: dict[str, tuple[Tensor, Tensor]] = {}
    for name, parts in modules.parts.items():
        found = [(part, left.pop(part.ours)) for part in parts if part.ours in left]
        if found:
            matrices[name] = _fused(modules.outputs(name), found)
    for name in left:
        raise OpenbookError(
            f"tensor {name}: is no linear layer in a {modules.family.name} model of transformers, so PEFT's format has "
            "no place for its update; `openbook merge` it, and export the merged model"
        )
    encoder_decoder = opened.base.metadata.architecture.encoder is not None
    config = _config(modules, matrices, opened.adapter.scale, opened.path.stem, encoder_decoder)
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in matrices.items():
        tensors |= {f"{PREFIX}{name}.lora_A.weight": a, f"{PREFIX}{name}.lora_B.weight": b}
    with atomic_folder(folder, overwrite) as place:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (place / CONFIG).write_text(text + "\n", encoding="utf-8")
        write_tensors(place / WEIGHTS, {"format": "pt"}, tensors)
    return modules.family.name


def _fused(outputs: int, found: list[tuple[Part, Update]]) -> tuple[Tensor, Tensor]:
    """A and B of one of their layers. (rank, in), (out, rank)"""
    a = torch.cat([update.a for _, update in found])
    b, column = torch.zeros(outputs, len(a), dtype=a.dtype), 0
    for part, update in found:
        rank = update.b.shape[1]
        block = update.b if part.factor == 1 else update.b * part.factor
        b[part.first : part.first + part.rows, column : column + rank] = block
        column += rank
    return a, b


def _config(
    modules: Modules, matrices: dict[str, tuple[Tensor, Tensor]], scale: float, base: str, encoder_decoder: bool
) -> dict[str, Any]:
    ranks = {name: len(a) for name, (a, _) in matrices.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {name: each for name, each in ranks.items() if each != rank}
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM" if encoder_decoder else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "target_modules": _targets(modules.parts, set(matrices)),
        "r": rank,
        "lora_alpha": _number(scale * rank),
        "rank_pattern": others,
        "alpha_pattern": {name: _number(scale * each) for name, each in others.items()},
        "fan_in_fan_out": modules.transposed,
        "bias": "none",
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }


def _targets(layers: Iterable[str], changed: set[str]) -> list[str]:
    """The last part of the names where all layers that end so are changed, whole names elsewhere."""
    last: dict[str, set[str]] = {}
    for name in layers:
        last.setdefault(name.rsplit(".", 1)[-1], set()).add(name)
    targets: list[str] = []
    for end, names in last.items():
        targets += [end] if names <= changed else sorted(names & changed)
    return targets


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value
