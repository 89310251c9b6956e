"""The learner's path: about twenty stops from the text to the chosen token, then on to the second one."""

from collections.abc import Iterator, Mapping
from typing import Any

from openbook.explanation.model_source import ModelSource
from openbook.explanation.outline.facts import Facts
from openbook.explanation.outline.step import opens
from openbook.explanation.traced_generation import TracedRun
from openbook.text.printable import printable

Section = Mapping[str, Any]
ONCE = {"Normalize", "Add to the stream", "Embed", "Positions", "Add positions", "Feed-forward"}
"""What the path stops at only the first time."""


def learners_path(run: TracedRun, model: ModelSource, sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stops, each with its sentence and the view that it opens.

    Args:
        run, model: whose path it is.
        sections: the outline of step 0.
    """
    facts = Facts(run, model, 0)
    stops = [_first(facts)]
    shown: set[str] = set()
    for section in sections:
        layer, title = section["layer"], section["title"]
        if layer is None:
            new = [_stop(step, title) for step in section["steps"]]
        elif layer == 0:
            new = list(_of_layer(section, brief=section["stack"] == "decoder" and run.source is not None))
        else:
            new = [_other_layers(facts, section)] if layer == 1 else []
        stops += [stop for stop in new if stop["title"] not in ONCE or stop["title"] not in shown]
        shown |= {stop["title"] for stop in new}
    return [*stops, *_later(facts)]


def _first(facts: Facts) -> dict[str, Any]:
    count = facts.run.prompt_length if facts.run.source is None else len(facts.run.source)
    written = len(facts.run.steps)
    what = "tokens of the source" if facts.run.source is not None else "tokens"
    sentence = (
        f"The model reads {count:,} {what} and writes {written:,}, one at a time; here is how it finds the first."
    )
    if count == 1:
        sentence = sentence.replace(what, what.replace("tokens", "token"), 1)
    return {"step": 0, "title": "From text to answer", "sentence": sentence, "outline": None, "opens": opens("answer")}


def _stop(step: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {
        "step": 0,
        "section": section,
        "title": step["title"],
        "sentence": step["sentence"],
        "outline": step["id"],
        "opens": step["opens"],
        "terms": step["terms"],
    }


def _of_layer(section: Section, brief: bool) -> Iterator[dict[str, Any]]:
    """The first layer in detail: of attention each substep, or where the encoder has shown them, the whole."""
    for step in section["steps"]:
        if not step["substeps"] or (brief and step["title"] == "Attention"):
            yield _stop(step, section["title"])
        elif step["title"] == "Cross-attention":
            shown = ("query", "softmax", "context")
            substeps = [each for each in step["substeps"] if each["id"].rpartition(".")[2] in shown]
            yield from (_stop(each, f"{section['title']}, cross-attention") for each in substeps)
        else:
            yield from (_stop(each, f"{section['title']}, attention") for each in step["substeps"])


def _other_layers(facts: Facts, section: Section) -> dict[str, Any]:
    stack = section["stack"]
    count = len(facts.spec.stacks[stack].blocks)
    which = "Layer 1 does" if count == 2 else f"Layers 1 to {count - 1} do"
    sentence = f"{which} the same with weights of their own, each on what the layer before left."
    if count == 2:
        sentence = sentence.replace("their own, each", "its own,")
    shown = opens("model", stack=stack)
    return {"step": 0, "title": "The other layers", "sentence": sentence, "outline": None, "opens": shown}


def _later(facts: Facts) -> Iterator[dict[str, Any]]:
    """The second token, and why the prompt is not computed again."""
    run = facts.run
    if len(run.steps) < 2:
        return
    read, second = facts.quoted(run.tokens[run.prompt_length]), facts.chosen(1)
    again = "the source and the text before it are" if run.source is not None else "the prompt is"
    yield {
        "step": 1,
        "title": "The second token",
        "sentence": f"Step 1 reads only {read} and finds {second}; {again} not computed again.",
        "outline": None,
        "opens": opens("model", stack="decoder"),
        "terms": ["cache"],
    }
    what = "keys and values of the source and of all earlier tokens" if run.source is not None else "keys and values"
    yield {
        "step": 1,
        "title": "Why not again",
        "sentence": f"A token's {what} never change, so the cache keeps them; with and without it the numbers agree."
        if run.source is None
        else f"The {what} never change, so the cache keeps them; with and without it the numbers agree.",
        "outline": None,
        "opens": opens("panel", panel="cache", step=1),
        "terms": ["cache"],
    }
    answer = facts.model.tokenizer.decode(run.written, skip_special=True).strip()
    reason = {"end": "the end token came", "not finite": "logits are not finite"}.get(
        str(run.finish_reason), "as many tokens as asked for are written"
    )
    yield {
        "step": len(run.steps) - 1,
        "title": "The answer",
        "sentence": f"So it goes on until {reason}: “{printable(answer)}”.",
        "outline": None,
        "opens": opens("answer"),
    }
