"""Choose from everything recorded what to show: one layer, one head, one token.

Which tensors there are, their formulas and their weights all come from the trace and its derivations, so a new part
that brings its rules is shown without a change here.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from openbook.errors import SettingError
from openbook.explanation.reader import TensorOffset
from openbook.explanation.run import Explanation
from openbook.explanation.token_display import Tokenizer, display_token
from openbook.explanation.views.lens import logit_lens
from openbook.explanation.views.summary import Candidate, LayerPrediction, Summary, Token
from openbook.explanation.views.token_view import TokenView
from openbook.trace import Record

NEURONS_SHOWN = 5
CANDIDATES_SHOWN = 10

_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class Selection:
    """What to show.

    Attributes:
        layer: the block to open; None for the first.
        head: the attention head to show; None for the first.
        token: the index of the token to follow; None for the last.
        encoder: whether to show how the source is read instead of how the target is written.
    """

    layer: int | None = None
    head: int | None = None
    token: int | None = None
    encoder: bool = False


def summarize(
    explanation: Explanation,
    tokenizer: Tokenizer,
    selection: Selection = Selection(),
    *,
    source_tokenizer: Tokenizer | None = None,
    offsets: Mapping[str, TensorOffset] | None = None,
    template: Collection[int] = (),
) -> Summary:
    """Choose what to show of the first row of a traced batch.

    Args:
        explanation: the traced run.
        tokenizer: spells the tokens.
        selection: the layer, the head and the token to show.
        source_tokenizer: spells the tokens of the source, if it has a tokenizer of its own.
        offsets: where each tensor lies in the model file.
        template: indices of the prompt's tokens that a chat template wrote.

    Raises:
        OpenbookError: layer, head or token is out of range; the message says the range. The model has no encoder to
            show.
    """
    encoder = selection.encoder
    if encoder and explanation.source is None:
        raise SettingError("`encoder`: this model is decoder-only, so it has no encoder to show")
    source = tuple(_tokens(explanation, source_tokenizer or tokenizer, "source"))
    tokens = source if encoder else tuple(_tokens(explanation, tokenizer, "tokens", template))
    before, blocks, after = _in_parts(explanation, encoder)
    layer = _in_range("layer", selection.layer, len(blocks), default=0)
    block = blocks[layer]
    heads = [record.value.shape[1] for record in block if record.name == "weights"]
    head = _in_range("head", selection.head, min(heads), default=0)
    token = _in_range("token", selection.token, len(tokens), default=len(tokens) - 1)
    view = TokenView(explanation, token, head, offsets or {})
    neurons = view.neurons(block)
    return Summary(
        layer=layer,
        head=head,
        token=token,
        heads=heads[0],
        vocab_size=explanation.logits.shape[-1],
        neuron_count=len(neurons),
        stack="encoder" if encoder else "decoder",
        source=source,
        tokens=tokens,
        before=tuple(view.tensors(before)),
        layers=tuple(view.layer(number, each) for number, each in blocks.items()),
        detail=tuple(view.tensors(block)),
        attention=view.attention(block),
        neurons=tuple(neurons[:NEURONS_SHOWN]),
        after=tuple(view.tensors(after)),
        candidates=() if encoder else tuple(_candidates(_logits_after(explanation, token), tokenizer)),
        layer_predictions=() if encoder else tuple(_layer_predictions(explanation, tokenizer, token)),
    )


def _in_parts(explanation: Explanation, encoder: bool) -> tuple[list[Record], dict[int, list[Record]], list[Record]]:
    """What the encoder or the decoder recorded: before its blocks, in each block, and after them."""
    records = list(explanation.trace.values())
    of_encoder = [number for number, record in enumerate(records) if record.path.startswith("encoder.")]
    border = of_encoder[-1] + 1 if of_encoder else 0
    before: list[Record] = []
    after: list[Record] = []
    blocks: dict[int, list[Record]] = {}
    for record in records[:border] if encoder else records[border:]:
        if match := _BLOCK.match(record.path):
            blocks.setdefault(int(match[2]), []).append(record)
        else:
            (after if blocks else before).append(record)
    return before, blocks, after


def _in_range(name: str, given: int | None, count: int, default: int) -> int:
    chosen = default if given is None else given
    if not 0 <= chosen < count:
        raise SettingError(f"`{name}` {chosen}: there are {count:,} here, numbered 0 to {count - 1:,}")
    return chosen


def _tokens(
    explanation: Explanation, tokenizer: Tokenizer, name: str, template: Collection[int] = ()
) -> Iterator[Token]:
    """Those recorded under this name, "source" or "tokens"; none where there is no source."""
    trace = explanation.trace
    if name not in trace:
        return
    positions = trace["positions" if name == "tokens" else "source_positions"].value[0].tolist()
    for index, (token, position) in enumerate(zip(trace[name].value[0].tolist(), positions, strict=True)):
        yield Token(index, position, token, display_token(tokenizer, token), index in template)


def _logits_after(explanation: Explanation, token: int) -> Tensor:
    """(V,): the logits of the token that follows this one."""
    *_, logits = (record.value for record in explanation.trace.values() if record.name == "logits")
    return logits[0, token]


def _candidates(logits: Tensor, tokenizer: Tokenizer) -> Iterator[Candidate]:
    """The most probable tokens by logits (V,)."""
    top = logits.softmax(-1).topk(min(CANDIDATES_SHOWN, len(logits)))
    for probability, token in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        yield Candidate(token, display_token(tokenizer, token), logits[token].item(), probability)


def _layer_predictions(explanation: Explanation, tokenizer: Tokenizer, token: int) -> Iterator[LayerPrediction]:
    for prediction in logit_lens(explanation, token):
        yield LayerPrediction(**vars(prediction), text=display_token(tokenizer, prediction.token_id))
