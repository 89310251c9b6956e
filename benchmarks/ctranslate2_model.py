"""The weights of an encoder-decoder of ours as a folder that CTranslate2 opens.

For pre-norm models with LayerNorm or RMSNorm, sinusoidal or relative positions, plain or gated feed-forward, of one
vocabulary. A token's name there is its id, so that both sides read and write the same ids.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctranslate2.specs import common_spec, transformer_spec
from torch import nn

from openbook.transformer.transformer import Transformer

ACTIVATIONS = {
    "relu": common_spec.Activation.RELU,
    "silu": common_spec.Activation.SWISH,
    "gelu": common_spec.Activation.GELU,
    "gelu_tanh": common_spec.Activation.GELUTanh,
}


def write(model: Transformer, start: int, end: int, unknown: int, folder: Path) -> None:
    """Write the model; `start` is what its decoder begins with."""
    architecture = model.architecture
    block = architecture.decoder.blocks[0]
    assert architecture.encoder is not None and block.before.kind != "none" and block.outer.kind == "none"
    spec = transformer_spec.TransformerSpec.from_config(
        (len(architecture.encoder.blocks), len(architecture.decoder.blocks)),
        block.attention.heads,
        pre_norm=True,
        activation=ACTIVATIONS[block.feed_forward.activation],
        ffn_glu=block.feed_forward.gated,
        rms_norm=block.before.kind == "rms",
        relative_attention_bias=architecture.decoder.position.kind == "relative",
    )
    for side, stack in ((spec.encoder, model.encoder), (spec.decoder, model.decoder)):
        _write_stack(side, stack, model)
    weight = model.token_embedding.weight if architecture.tied_embeddings else model.to_logits.weight
    spec.decoder.projection.weight = _array(weight * architecture.logit_scale)
    names = [str(number) for number in range(architecture.vocab_size)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = spec.config.decoder_start_token = str(start)
    spec.config.eos_token, spec.config.unk_token, spec.config.add_source_eos = str(end), str(unknown), False
    spec.config.layer_norm_epsilon = block.before.epsilon
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir()
    spec.save(str(folder))


def _write_stack(side: Any, stack: Any, model: Transformer) -> None:
    architecture = model.architecture
    embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
    embeddings.weight = _array(model.token_embedding.weight)
    side.scale_embeddings = architecture.embedding_scale
    _norm(side.layer_norm, stack.final_norm)
    position = architecture.decoder.position
    if position.kind == "sinusoidal":
        places = torch.arange(architecture.context)[None]
        side.position_encodings.encodings = _array(
            stack.position.embed(torch.zeros(1, architecture.context, architecture.width), places)[0]
        )
    for layer, block in zip(side.layer, stack.blocks, strict=True):
        attention = block.self_attention
        _linear(layer.self_attention.linear[0], attention.query, attention.key, attention.value)
        _linear(layer.self_attention.linear[1], attention.output)
        _norm(layer.self_attention.layer_norm, block.self_attention_residual.before)
        layer.self_attention.queries_scale = np.float32(attention.spec.score_scale)
        if position.kind == "relative":
            layer.self_attention.relative_attention_bias = _array(stack.position.weight)
            layer.self_attention.relative_attention_max_distance = np.dtype("int32").type(position.max_distance)
        if hasattr(layer, "attention"):
            cross = block.cross_attention
            _linear(layer.attention.linear[0], cross.query)
            _linear(layer.attention.linear[1], cross.key, cross.value)
            _linear(layer.attention.linear[2], cross.output)
            _norm(layer.attention.layer_norm, block.cross_attention_residual.before)
            layer.attention.queries_scale = np.float32(cross.spec.score_scale)
        if hasattr(layer.ffn, "linear_0_noact"):
            _linear(layer.ffn.linear_0, block.feed_forward.gate)
            _linear(layer.ffn.linear_0_noact, block.feed_forward.up)
        else:
            _linear(layer.ffn.linear_0, block.feed_forward.up)
        _linear(layer.ffn.linear_1, block.feed_forward.down)
        _norm(layer.ffn.layer_norm, block.feed_forward_residual.before)


def _array(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().numpy().copy()


def _linear(spec: Any, *modules: nn.Linear) -> None:
    spec.weight = np.concatenate([_array(module.weight) for module in modules])
    if modules[0].bias is not None:
        spec.bias = np.concatenate([_array(module.bias) for module in modules])


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma = _array(norm.weight)
    if getattr(norm, "bias", None) is not None:
        spec.beta = _array(norm.bias)
