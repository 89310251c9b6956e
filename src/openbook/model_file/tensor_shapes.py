"""Which tensors an architecture needs: their names and shapes, without PyTorch and at no cost in memory."""

from collections.abc import Iterator

from openbook.model_file.header import Shape
from openbook.transformer import architecture
from openbook.transformer.architecture import Architecture

Named = Iterator[tuple[str, Shape]]


def expected_shapes(spec: Architecture) -> dict[str, Shape]:
    """The name and shape of every tensor, in the order in which the module of the architecture has them."""
    return dict(_shapes(spec))


def _shapes(spec: Architecture) -> Named:
    yield "token_embedding.weight", (spec.vocab_size, spec.width)
    if spec.source_vocab_size is not None:
        yield "source_embedding.weight", (spec.source_vocab_size, spec.width)
    for name, stack in spec.stacks.items():
        yield from _stack(name, spec, stack)
    if not spec.tied_embeddings:
        yield "to_logits.weight", (spec.vocab_size, spec.width)
    if spec.logit_bias:
        yield "to_logits.bias", (spec.vocab_size,)


def _stack(name: str, spec: Architecture, stack: architecture.Stack) -> Named:
    if stack.position.kind == "learned":
        yield f"{name}.position.weight", (spec.context, spec.width)
    elif stack.position.kind == "relative":
        heads = next((b for b in stack.blocks if b.position is None), stack.blocks[0]).attention.heads
        yield f"{name}.position.weight", (stack.position.buckets, heads)
    yield from _norm(f"{name}.embedding_norm", spec.width, stack.embedding_norm)
    # Blocks of one kind share their list: a file may claim to have many.
    within: dict[architecture.Block, list[tuple[str, Shape]]] = {}
    for number, block in enumerate(stack.blocks):
        if block not in within:
            within[block] = list(_block(spec.width, block))
        yield from ((f"{name}.blocks.{number}.{rest}", shape) for rest, shape in within[block])
    yield from _norm(f"{name}.final_norm", spec.width, stack.final_norm)


def _block(width: int, block: architecture.Block) -> Named:
    yield from _attention("self_attention", width, block.attention)
    yield from _residual("self_attention_residual", width, block)
    if block.cross_attention is not None:
        yield from _attention("cross_attention", width, block.cross_attention)
        yield from _residual("cross_attention_residual", width, block)
    yield from _feed_forward("feed_forward", width, block.feed_forward)
    yield from _residual("feed_forward_residual", width, block)


def _residual(name: str, width: int, block: architecture.Block) -> Named:
    for part, norm in (("before", block.before), ("after", block.after), ("outer", block.outer)):
        yield from _norm(f"{name}.{part}", width, norm)


def _attention(name: str, width: int, spec: architecture.Attention) -> Named:
    inner, shared = spec.heads * spec.head_width, spec.key_value_heads * spec.head_width
    if spec.sinks:
        yield f"{name}.sinks", (spec.heads,)
    for part, outputs in (("query", inner), ("key", shared), ("value", shared)):
        yield from _linear(f"{name}.{part}", (outputs, width), spec.bias)
    yield from _linear(f"{name}.output", (width, inner), spec.output_bias)
    for part in ("query_norm", "key_norm"):
        yield from _norm(f"{name}.{part}", spec.head_width, spec.query_key_norm)


def _feed_forward(name: str, width: int, spec: architecture.FeedForward) -> Named:
    up, down = (spec.width, width), (width, spec.width)
    parts = [("up", up), ("down", down), *([("gate", up)] if spec.gated else [])]
    experts: Shape = ()
    if spec.experts is not None:
        experts = (spec.experts.count,)
        yield from _linear(f"{name}.router", (spec.experts.count, width), spec.experts.router_bias)
        parts = [("up", up), *([("gate", up)] if spec.gated else []), ("down", down)]
    for part, shape in parts:
        yield from _linear(f"{name}.{part}", (*experts, *shape), spec.bias)


def _linear(name: str, shape: Shape, bias: bool) -> Named:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:-1]


def _norm(name: str, width: int, spec: architecture.Norm) -> Named:
    if spec.kind != "none":
        yield f"{name}.weight", (width,)
        if spec.bias:
            yield f"{name}.bias", (width,)
