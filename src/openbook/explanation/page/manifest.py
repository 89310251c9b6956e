"""The manifest: what a run is, which tokens it has, what its steps chose; everything else is asked for by name."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from openbook import __version__
from openbook.explanation.glossary import Term, terms_for
from openbook.explanation.model_source import ModelSource
from openbook.explanation.outline.outline import outline
from openbook.explanation.outline.path import learners_path
from openbook.explanation.traced_generation import Step, TracedRun
from openbook.explanation.views.not_finite import first_not_finite
from openbook.generation.generate import TokenProbability
from openbook.model_file.architecture_json import write_architecture
from openbook.model_file.architecture_summary import summarize
from openbook.text.printable import well_formed
from openbook.transformer import architecture

FORMAT = 1

NO_TOKEN = {"text": "no token", "label": "no token"}
"""What stands for the token of a step whose logits are not finite."""

LETTERS = {
    "b": "a row of the batch",
    "t": "a token",
    "s": "a token that it attends to, or one of the source",
    "h": "an attention head",
    "d": "a number of a token's vector",
    "k": "a number of a head's vector",
    "i": "a pair of numbers that rotate together, or a wave of positions",
    "f": "a neuron of the feed-forward part",
    "e": "an expert",
    "c": "a choice among experts",
    "v": "a token of the vocabulary",
    "_": "an axis of length 1",
}


@dataclass(frozen=True)
class Asked:
    """What a person asked for.

    Attributes:
        prompt: the text.
        target: the translation so far, for a translator.
        raw: whether the chat template was left out.
        template: indices of the tokens that the chat template wrote.
        start: how many tokens begin a target before the given text.
        languages: of a translator that has several.
        prompt_length: tokens of the prompt, where others are given after it.
    """

    prompt: str
    target: str = ""
    raw: bool = False
    template: frozenset[int] = frozenset()
    start: int = 0
    languages: Mapping[str, str | None] = field(default_factory=dict)
    prompt_length: int | None = None


def manifest(run: TracedRun, model: ModelSource, asked: Asked, first: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a page needs before it draws anything; `first` has the quantities of step 0."""
    sections = outline(run, model, first, len(asked.template))
    return {
        "format": FORMAT,
        "version": __version__,
        "model": _model(run, model),
        "prompt": well_formed(asked.prompt),
        "target": well_formed(asked.target),
        "raw": asked.raw,
        "settings": asdict(run.settings),
        "source": None if run.source is None else source_tokens(run, model),
        "tokens": tokens(run, model, asked),
        "prompt_length": run.prompt_length,
        "target_ids": run.tokens[asked.prompt_length or run.prompt_length : run.prompt_length],
        "answer": {
            "text": well_formed(model.tokenizer.decode(run.written, skip_special=True)),
            "finish_reason": run.finish_reason,
        },
        "steps": [_step(run, model, step) for step in run.steps],
        "not_finite": first_not_finite(run),
        "outline": sections,
        "path": learners_path(run, model, sections),
        "glossary": {title: asdict(term) for title, term in _terms(run, first).items()},
        "letters": LETTERS,
        "changed": model.changed(),
        "carried": None,
    }


def tokens(run: TracedRun, model: ModelSource, asked: Asked) -> list[dict[str, Any]]:
    """The prompt (or the target so far), then what was written."""
    special = set(model.tokenizer.special_ids.values())
    listed = []
    for index, token in enumerate(run.tokens):
        listed.append(
            {"index": index, **model.named(token), "position": index}
            | {"made_by": _made_by(run, asked, index), "step": run.step_of(index), "special": token in special}
        )
    if not run.steps[-1].finite:
        listed[-1] |= NO_TOKEN
    return listed


def source_tokens(run: TracedRun, model: ModelSource) -> list[dict[str, Any]]:
    """What the encoder read."""
    special = set(model.source_tokenizer.special_ids.values())
    return [
        {"index": index, "id": token, "text": model.text(token, source=True), "label": model.label(token, source=True)}
        | {"position": index, "made_by": "template" if token in special else "prompt", "step": 0}
        | {"special": token in special}
        for index, token in enumerate(run.source or ())
    ]


def _made_by(run: TracedRun, asked: Asked, index: int) -> str:
    if index >= run.prompt_length:
        return "written"
    if run.source is not None:
        return "start" if index < asked.start else "target"
    if index in asked.template:
        return "template"
    return "target" if asked.prompt_length is not None and index >= asked.prompt_length else "prompt"


def _step(run: TracedRun, model: ModelSource, step: Step) -> dict[str, Any]:
    return {
        "step": step.number,
        "reads": [step.first, step.end],
        "token_index": step.end,
        **_probable(model, step.chosen),
        **({} if step.finite else NO_TOKEN),
        "finite": step.finite,
        "drawn": step.drawn,
        "alternatives": [_probable(model, each) for each in step.alternatives],
    }


def _probable(model: ModelSource, token: TokenProbability) -> dict[str, Any]:
    return {
        **model.named(token.token_id),
        "probability": token.probability,
        "sampling_probability": token.sampling_probability,
    }


def _model(run: TracedRun, model: ModelSource) -> dict[str, Any]:
    spec = run.model.architecture
    weight = run.model.token_embedding.weight
    return {
        "file": model.name,
        "bytes": None if model.state is None else model.state.size,
        "kind": "decoder-only" if spec.encoder is None else "encoder-decoder",
        "parameters": sum(each.numel() for each in run.model.parameters()),
        "vocab_size": spec.vocab_size,
        "source_vocab_size": spec.source_vocab_size,
        "width": spec.width,
        "context": spec.context,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "summary": summarize(spec),
        "architecture": json.loads(write_architecture(spec)),
        "stacks": {name: _stack(name, stack) for name, stack in spec.stacks.items()},
    }


def _stack(name: str, stack: architecture.Stack) -> dict[str, Any]:
    return {
        "position": stack.position.kind,
        "final_norm": stack.final_norm.kind,
        "layers": [_layer(f"{name}.blocks.{number}", number, block) for number, block in enumerate(stack.blocks)],
    }


def _layer(path: str, number: int, block: architecture.Block) -> dict[str, Any]:
    attention, feed_forward, experts = block.attention, block.feed_forward, block.feed_forward.experts
    return {
        "layer": number,
        "path": path,
        "heads": attention.heads,
        "key_value_heads": attention.key_value_heads,
        "head_width": attention.head_width,
        "window": attention.window,
        "attention_function": attention.attention_function,
        "experts": None if experts is None else {"count": experts.count, "chosen": experts.experts_per_token},
        "neurons": feed_forward.width,
        "gated": feed_forward.gated,
        "cross": block.cross_attention is not None,
    }


def _terms(run: TracedRun, first: Mapping[str, Any]) -> dict[str, Term]:
    """The terms of the glossary that fit this run."""
    spec, greedy = run.model.architecture, run.settings.temperature == 0
    attention = [block.attention for stack in spec.stacks.values() for block in stack.blocks]
    absent = {
        "encoder": spec.encoder is None,
        "cross-attention": spec.encoder is None,
        "grouped heads": all(each.heads == each.key_value_heads for each in attention),
        "sink": not any(each.sinks for each in attention),
        "sampling": greedy,
        "temperature": greedy,
        "seed": greedy,
        "greedy": not greedy,
    }
    names = {quantity["name"] for quantity in first["quantities"]}
    return terms_for(names, {title for title, is_absent in absent.items() if is_absent})
