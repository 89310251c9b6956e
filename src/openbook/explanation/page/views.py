"""The views of a page by name: a function of the run and the parameters of the request, all texts."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.explanation.outline.outline import outline
from openbook.explanation.page.page_run import PageRun, View
from openbook.explanation.page.slices import recorded_tensor, weight_tensor
from openbook.explanation.views.beam_tree import search_tree
from openbook.explanation.views.cache_proof import cache_proof
from openbook.explanation.views.choice import Option, choice
from openbook.explanation.views.contributions import by_layer, contributions
from openbook.explanation.views.lens import lens_of_rows, residual_streams
from openbook.explanation.views.model_file_map import file_tensors, tensor_statistics
from openbook.explanation.views.nearest_words import cosines, nearer_words, nearest_words
from openbook.explanation.views.part_table import part_table
from openbook.explanation.views.prompt_positions import prompt_positions
from openbook.explanation.views.tokenizer_replay import replay_tokenizer
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch

Parameters = Mapping[str, str]
LENS_ROWS = 16
"""Rows of the logit lens that are computed unless more are asked for: each takes all logits of every layer."""


def number(parameters: Parameters, name: str, default: int) -> int:
    """A whole number from 0 among the parameters.

    Raises:
        OpenbookError: it is none.
    """
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OpenbookError(f"{name}: give a whole number")
    return int(text)


def real(parameters: Parameters, name: str, default: float) -> float:
    """A number among the parameters.

    Raises:
        OpenbookError: it is none.
    """
    try:
        value = float(parameters.get(name, default))
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise OpenbookError(f"{name}: give a number")
    return value


def _step(page: PageRun, parameters: Parameters) -> int:
    step = number(parameters, "step", 0)
    if step >= len(page.run.steps):
        raise OpenbookError(f"there is no step {step}; this run has steps 0 to {len(page.run.steps) - 1}")
    return step


def _row(page: PageRun, parameters: Parameters, step: int, name: str = "row") -> int:
    """A row of a step; its last one unless the parameters say otherwise."""
    length = page.run.steps[step].end - page.run.steps[step].first
    row = number(parameters, name, length - 1)
    if row >= length:
        raise OpenbookError(f"{name} {row}: step {step} has rows 0 to {length - 1}")
    return row


def _lens(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = _step(page, parameters)
    trace, last = page.run.trace(step), _row(page, parameters, step, "to")
    first = number(parameters, "from", max(0, last + 1 - LENS_ROWS))
    answer = number(parameters, "token", page.run.steps[step].chosen.token_id)
    first = min(first, last)
    layers = lens_of_rows(page.run.model, trace, range(first, last + 1), answer)
    norms = [stream[0, first : last + 1].norm(dim=-1).tolist() for stream in residual_streams(trace)]
    return {
        "first": first,
        "answer": page.model.named(answer),
        "rows": [
            {
                "layer": each[0].layer,
                "name": "embedding" if each[0].layer < 0 else f"layer {each[0].layer}",
                "cells": [
                    page.model.named(cell.token_id)
                    | {"probability": cell.probability, "answer_probability": cell.answer_probability}
                    | {"answer_rank": cell.answer_rank}
                    for cell in each
                ],
            }
            for each in layers
        ],
        "norms": norms,
    }


def _contributions(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = _step(page, parameters)
    row = _row(page, parameters, step)
    is_last = row == page.run.steps[step].end - page.run.steps[step].first - 1
    token, size = None, page.run.model.architecture.vocab_size
    if is_last or "token" in parameters:
        token = number(parameters, "token", page.run.steps[step].chosen.token_id)
        if token >= size:
            raise OpenbookError(f"token {token}: not in the vocabulary of {size:,}")
    found = contributions(page.run.model, page.run.trace(step), row, token)
    return {
        "token": page.model.named(found.token),
        "row": row,
        "logit": found.logit,
        "capped": found.capped,
        "sum": found.sum,
        "error": found.error,
        "note": "Each part is taken as the norms scaled it here, the final one included, so the parts add up.",
        "terms": [asdict(term) for term in found.terms],
        "layers": list(by_layer(found.terms, len(page.run.model.architecture.decoder.blocks))),
    }


def _prompt(page: PageRun, _: Parameters) -> dict[str, Any]:
    positions = list(prompt_positions(page.run))
    losses = [each.loss for each in positions if each.loss is not None and each.index + 1 < page.run.prompt_length]
    mean = sum(losses) / len(losses) if losses else None
    return {
        "positions": [
            {
                "index": each.index,
                **page.model.named(page.run.tokens[each.index]),
                "predicted": [page.model.named(token) | {"probability": p} for token, p in each.predicted],
                "came": None
                if each.came is None
                else page.model.named(each.came)
                | {"probability": each.probability, "rank": each.rank, "loss": each.loss}
                | {"written": each.index + 1 >= page.run.prompt_length},
            }
            for each in positions
        ],
        "mean_loss": mean,
        "perplexity": None if mean is None else math.exp(min(mean, 700)),
    }


def _choice(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = _step(page, parameters)
    changes: dict[str, Any] = {
        name: real(parameters, name, 0)
        for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty")
        if name in parameters
    }
    changes |= {name: number(parameters, name, 0) for name in ("seed", "top_k") if name in parameters}
    if changes.get("top_k") == 0:
        changes["top_k"] = None
    found = choice(page.run, step, changes)
    before = len(found.stages[0].logits)
    stages = []
    for stage in found.stages:
        stages.append(
            {"name": stage.name, "on": stage.on, "sentence": stage.sentence, "kept": stage.kept}
            | {"dropped": before - stage.kept}
        )
        before = stage.kept
    return {
        "settings": asdict(found.settings),
        "stages": stages,
        "candidates": [_candidate(page, option) for option in found.options],
        "greedy": found.greedy,
        "drawn": found.drawn,
        "chosen": page.model.named(found.chosen),
        "rest": {"count": found.rest_count, "probability": found.rest_probability},
    }


def _candidate(page: PageRun, option: Option) -> dict[str, Any]:
    return page.model.named(option.token) | {
        "rank": option.rank,
        "values": option.values,
        "probability": option.probability,
        "sampling_probability": option.sampling_probability,
        "from": option.start,
        "to": option.end,
        "dropped_by": option.dropped_by,
    }


def _tokenizer(page: PageRun, _: Parameters) -> dict[str, Any]:
    is_source = page.run.source is not None
    tokenizer = page.model.source_tokenizer if is_source else page.model.tokenizer
    found = replay_tokenizer(tokenizer, page.asked.prompt, page.model.merge_counts(is_source))
    return {
        "kind": found.kind,
        "text": page.asked.prompt,
        "normalised": found.normalised,
        "template": bool(page.asked.template),
        "note": found.note,
        "left_out": found.left_out,
        "words": [
            {
                "text": word.text,
                "symbols": word.symbols,
                "merges": [asdict(merge) for merge in word.merges],
                "tokens": [_source_or_target(page, token, is_source) for token in word.tokens],
            }
            for word in found.words
        ],
    }


POSITIONS = {
    "rotary": "Queries and keys are rotated, by an angle that grows with the position, so that a score depends on how "
    "far apart two tokens stand.",
    "sinusoidal": "A vector of waves, slow ones and fast ones, is added to each embedding: each position has its own.",
    "learned": "A trained vector for each position is added to the embedding.",
    "relative": "A trained number for the distance of two tokens is added to their score, in each head.",
    "none": "Nothing is added: the model knows the order only because no token sees later ones.",
}


def _positions(page: PageRun, _: Parameters) -> dict[str, Any]:
    names = ("angle", "frequency", "cosine", "sine", "position_embedding", "bucket", "bias")
    stacks = {}
    for name, stack in page.run.model.architecture.stacks.items():
        found = {
            path: record.name
            for path, record in page.run.trace(0).items()
            if path.startswith(f"{name}.") and ".blocks." not in path and record.name in names
        }
        kind = stack.position.kind
        stacks[name] = {
            "kind": kind,
            "sentence": POSITIONS[kind],
            "quantities": [{"path": path, "name": short} for path, short in found.items()],
            "layers": [(block.position or stack.position).kind for block in stack.blocks],
        }
    return {"stacks": stacks}


def _beams(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    run = page.run
    size = number(parameters, "beam_size", 4)
    settings = BeamSearch(
        beam_size=size,
        n_best=size,
        max_tokens=min(number(parameters, "max_tokens", 16), 64),
        length_penalty=real(parameters, "length_penalty", 1.0),
    )
    prompt = run.tokens[: run.prompt_length]
    text_of = partial(page.model.tokenizer.decode, skip_special=True)
    found = search_tree(TorchEngine(run.model), prompt, run.source, settings, run.rules, text_of)
    data = found.to_json()
    for node in data["nodes"]:  # type: ignore[attr-defined]
        node |= page.model.named(node["token"])
    best = [
        asdict(each) | {"text": text_of(each.tokens)} | {"labels": [page.model.label(token) for token in each.tokens]}
        for each in found.hypotheses
    ]
    return data | {"best": best}


def _cache(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = number(parameters, "step", 1)
    if step >= len(page.run.steps):
        raise OpenbookError("this run has no step that uses the cache; let it write at least two tokens")
    found = cache_proof(page.run, step)
    greatest = max(found.differences, key=lambda path: found.differences[path])
    why = ""
    stack = page.run.model.architecture.decoder
    scalings = [(block.position or stack.position).rope_scaling for block in stack.blocks]
    if any(each is not None and each.kind == "dynamic" for each in scalings):
        why = " Here angles depend on the length of the text, and keys in the cache keep those of a shorter one."
    return asdict(found) | {
        "greatest": found.differences[greatest],
        "where": greatest,
        "sentence": f"With the cache this step reads 1 token and computes {found.numbers_with:,} numbers; without it, "
        f"it reads {found.tokens_without:,} tokens again and computes {found.numbers_without:,}. The numbers of the "
        f"new token differ by at most {found.differences[greatest]:.1e}.{why}",
    }


def _file(page: PageRun, _: Parameters) -> dict[str, Any]:
    tensors = list(file_tensors(page.run.model, page.model, page.step(0)))
    size = None if page.model.state is None else page.model.state.size
    return {
        "file": page.model.name,
        "bytes": size,
        "changed": page.model.changed(),
        "tensors": [asdict(each) | {"parameters": math.prod(each.shape)} for each in tensors],
        "other_bytes": None if size is None else size - sum(each.bytes for each in tensors),
    }


def _tensor(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    name = parameters.get("name", "")
    tensor = weight_tensor(page.run, name)
    found = next(each for each in file_tensors(page.run.model, page.model, page.step(0)) if each.name == name)
    return asdict(found) | tensor_statistics(tensor)


def _words(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step, row, path = _step(page, parameters), number(parameters, "row", 0), parameters.get("path", "")
    before = parameters.get("before")
    model, source = page.run.model, path.startswith(("encoder.", "source_"))

    def vector(path: str) -> Any:
        value = recorded_tensor(page.run, step, path)
        if value.dim() != 3 or value.shape[-1] != model.architecture.width:
            raise OpenbookError(f"{path[:100]}: is no vector of width {model.architecture.width} for each token")
        if row >= value.shape[1]:
            raise OpenbookError(f"row {row}: {path[:100]} has rows 0 to {value.shape[1] - 1}")
        return value[0, row]

    def words(of: torch.Tensor) -> list[dict[str, Any]]:
        return [_source_or_target(page, each.token, source) | {"cosine": each.cosine} for each in nearest_words(of)]

    paths = [path] if before is None else [path, before]
    found = cosines(model, torch.stack([vector(each) for each in paths]), source=source)
    nearer = () if before is None else nearer_words(found[1], found[0])
    return {
        "path": path,
        "row": row,
        "words": words(found[0]),
        "before": None if before is None else {"path": before, "words": words(found[1])},
        "nearer": [
            _source_or_target(page, each.token, source) | {"from": each.before, "to": each.after} for each in nearer
        ],
    }


def _source_or_target(page: PageRun, token: int, source: bool) -> dict[str, Any]:
    return {"id": token, "text": page.model.text(token, source), "label": page.model.label(token, source)}


def _summary(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = _step(page, parameters)
    row = _row(page, parameters, step)
    sizes = {each.name: each for each in file_tensors(page.run.model, page.model, page.step(0))}
    return {
        "step": step,
        "row": row,
        "rows": [
            asdict(each)
            | {
                "tensors": [
                    {"name": name, "shape": sizes[name].shape, "bytes": sizes[name].bytes} for name in each.tensors
                ]
            }
            for each in part_table(page.run.model, page.run.trace(step), page.step(step), row)
        ],
    }


def _outline(page: PageRun, parameters: Parameters) -> dict[str, Any]:
    step = _step(page, parameters)
    return {"step": step, "sections": outline(page.run, page.model, page.step(step), len(page.asked.template))}


VIEWS: dict[str, View] = {
    "outline": _outline,
    "lens": _lens,
    "contributions": _contributions,
    "prompt": _prompt,
    "choice": _choice,
    "tokenizer": _tokenizer,
    "positions": _positions,
    "beams": _beams,
    "cache": _cache,
    "file": _file,
    "tensor": _tensor,
    "words": _words,
    "summary": _summary,
}
