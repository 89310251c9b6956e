"""Scores of scale s are those of scale 1 with s times the queries: for families that have no scale of their own."""

from dataclasses import replace

from openbook.transformer.architecture import Architecture, Attention, Block, Stack


def scale_of(attention: Attention) -> float:
    """What the scores are multiplied by."""
    return attention.head_width**-0.5 if attention.scale is None else attention.scale


def without_scales(architecture: Architecture) -> Architecture:
    """The same with unscaled scores, wherever queries are not normalised (a norm would undo their factor)."""
    stacks = {name: _unscaled(stack) for name, stack in architecture.stacks.items()}
    return replace(architecture, **stacks)  # type: ignore[arg-type]


def _unscaled(stack: Stack) -> Stack:
    return replace(stack, blocks=tuple(map(_unscaled_block, stack.blocks)))


def _unscaled_block(block: Block) -> Block:
    parts = {"attention": block.attention, "cross_attention": block.cross_attention}
    changed = {
        name: replace(part, scale=1.0)
        for name, part in parts.items()
        if part is not None and part.query_key_norm.kind == "none"
    }
    return replace(block, **changed)  # type: ignore[arg-type]


def query_factors(own: Architecture, described: Architecture) -> dict[str, float]:
    """Our tensor's name → by what to multiply it, for the queries whose scale differs in the two architectures."""
    factors = {}
    for name, stack in own.stacks.items():
        for number, (block, other) in enumerate(zip(stack.blocks, described.stacks[name].blocks, strict=True)):
            pairs = {
                "self_attention": (block.attention, other.attention),
                "cross_attention": (block.cross_attention, other.cross_attention),
            }
            for part, (one, another) in pairs.items():
                if one is not None and another is not None and scale_of(one) != scale_of(another):
                    for leaf in ("weight", "bias"):
                        query = f"{name}.blocks.{number}.{part}.query.{leaf}"
                        factors[query] = scale_of(one) / scale_of(another)
    return factors
