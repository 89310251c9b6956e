"""One row of attention: the steps from score to weight for one head and one query token."""

from collections.abc import Mapping
from dataclasses import dataclass

from openbook.explanation.run import Explanation
from openbook.transformer.attention import Attention
from openbook.transformer.mask import (
    Predicate,
    TokenPositions,
    bidirectional_window,
    causal,
    not_padding,
    same_document,
    window,
)

STEPS = ("scores", "biased_scores", "capped_scores", "masked_scores", "weights")


@dataclass(frozen=True)
class AttentionRow:
    """One key token, as one query token of one head sees it.

    Attributes:
        index: of the key token.
        values: each recorded step from score to weight.
        masked_by: why the query may not attend to it: "later", "padding" …; None if it may.
    """

    index: int
    values: Mapping[str, float]
    masked_by: str | None


def attention_rows(explanation: Explanation, path: str, head: int, token: int) -> tuple[AttentionRow, ...]:
    """A row for each key of the attention part at `path`, for one head and one query token."""
    trace = explanation.trace
    steps = {
        name: trace[f"{path}.{name}"].value[0, head, token].tolist() for name in STEPS if f"{path}.{name}" in trace
    }
    return tuple(
        AttentionRow(index, {name: values[index] for name, values in steps.items()}, reason)
        for index, reason in enumerate(_mask_reasons(explanation, path, token))
    )


def _mask_reasons(explanation: Explanation, path: str, token: int) -> list[str | None]:
    """For each key why the query may not attend to it, by the predicates that made the mask."""
    trace, part = explanation.trace, explanation.model.get_submodule(path)
    assert isinstance(part, Attention)
    is_cross, is_encoder = path.endswith(".cross_attention"), path.startswith("encoder.")
    query_positions = trace["source_positions" if is_encoder else "positions"].value[:1]
    key_positions = trace["source_positions"].value[:1] if is_cross else query_positions
    documents = None if is_cross or "documents" not in trace else trace["documents"].value[:1]
    only = slice(token, token + 1)
    query = TokenPositions(query_positions[:, only], None if documents is None else documents[:, only])
    key = TokenPositions(key_positions, documents)
    reasons: list[tuple[str, Predicate]] = [("padding", not_padding)]
    if not is_cross and not is_encoder:
        reasons.append(("later", causal))
    if part.spec.window is not None:
        near = bidirectional_window(part.spec.window) if is_encoder else window(part.spec.window)
        reasons.append((f"beyond the window of {part.spec.window}", near))
    if documents is not None:
        reasons.append(("other document", same_document))
    allowed = [(name, allows(query.unsqueeze(-1), key.unsqueeze(-2))[0, 0].tolist()) for name, allows in reasons]
    keys = range(key_positions.shape[1])
    return [next((name for name, may_attend in allowed if not may_attend[s]), None) for s in keys]
