"""The steps of the algorithm in the order in which they ran, made from the architecture and from what was recorded."""

from collections.abc import Iterator, Mapping
from typing import Any

from openbook.explanation.model_source import ModelSource
from openbook.explanation.outline import sentences
from openbook.explanation.outline.attention_steps import attention_step
from openbook.explanation.outline.facts import Facts
from openbook.explanation.outline.step import make_step, opens
from openbook.explanation.traced_generation import TracedRun
from openbook.transformer import architecture

Steps = list[dict[str, Any]]


def outline(run: TracedRun, model: ModelSource, step: Mapping[str, Any], template: int = 0) -> Steps:
    """Sections, each with its steps: what goes in, what happens, which weights, what comes out, in one sentence.

    Args:
        run, model: whose it is.
        step: the quantities of one step of the run, see `page.quantities`.
        template: how many tokens the chat template wrote.
    """
    facts = Facts(run, model, step["step"])
    quantities = {each["path"]: each for each in step["quantities"]}
    sections: Steps = []
    if "source" in quantities:
        sections.append(
            _section("The encoder reads", "encoder", None, _reading(facts, quantities, "encoder", template))
        )
        sections += _layers(facts, quantities, "encoder")
        sections.append(
            _section("What the decoder will attend to", "encoder", None, _final_norm(facts, quantities, "encoder"))
        )
    title = "The decoder reads" if run.source is not None else "Read"
    sections.append(_section(title, "decoder", None, _reading(facts, quantities, "decoder", template)))
    sections += _layers(facts, quantities, "decoder")
    sections.append(_section("Answer", "decoder", None, _answer(facts, quantities)))
    sections = [section for section in sections if section["steps"]]
    number = 0
    for section in sections:
        for each in section["steps"]:
            number += 1
            each["number"] = number
    return sections


def _section(title: str, stack: str, layer: int | None, steps: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "stack": stack, "layer": layer, "steps": list(steps)}


def _layers(facts: Facts, quantities: Mapping[str, Any], stack: str) -> Iterator[dict[str, Any]]:
    for layer, block in enumerate(facts.spec.stacks[stack].blocks):
        title = f"Layer {layer}" if facts.spec.encoder is None else f"{stack.capitalize()} layer {layer}"
        inside = {path: each for path, each in quantities.items() if path.startswith(f"{stack}.blocks.{layer}.")}
        yield _section(title, stack, layer, _block(facts, inside, stack, layer, block))


def _reading(facts: Facts, quantities: Mapping[str, Any], stack: str, template: int) -> Iterator[dict[str, Any]]:
    """From text to vectors."""
    names = (
        ("source_positions", "source") if stack == "encoder" else ("positions", "key_positions", "documents", "tokens")
    )
    is_first_text = stack == "encoder" or facts.run.source is None
    if facts.step > 0:
        yield make_step(
            quantities, f"{stack}.read", "Read the new token", names,
            f"Only {facts.followed(stack)} is read: the rest of the text is in the cache.",
            opens("panel", panel="cache"), ("cache",),
        )  # fmt: skip
    elif is_first_text:
        yield make_step(
            quantities, f"{stack}.tokenize", "Tokenize", names, sentences.tokenize(facts, stack, template),
            opens("panel", panel="tokenizer"), ("token", "tokenizer", "vocabulary"),
        )  # fmt: skip
    else:
        yield make_step(
            quantities, f"{stack}.start", "Start", names, sentences.start(facts), opens("answer"), ("special token",)
        )  # fmt: skip
    embedding = "source_embedding.output" if stack == "encoder" else "token_embedding.output"
    kind = facts.spec.stacks[stack].position.kind
    adds = kind in ("sinusoidal", "learned")
    yield make_step(
        quantities, f"{stack}.embed", "Embed", (embedding, *[f"{stack}.embedded"] * (not adds)), sentences.embed(facts),
        opens("model", stack=stack, path=embedding), ("embedding", "vector"),
    )  # fmt: skip
    if kind != "none":
        own = [path for path in quantities if _is_position(path, stack)] + [f"{stack}.embedded"] * adds
        title = "Add positions" if adds else "Positions"
        yield make_step(
            quantities, f"{stack}.positions", title, own, sentences.positions(kind),
            opens("panel", panel="positions", stack=stack), ("position", *_position_terms(kind)),
        )  # fmt: skip
    yield from _norm(facts, quantities, f"{stack}.embedding_norm", stack, None)


def _is_position(path: str, stack: str) -> bool:
    """Whether a quantity belongs to the positions of a stack."""
    before, _, name = path.rpartition(".")
    if before == stack:
        return name in ("angle", "position_embedding", "bucket", "bias")
    return before == f"{stack}.position" or before.startswith(f"{stack}.other_positions.")


def _position_terms(kind: str) -> tuple[str, ...]:
    known = {"rotary": "rotary position", "sinusoidal": "sinusoidal position", "relative": "relative position"}
    return (known[kind],) if kind in known else ()


def _block(
    facts: Facts, quantities: Mapping[str, Any], stack: str, layer: int, block: architecture.Block
) -> Iterator[dict[str, Any]]:
    """The steps of one layer."""
    path = f"{stack}.blocks.{layer}"
    for sublayer in ("self_attention", "cross_attention", "feed_forward"):
        if f"{path}.{sublayer}.output" not in quantities:
            continue
        yield from _norm(facts, quantities, f"{path}.{sublayer}_residual.before", stack, layer)
        if sublayer == "feed_forward":
            inside = [each for each in quantities if each.startswith(f"{path}.feed_forward.")]
            terms = ("feed-forward", "neuron", "activation") + ("gate",) * block.feed_forward.gated
            if block.feed_forward.experts is not None:
                terms = ("feed-forward", "expert", "router")
            yield make_step(
                quantities, f"{path}.feed_forward", "Feed-forward", inside,
                sentences.feed_forward(facts, f"{path}.feed_forward", stack, block.feed_forward),
                opens("layer", stack=stack, layer=layer, path=f"{path}.feed_forward.output"), terms,
            )  # fmt: skip
        else:
            yield attention_step(facts, quantities, stack, layer, sublayer)
        yield from _norm(facts, quantities, f"{path}.{sublayer}_residual.after", stack, layer)
        residual = f"{path}.{sublayer}_residual"
        yield make_step(
            quantities, residual, "Add to the stream", (f"{residual}.residual",),
            sentences.residual(facts, residual, stack),
            opens("layer", stack=stack, layer=layer, path=f"{residual}.residual"),
            ("residual connection", "residual stream"),
        )  # fmt: skip
        yield from _norm(facts, quantities, f"{residual}.outer", stack, layer)


def _norm(
    facts: Facts, quantities: Mapping[str, Any], path: str, stack: str, layer: int | None
) -> Iterator[dict[str, Any]]:
    """A normalization, where there is one."""
    if f"{path}.output" in quantities:
        own = [each for each in quantities if each.startswith(f"{path}.")]
        level = "model" if layer is None else "layer"
        yield make_step(
            quantities, path, "Normalize", own, sentences.norm(facts, path, stack),
            opens(level, stack=stack, layer=layer, path=f"{path}.output"), ("normalization",),
        )  # fmt: skip


def _final_norm(facts: Facts, quantities: Mapping[str, Any], stack: str) -> Iterator[dict[str, Any]]:
    yield from _norm(facts, quantities, f"{stack}.final_norm", stack, None)


def _answer(facts: Facts, quantities: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """From the last vector to the next token."""
    yield from _final_norm(facts, quantities, "decoder")
    own = [path for path in quantities if path.startswith("to_logits.") or path == "last"]
    yield make_step(
        quantities,
        "logits",
        "Logits",
        own,
        sentences.logits(facts),
        opens("model", path="to_logits.logits"),
        ("logit",),
    )
    yield make_step(
        quantities, "probabilities", "Softmax", ("probabilities",), sentences.probabilities(facts),
        opens("panel", panel="choice", path="probabilities"), ("softmax", "probability"),
    )  # fmt: skip
    terms = ("greedy",) if facts.run.steps[facts.step].drawn is None else ("sampling", "temperature", "seed")
    yield make_step(
        quantities, "choice", "Choose", ("choice",), sentences.choose(facts), opens("panel", panel="choice"), terms
    )
    yield make_step(quantities, "append", "Append, repeat", (), sentences.append(facts), opens("answer"), ())
