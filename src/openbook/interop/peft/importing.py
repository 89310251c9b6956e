"""Make an adapter file of a folder that PEFT wrote. Nothing in it is run, and what is not understood is refused."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.weights import SafetensorsWeights, open_safetensors, read_small_json
from openbook.interop.peft.exporting import CONFIG, WEIGHTS
from openbook.interop.peft.modules import Modules, modules_of
from openbook.model_file.adapter import LORA_A, LORA_B, Adapter, fingerprint, read_adapter, save_adapter, updates_of
from openbook.model_file.file_type import PICKLE
from openbook.model_file.opening import error_context, open_model_file
from openbook.model_file.output_path import check_output_file
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.text.printable import excerpt

MAX_CONFIG_BYTES = 1_000_000
DTYPES = ("F32", "F16", "BF16")
NAME = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
PLAIN_PATTERN = re.compile(r"\^?[\w.]+")
NEUTRAL_STARTS = (True, False, "gaussian", "eva", "orthogonal", "mica")
"""Values of `init_lora_weights` that leave the base's weights as they are."""
IGNORED = re.compile(
    r"""task_type|base_model_name_or_path|revision|peft_version|auto_mapping|target_modules|exclude_modules
    |inference_mode|lora_dropout|layers_to_transform|layers_pattern|fan_in_fan_out|megatron_core|runtime_config
    |(eva|corda|loftq|lora_ga)_config|ensure_weight_tying|qalora_group_size
    |peft_type|bias|r|lora_alpha|rank_pattern|alpha_pattern|use_rslora|init_lora_weights""",
    re.VERBOSE,
)
"""Fields that are read here, or that change nothing once an adapter is trained; the layers are those of the tensors."""


@dataclass(frozen=True)
class ImportedAdapter:
    """What was imported: how many matrices of ours it changes, and the name of its base in the configuration."""

    matrices: int
    base: str


def import_adapter(
    folder: str | os.PathLike[str],
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> ImportedAdapter:
    """Make an adapter file of a LoRA adapter of PEFT.

    Args:
        folder: has adapter_config.json and adapter_model.safetensors.
        base: the model file that it changes, of the same shape.
        output: the adapter to make, in the folder of its base.
        overwrite: replace an existing output.

    Raises:
        OpenbookError: names the file, the field or tensor, and the cure.
    """
    folder, base, output = Path(folder), Path(base), Path(output)
    if output.absolute().parent != base.absolute().parent:
        raise OpenbookError(f"{output}: an adapter lies beside its base; give -o a name in {base.absolute().parent}")
    if read_adapter(base) is not None:
        raise OpenbookError(f"--base {base}: is an adapter itself; `openbook merge` it first")
    check_output_file(output, [base], overwrite)
    opened = open_model_file(base)
    with error_context(base):
        modules = modules_of(opened.metadata.architecture)
    with error_context(folder):
        config = read_small_json(folder / CONFIG, MAX_CONFIG_BYTES)
        _check(config)
        weights = _weights(folder)
        layers = _layers(weights, modules)
        scales = {name: _scale(config, name, weights.shape(a)[0]) for name, (a, _) in layers.items()}
        scale = max(scales.values(), key=list(scales.values()).count)
        tensors = _our_tensors(weights, layers, modules, {name: each / scale for name, each in scales.items()})
        adapter = Adapter(base.name, fingerprint(base), scale, {})
        updates_of(adapter, tensors, expected_shapes(opened.metadata.architecture))
    named = excerpt(str(config.get("base_model_name_or_path") or "?"), 100)
    record = {"imported_from": "PEFT", "base_model_name_or_path": named, "lora": {"scale": scale}}
    save_adapter(output, replace(adapter, training=record), tensors)
    return ImportedAdapter(len(tensors) // 2, named)


def _check(config: Mapping[str, Any]) -> None:
    """Refuse what would change the result."""
    if config.get("peft_type") != "LORA":
        raise _error("peft_type", config.get("peft_type"), "only LORA is read; merge it with PEFT's merge_and_unload")
    if config.get("bias", "none") != "none":
        raise _error("bias", config["bias"], "trained biases have no place in an adapter; merge it with PEFT")
    start = config.get("init_lora_weights", True)
    if not any(start == each and type(start) is type(each) for each in NEUTRAL_STARTS):
        raise _error(
            "init_lora_weights", start, "changes the base too; save it with path_initial_model_for_weight_conversion"
        )
    for name, value in config.items():
        if not IGNORED.fullmatch(name) and value not in (None, False, [], {}, ""):
            raise _error(name, value, "is not understood and may change the result; merge it with PEFT")


def _error(name: str, value: object, reason: str) -> OpenbookError:
    return OpenbookError(f"{CONFIG}, field {excerpt(name, 60)}: {excerpt(str(value), 60)}: {reason}")


def _weights(folder: Path) -> SafetensorsWeights:
    if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise OpenbookError(
            f"adapter_model.bin is pickled: {PICKLE}; load it with PEFT and save it with save_pretrained, which writes "
            f"{WEIGHTS}"
        )
    return open_safetensors(folder / WEIGHTS)


def _layers(weights: SafetensorsWeights, modules: Modules) -> dict[str, tuple[str, str]]:
    """Layer → the names of its A and B, their shapes and dtypes checked."""
    found: dict[str, dict[str, str]] = {}
    for tensor in weights.names:
        match = NAME.fullmatch(tensor)
        layer = match and next(
            (each for each in (match[1], modules.family.prefix + match[1]) if each in modules.parts), None
        )
        if match is None or layer is None:
            raise OpenbookError(
                f"{WEIGHTS}, tensor {excerpt(tensor, 120)}: is no LoRA matrix of a linear layer of this "
                f"{modules.family.name} model; give the right --base, or merge the adapter with PEFT"
            )
        if weights.dtype(tensor) not in DTYPES:
            raise OpenbookError(f"{WEIGHTS}, tensor {tensor}: {weights.dtype(tensor)} is none of {', '.join(DTYPES)}")
        found.setdefault(layer, {})[match[2]] = tensor
    if not found:
        raise OpenbookError(f"{WEIGHTS}: has no tensors, so it changes nothing")
    layers = {}
    for layer, pair in found.items():
        if len(pair) < 2:
            raise OpenbookError(f"{WEIGHTS}, tensor {next(iter(pair.values()))}: its other half is missing")
        a, b = weights.shape(pair["A"]), weights.shape(pair["B"])
        inputs, outputs = modules.inputs[layer], modules.outputs(layer)
        if len(a) != 2 or not a[0] or a[1] != inputs or b != (outputs, a[0]):
            raise OpenbookError(
                f"{WEIGHTS}, tensor {pair['A']}: {list(a)} and {list(b)} do not fit a matrix of {outputs} × {inputs}; "
                "give the right --base"
            )
        layers[layer] = pair["A"], pair["B"]
    return layers


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / rank of a layer, or alpha / √rank."""
    alpha = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise _error("alpha_pattern", patterns, "should be an object")
    for pattern, value in patterns.items():
        if not PLAIN_PATTERN.fullmatch(pattern):
            raise _error("alpha_pattern", pattern, "is no plain name; write the names of the layers in full")
        plain = pattern.removeprefix("^")
        if layer == plain or (plain == pattern and layer.endswith(f".{plain}")):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= 1e6:
        raise _error("lora_alpha", alpha, "should be a number up to a million")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _our_tensors(
    weights: SafetensorsWeights,
    layers: Mapping[str, tuple[str, str]],
    modules: Modules,
    factors: Mapping[str, float],
) -> dict[str, Tensor]:
    """A and B of each of our matrices: those that share a layer of theirs share its A, and each has its rows of B."""
    tensors = {}
    for layer, (a_name, b_name) in layers.items():
        a, b = weights.read(a_name), weights.read(b_name)
        for part in modules.parts[layer]:
            rows = b[part.first : part.first + part.rows]
            factor = factors[layer] / part.factor
            tensors[part.ours + LORA_A] = a
            tensors[part.ours + LORA_B] = rows.contiguous() if factor == 1 else rows.float() * factor
    return tensors
