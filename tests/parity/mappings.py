"""How each foreign model is said in our parts: an architecture, and a table of names for its weights.

Written here by hand, independently of `model_file/families`, so that the core is tested without it.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack
from openbook.transformer.transformer import Transformer

Table = dict[str, str]

USUAL: Table = {
    r"^model\.embed_tokens": "token_embedding",
    r"^model\.layers": "decoder.blocks",
    r"^model\.norm": "decoder.final_norm",
    r"^lm_head": "to_logits",
    r"self_attn\.q_proj": "self_attention.query",
    r"self_attn\.k_proj": "self_attention.key",
    r"self_attn\.v_proj": "self_attention.value",
    r"self_attn\.o_proj": "self_attention.output",
    r"self_attn\.q_norm": "self_attention.query_norm",
    r"self_attn\.k_norm": "self_attention.key_norm",
    r"mlp\.gate_proj": "feed_forward.gate",
    r"mlp\.up_proj": "feed_forward.up",
    r"mlp\.down_proj": "feed_forward.down",
    r"input_layernorm": "self_attention_residual.before",
    r"post_attention_layernorm": "feed_forward_residual.before",
}


def build(spec: Architecture, weights: dict[str, Tensor], table: Table) -> Transformer:
    """Our model with these weights under our names; any name left over or missing is an error."""
    model, ours = Transformer(spec).eval(), {}
    for name, weight in weights.items():
        for pattern, replacement in table.items():
            name = re.sub(pattern, replacement, name)
        if not (spec.tied_embeddings and name == "to_logits.weight"):
            ours[name] = weight
    model.load_state_dict(ours)
    return model


def usual(config, norm: Norm, attention: dict | None = None, feed_forward: dict | None = None) -> Architecture:
    """Pre-norm, rotary, gated: what most share. The keywords go to `Attention` and `FeedForward`."""
    heads = config.num_attention_heads
    block = Block(
        attention=Attention(
            heads=heads,
            key_value_heads=config.num_key_value_heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // heads,
            **(attention or {}),
        ),
        feed_forward=FeedForward(width=config.intermediate_size, **(feed_forward or {})),
        before=norm,
    )
    rotation = config.rope_parameters.get("full_attention", config.rope_parameters)
    return Architecture(
        vocab_size=config.vocab_size,
        width=config.hidden_size,
        context=config.max_position_embeddings,
        decoder=Stack(
            blocks=config.num_hidden_layers * (block,),
            position=Position(base=float(rotation["rope_theta"])),
            final_norm=norm,
        ),
        tied_embeddings=config.tie_word_embeddings,
    )


def each_block(spec: Architecture, change: Callable[[int, Block], Block]) -> Architecture:
    """The architecture with every block changed by its number."""
    blocks = tuple(change(number, block) for number, block in enumerate(spec.decoder.blocks))
    return replace(spec, decoder=replace(spec.decoder, blocks=blocks))


def rms(config, offset: float = 0.0) -> Norm:
    return Norm(kind="rms", epsilon=config.rms_norm_eps, offset=offset)


def smollm3(theirs: nn.Module) -> Transformer:
    """Some layers do not rotate; its table says 1 where they do."""
    rotates, none = theirs.config.no_rope_layers, Position(kind="none")
    spec = each_block(
        usual(theirs.config, rms(theirs.config)),
        lambda number, block: block if rotates[number] else replace(block, position=none),
    )
    return build(spec, theirs.state_dict(), USUAL)


def granite(theirs: nn.Module) -> Transformer:
    """Its factor on each sublayer goes into the sublayer's last matrix."""
    config, weights = theirs.config, theirs.state_dict()
    spec = usual(config, rms(config), {"scale": config.attention_multiplier})
    for name in weights:
        if re.search(r"(o_proj|down_proj)", name):
            weights[name] = weights[name] * config.residual_multiplier
    spec = replace(spec, embedding_scale=config.embedding_multiplier, logit_scale=1 / config.logits_scaling)
    return build(spec, weights, USUAL)


def nemotron(theirs: nn.Module) -> Transformer:
    """LayerNorm of 1 + w, squared ReLU."""
    norm = Norm(kind="layer", epsilon=theirs.config.norm_eps, offset=1.0, bias=True)
    feed_forward = {"activation": "relu_squared", "gated": False}
    return build(usual(theirs.config, norm, feed_forward=feed_forward), theirs.state_dict(), USUAL)


def starcoder2(theirs: nn.Module) -> Transformer:
    config = theirs.config
    norm = Norm(kind="layer", epsilon=config.norm_epsilon, bias=True)
    attention = {"bias": True, "output_bias": True, "window": config.sliding_window}
    spec = usual(config, norm, attention, {"activation": "gelu_tanh", "gated": False, "bias": True})
    table = {**USUAL, r"mlp\.c_fc": "feed_forward.up", r"mlp\.c_proj": "feed_forward.down"}
    return build(spec, theirs.state_dict(), table)


def learned(config, block: Block, *, heads: int, context: int, final_norm: Norm, **attention) -> Architecture:
    """Learned positions, ungated feed-forward with biases, tied; `block` gives the places of its norms."""
    width = config.hidden_size
    attention = Attention(heads=heads, key_value_heads=heads, head_width=width // heads, **attention)
    return Architecture(
        vocab_size=config.vocab_size,
        width=width,
        context=context,
        decoder=Stack(
            blocks=config.num_hidden_layers * (replace(block, attention=attention),),
            position=Position(kind="learned"),
            final_norm=final_norm,
        ),
        tied_embeddings=True,
    )


def placed(norm: Norm, *, width: int, activation: str, post: bool = False) -> Block:
    """A block with this norm before its sublayers, or after the sum; its attention is filled in by `learned`."""
    some = Attention(heads=1, key_value_heads=1, head_width=1)
    none = Norm(kind="none")
    feed_forward = FeedForward(width=width, activation=activation, gated=False, bias=True)
    before, outer = (none, norm) if post else (norm, none)
    return Block(attention=some, feed_forward=feed_forward, before=before, outer=outer)


def split(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices that are stored transposed turned round, and the fused query, key and value cut apart."""
    parts = {}
    for name, weight in weights.items():
        if re.search(r"(c_attn|c_proj|c_fc)\.weight", name):
            weight = weight.T
        if "c_attn" in name:
            for part, piece in zip(("query", "key", "value"), weight.chunk(3), strict=True):
                parts[name.replace("attn.c_attn", f"self_attention.{part}")] = piece
        else:
            parts[name] = weight
    return parts


FUSED: Table = {
    r"^transformer\.(wte|tokens_embed)": "token_embedding",
    r"^transformer\.(wpe|positions_embed)": "decoder.position",
    r"^transformer\.h": "decoder.blocks",
    r"^transformer\.ln_f": "decoder.final_norm",
    r"^lm_head": "to_logits",
    r"\.attn\.c_proj": ".self_attention.output",
    r"mlp\.c_fc": "feed_forward.up",
    r"mlp\.c_proj": "feed_forward.down",
}


def gpt(theirs: nn.Module) -> Transformer:
    """Post-norm, and no norm at the end."""
    config = theirs.config
    norm = Norm(kind="layer", epsilon=config.layer_norm_epsilon, bias=True)
    block = placed(norm, width=4 * config.n_embd, activation="gelu_tanh", post=True)
    sizes = {"heads": config.n_head, "context": config.n_positions}
    spec = learned(config, block, final_norm=Norm(kind="none"), bias=True, output_bias=True, **sizes)
    table = {**FUSED, r"ln_1": "self_attention_residual.outer", r"ln_2": "feed_forward_residual.outer"}
    return build(spec, split(theirs.state_dict()), table)


def gpt_neo(theirs: nn.Module) -> Transformer:
    """Scores are not scaled, every other layer has a window, and only the output has a bias."""
    config = theirs.config
    norm = Norm(kind="layer", epsilon=config.layer_norm_epsilon, bias=True)
    block = placed(norm, width=4 * config.hidden_size, activation="gelu_tanh")
    sizes = {"heads": config.num_heads, "context": config.max_position_embeddings}
    spec = each_block(
        learned(config, block, final_norm=norm, output_bias=True, scale=1.0, **sizes),
        lambda number, block: replace(
            block,
            attention=replace(block.attention, window=config.window_size if number % 2 else None),
        ),
    )
    table = {
        **FUSED,
        r"ln_1": "self_attention_residual.before",
        r"ln_2": "feed_forward_residual.before",
        r"attn\.attention\.q_proj": "self_attention.query",
        r"attn\.attention\.k_proj": "self_attention.key",
        r"attn\.attention\.v_proj": "self_attention.value",
        r"attn\.attention\.out_proj": "self_attention.output",
    }
    return build(spec, theirs.state_dict(), table)


def opt(theirs: nn.Module) -> Transformer:
    """ReLU, and a table of positions whose first two rows are never used."""
    config, weights = theirs.config, theirs.state_dict()
    norm = Norm(kind="layer", bias=True, epsilon=1e-5)
    block = placed(norm, width=config.ffn_dim, activation="relu")
    sizes = {"heads": config.num_attention_heads, "context": config.max_position_embeddings}
    spec = learned(config, block, final_norm=norm, bias=True, output_bias=True, **sizes)
    positions = "model.decoder.embed_positions.weight"
    weights[positions] = weights[positions][2:]
    table = {
        r"^model\.decoder\.embed_tokens": "token_embedding",
        r"^model\.decoder\.embed_positions": "decoder.position",
        r"^model\.decoder\.final_layer_norm": "decoder.final_norm",
        r"^model\.decoder\.layers": "decoder.blocks",
        r"self_attn_layer_norm": "self_attention_residual.before",
        r"final_layer_norm": "feed_forward_residual.before",
        r"fc1": "feed_forward.up",
        r"fc2": "feed_forward.down",
        r"self_attn\.out_proj": "self_attention.output",
        **USUAL,
    }
    return build(spec, weights, table)
