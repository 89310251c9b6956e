"""What `openbook explain MODEL PROMPT` shows in a terminal or gives to a program."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from openbook.explanation.derivations import Derivation, derive
from openbook.explanation.reader import TensorOffset
from openbook.explanation.run import explain
from openbook.explanation.summarise import summarise
from openbook.explanation.summary import Summary, as_json
from openbook.explanation.terminal_number import parse_number, print_derivation
from openbook.explanation.terminal_page import print_summary
from openbook.explanation.token_display import Tokenizer
from openbook.transformer.transformer import Transformer


def explain_in_terminal(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    console: Console,
    *,
    source: Sequence[int] | None = None,
    source_tokenizer: Tokenizer | None = None,
    number: str | None = None,
    places: Mapping[str, TensorOffset] | None = None,
    **choices: Any,
) -> None:
    """Run the prompt and print how the next token follows, or with `number` how that one number does.

    Args:
        model: a transformer of either kind.
        tokenizer: spells its tokens.
        tokens: ids of the prompt, or of the target so far.
        console: where to print.
        source: ids of what an encoder-decoder reads.
        source_tokenizer: spells those, where that takes another one.
        number: a recorded path and an index, "decoder.blocks.0.self_attention.scores[0,1,5,2]".
        places: where each tensor lies in the model file, for byte offsets.
        choices: what to show: layer, head, token, encoder, template, as for `summarise`.

    Raises:
        OpenbookError: the prompt is empty or too long, or layer, head, token or number is out of range; a source is
            missing, or given to a model that reads none.
    """
    shown = _shown(model, tokenizer, tokens, source, source_tokenizer, number, places, choices)
    if isinstance(shown, Derivation):
        print_derivation(shown, console)
    else:
        print_summary(shown, console)


def explain_as_json(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    *,
    source: Sequence[int] | None = None,
    source_tokenizer: Tokenizer | None = None,
    number: str | None = None,
    places: Mapping[str, TensorOffset] | None = None,
    **choices: Any,
) -> dict[str, object]:
    """What `explain_in_terminal` prints, in JSON's values; arguments and errors as there."""
    return as_json(_shown(model, tokenizer, tokens, source, source_tokenizer, number, places, choices))


def _shown(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    source: Sequence[int] | None,
    source_tokenizer: Tokenizer | None,
    number: str | None,
    places: Mapping[str, TensorOffset] | None,
    choices: Mapping[str, Any],
) -> Summary | Derivation:
    explained = explain(model, tokens, source=source)
    if number is None:
        return summarise(explained, tokenizer, source_tokenizer=source_tokenizer, places=places, **choices)
    path, index = parse_number(number)
    return derive(model, explained.trace, path, index, places)
