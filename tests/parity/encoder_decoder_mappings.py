"""The same as `mappings`, for encoder-decoders."""

import re
from dataclasses import replace

from torch import Tensor, nn

from openbook.transformer.architecture import (
    NO_NORM,
    Architecture,
    Attention,
    Block,
    FeedForward,
    Norm,
    Position,
    Stack,
)
from openbook.transformer.base import Transformer
from parity.mappings import Table, build

USUAL: Table = {
    r"^lm_head": "to_logits",
    r"^final_logits_bias": "to_logits.bias",
    r"^model\.": "",
    r"^decoder\.embed_tokens": "token_embedding",
    r"^encoder\.embed_tokens": "source_embedding",
    r"coder\.embed_positions": "coder.position",
    r"coder\.layernorm_embedding": "coder.embedding_norm",
    r"coder\.layer_norm": "coder.final_norm",
    r"coder\.layers": "coder.blocks",
    r"self_attn\.": "self_attention.",
    r"encoder_attn\.": "cross_attention.",
    r"\.q_proj": ".query",
    r"\.k_proj": ".key",
    r"\.v_proj": ".value",
    r"\.out_proj": ".output",
    r"\.fc1": ".feed_forward.up",
    r"\.fc2": ".feed_forward.down",
}


def norms(place: str) -> Table:
    """Names of a block's norms, which stand at this place of its residuals."""
    return {
        r"self_attn_layer_norm": f"self_attention_residual.{place}",
        r"encoder_attn_layer_norm": f"cross_attention_residual.{place}",
        r"final_layer_norm": f"feed_forward_residual.{place}",
    }


def usual(config, *, post_norm: bool, position: Position, embedding_norm: bool = False) -> Architecture:
    """Biases everywhere, LayerNorm, tied; what all but one of these share."""
    norm, context = Norm(kind="layer", epsilon=1e-5, bias=True), config.max_position_embeddings

    def stack(side: str) -> Stack:
        heads = getattr(config, f"{side}_attention_heads")
        attention = Attention(
            heads=heads, key_value_heads=heads, head_width=config.d_model // heads, bias=True, output_bias=True
        )
        activation = {"swish": "silu"}.get(config.activation_function, config.activation_function)
        block = Block(
            attention=attention,
            cross_attention=attention if side == "decoder" else None,
            feed_forward=FeedForward(
                width=getattr(config, f"{side}_ffn_dim"), activation=activation, gated=False, bias=True
            ),
            before=NO_NORM if post_norm else norm,
            outer=norm if post_norm else NO_NORM,
        )
        return Stack(
            blocks=getattr(config, f"{side}_layers") * (block,),
            position=position,
            embedding_norm=norm if embedding_norm else NO_NORM,
            final_norm=NO_NORM if post_norm else norm,
        )

    return Architecture(
        vocabulary=config.vocab_size,
        width=config.d_model,
        context=context,
        encoder=stack("encoder"),
        decoder=stack("decoder"),
        tied=True,
        embedding_scale=config.d_model**0.5 if config.scale_embedding else 1.0,
    )


def weights_of(theirs: nn.Module, *, fixed_positions: bool = False, own_source: bool = False) -> dict[str, Tensor]:
    """Their weights without copies of the shared embedding, the first two rows of positions, and fixed positions."""
    weights = {}
    for name, weight in theirs.state_dict().items():
        copied = name.endswith("shared.weight") or (name.endswith("encoder.embed_tokens.weight") and not own_source)
        if copied or (fixed_positions and "embed_positions" in name):
            continue
        weights[name] = weight[2:] if "embed_positions" in name else weight
    if "final_logits_bias" in weights:
        weights["final_logits_bias"] = weights["final_logits_bias"][0]
    return weights


def bart(theirs: nn.Module) -> Transformer:
    spec = usual(theirs.config, post_norm=True, position=Position(kind="learned"), embedding_norm=True)
    return build(replace(spec, logit_bias=True), weights_of(theirs), norms("outer") | USUAL)


def mbart(theirs: nn.Module) -> Transformer:
    spec = usual(theirs.config, post_norm=False, position=Position(kind="learned"), embedding_norm=True)
    return build(replace(spec, logit_bias=True), weights_of(theirs), norms("before") | USUAL)


def marian(theirs: nn.Module) -> Transformer:
    """Waves in halves; vocabularies that are not shared are two."""
    config, own = theirs.config, not theirs.config.share_encoder_decoder_embeddings
    spec = usual(config, post_norm=True, position=Position(kind="sinusoidal", halves=True))
    if own:
        spec = replace(spec, vocabulary=config.decoder_vocab_size, source_vocabulary=config.vocab_size)
    weights = weights_of(theirs, fixed_positions=True, own_source=own)
    return build(replace(spec, logit_bias=True), weights, norms("outer") | USUAL)


def m2m_100(theirs: nn.Module) -> Transformer:
    """Its waves end at exactly 1 / 10,000, which another base says; the first token stands at 2."""
    width = theirs.config.d_model
    base = 10_000.0 ** (width / (width - 2))
    position = Position(kind="sinusoidal", halves=True, base=base, offset=theirs.config.pad_token_id + 1)
    spec = usual(theirs.config, post_norm=False, position=position)
    return build(spec, weights_of(theirs), norms("before") | USUAL)


T5: Table = {
    r"^lm_head": "to_logits",
    r"^shared": "token_embedding",
    r"block\.0\.layer\.0\.SelfAttention\.relative_attention_bias": "position",
    r"\.final_layer_norm": ".final_norm",
    r"\.block\.": ".blocks.",
    r"layer\.0\.layer_norm": "self_attention_residual.before",
    r"layer\.0\.SelfAttention": "self_attention",
    r"layer\.1\.EncDecAttention": "cross_attention",
    r"^(decoder.*)layer\.1\.layer_norm": r"\1cross_attention_residual.before",
    r"layer\.\d\.layer_norm": "feed_forward_residual.before",
    r"layer\.\d\.DenseReluDense": "feed_forward",
    r"\.q\.": ".query.",
    r"\.k\.": ".key.",
    r"\.v\.": ".value.",
    r"\.o\.": ".output.",
    r"\.wi_0\.": ".gate.",
    r"\.wi(_1)?\.": ".up.",
    r"\.wo\.": ".down.",
}


def t5(theirs: nn.Module) -> Transformer:
    """Scores unscaled, logits scaled where they are tied; one table of biases a stack."""
    config, norm = theirs.config, Norm(kind="rms", epsilon=theirs.config.layer_norm_epsilon)
    gated, activation = config.is_gated_act, {"gelu_new": "gelu_tanh"}.get(config.dense_act_fn, config.dense_act_fn)
    attention = Attention(heads=config.num_heads, key_value_heads=config.num_heads, head_width=config.d_kv, scale=1.0)
    block = Block(
        attention=attention,
        feed_forward=FeedForward(width=config.d_ff, activation=activation, gated=gated),
        before=norm,
    )
    position = Position(
        kind="relative",
        buckets=config.relative_attention_num_buckets,
        distance=config.relative_attention_max_distance,
    )
    spec = Architecture(
        vocabulary=config.vocab_size,
        width=config.d_model,
        context=512,
        encoder=Stack(blocks=config.num_layers * (block,), position=position, final_norm=norm),
        decoder=Stack(
            blocks=config.num_decoder_layers * (replace(block, cross_attention=attention),),
            position=position,
            final_norm=norm,
        ),
        tied=theirs.lm_head.weight is theirs.shared.weight,
        logit_scale=config.d_model**-0.5 if config.scale_decoder_outputs else 1.0,
    )
    weights = {name: w for name, w in theirs.state_dict().items() if not re.search("coder.embed_tokens", name)}
    return build(spec, weights, T5)
