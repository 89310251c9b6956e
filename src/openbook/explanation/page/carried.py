"""What a page in a file carries: the manifest, and as much of the run as its size takes, the most telling first."""

import base64
import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from torch import Tensor

from openbook.errors import OpenbookError, SettingError
from openbook.explanation.page.json_values import to_json
from openbook.explanation.page.page_run import PageRun
from openbook.explanation.page.slices import as_safetensors, pooled, weight_tensor
from openbook.text.formatting import format_bytes

BASE64 = 4 / 3
PACKED = 0.95
"""How much smaller gzip makes float32 numbers, at the least."""
POOLED = 24
"""Rows and columns to which large weights are reduced for their heat map."""

SMALL = 5_000_000
"""Numbers of which the words nearest to all vectors of a step are found at once."""

# Names of recorded quantities in the order in which they are worth carrying; others follow in computed order.
FIRST = (
    *(
        "tokens",
        "positions",
        "source",
        "source_positions",
        "probabilities",
        "choice",
        "weights",
        "residual",
        "embedded",
    ),
    *("mean_square", "mean", "variance", "scores", "masked_scores", "mask", "biased_scores", "capped_scores", "bucket"),
    *("angle", "cosine", "sine", "position_embedding", "bias", "head_context", "output", "context"),
    *("query", "key", "value", "rotated_query", "rotated_key", "keys", "values", "chosen", "gate_weight"),
)
LAST = ("logits", "uncapped", "up", "gate", "activation", "hidden", "expert_output")


@dataclass
class Carried:
    """What is carried so far.

    Attributes:
        limit: bytes that the whole may take.
        entries: of each slice: where it belongs.
        tensors: the slices.
        used: bytes that they take in the file, estimated.
        left_out: names of quantities that did not fit, and how often.
    """

    limit: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    used: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, entry: dict[str, Any], tensor: Tensor) -> bool:
        """Carry a tensor if it fits."""
        size = 4 * tensor.numel() * PACKED * BASE64
        if self.used + size > self.limit:
            return False
        self.used += size
        self.entries.append(entry)
        self.tensors.append(tensor)
        return True


def carry(page: PageRun, limit: int, door: str, frame: int = 0) -> tuple[str, str, list[str]]:
    """The two parts of a page's data, packed: the JSON, and the slices; and in words what is left out.

    Args:
        page: the run.
        limit: bytes that both may take, with the page around them.
        door: "file" or "notebook".
        frame: bytes of the page around them.

    Raises:
        OpenbookError: even the manifest does not fit.
    """
    steps = range(len(page.run.steps))
    views = dict(_views(page))
    data: dict[str, Any] = {"steps": {str(step): page.step(step) for step in steps}, "views": views}
    base = frame + len(_packed(to_json(data).encode())) + len(_packed(to_json(page.manifest()).encode()))
    if base > limit:
        least = format_bytes(base)
        raise SettingError(f"`size`: without any number it takes {least}; give more, or let it write fewer tokens")
    carried = Carried(limit - base)
    whole = _add_quantities(page, carried)
    weights = _add_weights(page, carried) if whole else False
    pooled = {} if weights else _add_pooled(page, carried)
    manifest = page.manifest() | {"door": door, "run": 0, "carried": _stated(page, carried, limit, weights)}
    data |= {
        "manifest": manifest,
        "slices": carried.entries,
        "pooled": pooled,
        "offsets": {name: each._asdict() for name, each in page.model.offsets.items()},
    }
    tensors = {str(number): tensor for number, tensor in enumerate(carried.tensors)}
    left_out: list[str] = manifest["carried"]["left_out"]
    return _packed(to_json(data).encode()), _packed(as_safetensors(tensors)), left_out


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _add_quantities(page: PageRun, carried: Carried) -> bool:
    """Carry recorded quantities, the most telling first; return whether all fitted."""
    order = {name: number for number, name in enumerate((*FIRST, "", *LAST))}
    every = [(step, each) for step in range(len(page.run.steps)) for each in page.step(step)["quantities"]]
    every.sort(key=lambda pair: order.get(pair[1]["name"], order[""]))
    for step, quantity in every:
        path, shape = quantity["path"], quantity["shape"]
        entry: dict[str, Any] = {"step": step, "path": path, "shape": shape, "ranges": None}
        tensor = page.run.trace(step)[path].value
        if carried.add(entry, tensor):
            continue
        carried.left_out[quantity["name"]] += 1
        if quantity["name"] == "logits":  # of the last token they fit, and they are what chose
            entry["ranges"] = [[0, shape[0]], [shape[1] - 1, shape[1]], [0, shape[2]]]
            carried.add(entry, tensor[:, -1:])
    return not carried.left_out


def _add_weights(page: PageRun, carried: Carried) -> bool:
    """Carry all weights, or none."""
    parameters = dict(page.run.model.named_parameters())
    size = sum(4 * each.numel() for each in parameters.values()) * PACKED * BASE64
    if carried.used + size > carried.limit:
        return False
    for name, parameter in parameters.items():
        carried.add({"weight": name, "shape": list(parameter.shape), "ranges": None}, parameter.detach())
    return True


def _add_pooled(page: PageRun, carried: Carried) -> dict[str, list[int]]:
    """Carry small pictures of the weights: for each tensor the numbers of three slices, mean, least, largest."""
    found: dict[str, list[int]] = {}
    for name, _ in page.run.model.named_parameters():
        pictures = pooled(weight_tensor(page.run, name), POOLED, POOLED)
        first = len(carried.tensors)
        added = [carried.add({"pooled": name}, each) for each in pictures.values()]
        if not all(added):
            break
        found[name] = [first, first + 1, first + 2]
    return found


def _stated(page: PageRun, carried: Carried, limit: int, weights: bool) -> dict[str, Any]:
    """What the file carries, and in words what it leaves out."""
    total = sum(len(page.step(step)["quantities"]) for step in range(len(page.run.steps)))
    lines = [f"{name}: {count:,} of them do not fit" for name, count in carried.left_out.most_common()]
    if not weights:
        lines.append("the weights themselves: small pictures of them are here, and their place in the model file")
    return {
        "limit": limit,
        "quantities": total - sum(carried.left_out.values()),
        "of": total,
        "weights": weights,
        "left_out": lines,
    }


def _views(page: PageRun) -> Iterator[tuple[str, Any]]:
    """The views, each under the address by which the page asks for it."""
    for name, parameters in _wanted(page):
        try:
            yield _address(name, parameters), page.view(name, parameters)
        except OpenbookError:
            continue  # what this run does not have


def _wanted(page: PageRun) -> Iterator[tuple[str, dict[str, str]]]:
    steps = range(len(page.run.steps))
    yield from ((name, {}) for name in ("prompt", "tokenizer", "positions", "file"))
    for step in steps:
        each = {"step": str(step)}
        yield from ((name, each) for name in ("lens", "choice", "outline", "summary", "contributions"))
        if step:
            yield "cache", each
        rows = page.run.steps[step].end - page.run.steps[step].first
        if rows <= 16:
            yield from (("contributions", each | {"row": str(row)}) for row in range(rows))
        yield from _words(page, step)
    if page.run.source is not None:
        yield "beams", {}
    yield from (("tensor", {"name": name}) for name, _ in page.run.model.named_parameters())


def _words(page: PageRun, step: int) -> Iterator[tuple[str, dict[str, str]]]:
    """What each layer did to each token; in a large model, to the last token alone."""
    trace, spec = page.run.trace(step), page.run.model.architecture
    for stack, each in spec.stacks.items():
        for layer in range(len(each.blocks)):
            path = f"{stack}.blocks.{layer}.feed_forward_residual.residual"
            before = trace.inputs.get(f"{stack}.blocks.{layer}.self_attention_residual", (None,))[0]
            if path not in trace or before is None:
                continue
            rows = trace[path].value.shape[1]
            is_small = rows * len(each.blocks) * spec.vocab_size <= SMALL
            for row in range(rows) if is_small else (rows - 1,):
                yield "words", {"step": str(step), "path": path, "row": str(row), "before": before}


def _address(name: str, parameters: Mapping[str, str]) -> str:
    """As `viewKey` of the page writes it."""
    return name if not parameters else f"{name}?{urlencode(sorted(parameters.items()), safe='*')}"
