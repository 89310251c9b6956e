"""Rotary positions in a config.json: rope_theta and rope_scaling in transformers 4, rope_parameters in 5."""

import math
from typing import Any

from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Position, RopeScaling

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")


def read_rotary(config: ConfigFields, context: int) -> Position:
    """The positions of a model whose layers are all alike."""
    return _read(_parameters(config), context, config.number("rope_theta", 10_000.0), _original(config))


def read_rotary_by_layer(config: ConfigFields, context: int, local_base: str) -> tuple[Position, Position]:
    """Positions of layers without and with a window; transformers 4 has the field `local_base` for the latter."""
    base, local = config.number("rope_theta", 1_000_000.0), config.number(local_base, 10_000.0)
    both, scaling = config.nested("rope_parameters"), config.nested("rope_scaling")
    full = sliding = None
    if both is not None:
        full, sliding = both.nested("full_attention"), both.nested("sliding_attention")
        both.finish()
    original = _original(config)
    return _read(scaling or full, context, base, original), _read(sliding, context, local, original)


def write_rotary(position: Position) -> dict[str, Any]:
    """The fields of transformers 4 and of 5, so that either takes the file."""
    parameters = rope_parameters(position)
    written: dict[str, Any] = {
        "rope_theta": position.base,
        "rope_parameters": {**parameters, "rope_theta": position.base},
    }
    if position.rope_scaling is not None:
        written["rope_scaling"] = parameters
    return written


def rope_parameters(position: Position) -> dict[str, Any]:
    """The fields of rope_scaling or rope_parameters, without the base."""
    rope_scaling = position.rope_scaling
    if rope_scaling is None:
        return {"rope_type": "default"}
    match rope_scaling.kind:
        case "frequency_bands":
            more = {
                "rope_type": "llama3",
                "low_freq_factor": rope_scaling.low_frequency,
                "high_freq_factor": rope_scaling.high_frequency,
                "original_max_position_embeddings": rope_scaling.original_context,
            }
        case "yarn":
            more = {
                "rope_type": "yarn",
                "beta_slow": rope_scaling.low_frequency,
                "beta_fast": rope_scaling.high_frequency,
                "original_max_position_embeddings": rope_scaling.original_context,
                "attention_factor": rope_scaling.attention_factor,
                "truncate": rope_scaling.truncate,
            }
        case _:
            more = {"rope_type": rope_scaling.kind}
    return {**more, "factor": rope_scaling.factor}


def _parameters(config: ConfigFields) -> ConfigFields | None:
    new, old = config.nested("rope_parameters"), config.nested("rope_scaling")
    return old or new


def _original(config: ConfigFields) -> int | None:
    return config.optional_integer("original_max_position_embeddings")


def _read(found: ConfigFields | None, context: int, base: float, original: int | None) -> Position:
    if found is None:
        return Position(base=base)
    older = found.choice("type", {name: name for name in KINDS}, "default")
    kind = found.choice("rope_type", {name: name for name in KINDS}, older)
    base = found.number("rope_theta", base)
    found.only("partial_rotary_factor", 1, 1.0)
    rope_scaling = None if kind == "default" else _rope_scaling(kind, found, context, base, original)
    found.finish()
    return Position(base=base, rope_scaling=rope_scaling)


def _rope_scaling(kind: str, found: ConfigFields, context: int, base: float, original: int | None) -> RopeScaling:
    if kind in ("linear", "dynamic"):
        found.only("original_max_position_embeddings", context)
        return RopeScaling(
            kind="linear" if kind == "linear" else "dynamic", factor=found.number("factor"), original_context=context
        )
    inside = found.integer("original_max_position_embeddings", context)
    original = inside if original is None else original
    if kind == "llama3":
        low, high = found.number("low_freq_factor"), found.number("high_freq_factor")
        return RopeScaling(
            kind="frequency_bands",
            factor=found.number("factor"),
            original_context=original,
            low_frequency=low,
            high_frequency=high,
        )
    factor = found.optional_number("factor")
    factor = context / original if factor is None else factor
    attention, numerator, denominator = (
        found.optional_number(name) for name in ("attention_factor", "mscale", "mscale_all_dim")
    )
    if attention is None and numerator and denominator:
        attention = _attention(factor, numerator) / _attention(factor, denominator)
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_context=original,
        low_frequency=found.optional_number("beta_slow") or 1.0,
        high_frequency=found.optional_number("beta_fast") or 32.0,
        truncate=found.with_defaults({"truncate": True}).boolean("truncate", False),
        attention_factor=_attention(factor) if attention is None else attention,
    )


def _attention(factor: float, scale: float = 1.0) -> float:
    """0.1 · scale · ln(factor) + 1   (Peng et al. 2023, eq. 22)."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0
