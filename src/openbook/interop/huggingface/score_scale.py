"""Families without a scale for attention scores: s · (q · k) = (s · q) · k, so the queries' weights take the scale."""

from dataclasses import replace

from openbook.transformer.architecture import Architecture, Block, Stack


def with_unscaled_scores(architecture: Architecture) -> Architecture:
    """The same with a scale of 1, except where queries are normalized: a norm would undo their factor."""
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
    """Query tensors whose scale differs in the two architectures → what to multiply them by on the way from the first
    to the second.
    """
    factors = {}
    for name, stack in own.stacks.items():
        for number, (block, other) in enumerate(zip(stack.blocks, described.stacks[name].blocks, strict=True)):
            pairs = {
                "self_attention": (block.attention, other.attention),
                "cross_attention": (block.cross_attention, other.cross_attention),
            }
            for module, (one, another) in pairs.items():
                if one is not None and another is not None and one.score_scale != another.score_scale:
                    for leaf in ("weight", "bias"):
                        query = f"{name}.blocks.{number}.{module}.query.{leaf}"
                        factors[query] = one.score_scale / another.score_scale
    return factors
