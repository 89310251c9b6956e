"""The steps inside attention, those that do something in this model."""

from collections.abc import Iterator, Mapping
from typing import Any

from openbook.explanation.outline import sentences
from openbook.explanation.outline.facts import Facts
from openbook.explanation.outline.step import make_step, opens


def attention_step(
    facts: Facts, quantities: Mapping[str, Any], stack: str, layer: int, sublayer: str
) -> dict[str, Any]:
    """Self-attention or cross-attention of a layer, with its substeps; it opens the head that looks most firmly."""
    path, cross = f"{stack}.blocks.{layer}.{sublayer}", sublayer == "cross_attention"
    block = facts.block(stack, layer)
    spec = block.cross_attention if cross and block.cross_attention is not None else block.attention
    head = firmest_head(facts, path)
    own = [each for each in quantities if each.startswith(f"{path}.")]
    return make_step(
        quantities,
        path,
        "Cross-attention" if cross else "Attention",
        own,
        sentences.attention(facts, path, stack, spec, head),
        opens("head", stack=stack, layer=layer, head=head, path=f"{path}.weights"),
        ("cross-attention" if cross else "self-attention", "attention", "attention head"),
        list(_substeps(facts, quantities, stack, layer, path, head)),
    )


def firmest_head(facts: Facts, path: str) -> int:
    """The head whose largest weight of the followed token, on another token where there is one, is the largest."""
    weights = facts.value(f"{path}.weights")[:, -1].abs()
    others = weights[:, :-1] if weights.shape[1] > 1 and ".cross_attention" not in path else weights
    return int(others.amax(-1).argmax())


def _substeps(
    facts: Facts, quantities: Mapping[str, Any], stack: str, layer: int, path: str, head: int
) -> Iterator[dict[str, Any]]:
    cross = path.endswith("cross_attention")
    block = facts.block(stack, layer)
    spec = block.cross_attention if cross and block.cross_attention is not None else block.attention

    def has(name: str) -> bool:
        return f"{path}.{name}" in quantities

    def substep(name: str, title: str, notes: tuple[str, ...], sentence: str, terms: tuple[str, ...]) -> dict[str, Any]:
        own = [each for each in quantities if each.startswith(tuple(f"{path}.{note}" for note in notes))]
        exact = [each for each in own if each.removeprefix(f"{path}.") in notes or "_norm." in each]
        shown = opens("head", stack=stack, layer=layer, head=head, path=exact[-1] if exact else None)
        return make_step(quantities, f"{path}.{name}", title, exact, sentence, shown, terms)

    from_cache = cross and not has("key")
    grouped = ("grouped heads",) if spec.key_value_heads != spec.heads else ()
    yield substep(
        "query", "Query, key, value", ("query", "key", "value", "query_norm.", "key_norm."),
        sentences.query_key_value(spec, cross, from_cache), ("query", "key", "value", *grouped),
    )  # fmt: skip
    if facts.position(stack, layer).kind == "rotary" and not cross:
        rotated = ("rotated_query", "rotated_key")
        yield substep("rotate", "Rotate", rotated, sentences.rotate(facts, stack), ("rotary position",))
    cached = 0 if cross or stack == "encoder" else facts.run.steps[facts.step].first
    if cached or grouped:
        terms = ("cache",) * bool(cached) + grouped
        yield substep("share", "Keys and values", ("keys", "values"), sentences.shared(spec, cached), terms)
    yield substep("scores", "Scores", ("scores",), sentences.scores(facts, path, stack, head), ("score",))
    if has("biased_scores"):
        said = "The trained number for the distance of the two tokens is added to each score."
        yield substep("bias", "Add the bias", ("biased_scores",), said, ("relative position",))
    if has("capped_scores"):
        said = f"Scores are squashed into the range from −{spec.attention_softcap:g} to {spec.attention_softcap:g}."
        yield substep("cap", "Soft cap", ("capped_scores",), said, ("soft cap",))
    if has("masked_scores"):
        said, terms = sentences.mask(facts, path, stack, spec), ("mask",) + ("causal mask",) * (stack == "decoder")
        yield substep("mask", "Mask", ("mask", "masked_scores"), said, terms)
    said = sentences.softmax(facts, path, stack, spec, head)
    if spec.attention_function == "none":
        yield substep("softmax", "Weights", ("weights",), said, ("attention weight",))
    else:
        yield substep(
            "softmax", "Softmax", ("weights",), said, ("softmax", "attention weight") + ("sink",) * spec.sinks
        )
    yield substep(
        "context", "Context", ("head_context", "context"), sentences.context(facts, stack, spec), ("context",)
    )
    yield substep("output", "Output", ("output",), sentences.output(facts, spec), ("weight",))
