"""One row of attention: what one token of one head makes of every token it might look at."""

from collections.abc import Mapping
from dataclasses import dataclass

from openbook.explanation.run import Explanation
from openbook.transformer.attention import Attention
from openbook.transformer.mask import Predicate, TokenPositions, around, causal, not_padding, same_document, window

ROW_VALUES = ("scores", "biased_scores", "capped_scores", "masked_scores", "weights")


@dataclass(frozen=True)
class AttentionRow:
    """What one token makes of the token in column `place`.

    `values` has each recorded step from score to weight; `hidden` says why it may not look there, or is None.
    """

    place: int
    values: Mapping[str, float]
    hidden: str | None


def attention_rows(explanation: Explanation, path: str, head: int, token: int) -> tuple[AttentionRow, ...]:
    """The rows of the attention part at `path`, for one head and one query token."""
    trace = explanation.trace
    steps = {
        name: trace[f"{path}.{name}"].value[0, head, token].tolist() for name in ROW_VALUES if f"{path}.{name}" in trace
    }
    reasons = _hidden(explanation, path, token)
    return tuple(
        AttentionRow(place, {name: values[place] for name, values in steps.items()}, reason)
        for place, reason in enumerate(reasons)
    )


def _hidden(explanation: Explanation, path: str, token: int) -> list[str | None]:
    """For each token why the query may not look at it, by the predicates that made the mask."""
    trace, part = explanation.trace, explanation.model.get_submodule(path)
    assert isinstance(part, Attention)
    cross, encoding = path.endswith(".cross_attention"), path.startswith("encoder.")
    own = "source_positions" if encoding else "positions"
    positions = trace["source_positions" if cross else own].value[:1]
    documents = None if cross or "documents" not in trace else trace["documents"].value[:1]
    query = TokenPositions(
        trace[own].value[:1, token : token + 1], None if documents is None else documents[:, token : token + 1]
    )
    key = TokenPositions(positions, documents)
    rules: list[tuple[str, Predicate]] = [("padding", not_padding)]
    if not cross and not encoding:
        rules.append(("later", causal))
    if part.spec.window is not None:
        seen = around(part.spec.window) if encoding else window(part.spec.window)
        rules.append((f"beyond the window of {part.spec.window}", seen))
    if documents is not None:
        rules.append(("other document", same_document))
    allowed = [(name, predicate(query.unsqueeze(-1), key.unsqueeze(-2))[0, 0].tolist()) for name, predicate in rules]
    return [next((name for name, may in allowed if not may[place]), None) for place in range(positions.shape[1])]
