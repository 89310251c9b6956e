"""What `openbook explain MODEL PROMPT` shows in a terminal or gives to a program."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from openbook.explanation.derivations import Derivation, derive
from openbook.explanation.readable import Tokenizer
from openbook.explanation.reader import TensorPlace
from openbook.explanation.run import explain
from openbook.explanation.summarise import summarise
from openbook.explanation.summary import Summary, as_json
from openbook.explanation.terminal_number import parse_number, print_derivation
from openbook.explanation.terminal_page import print_summary
from openbook.transformer.base import Transformer
from openbook.transformer.make import decoder_only


def explain_in_terminal(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    console: Console,
    *,
    layer: int | None = None,
    head: int | None = None,
    token: int | None = None,
    number: str | None = None,
    places: Mapping[str, TensorPlace] | None = None,
) -> None:
    """Run the prompt and print how the next token follows, or with `number` how that one number does.

    Args:
        model: a decoder-only transformer.
        tokenizer: spells its tokens.
        tokens: ids of the prompt.
        console: where to print.
        layer: the block to open; the first when None.
        head: the attention head to show; the first when None.
        token: the place of the token to follow; the last when None.
        number: a recorded path and an index, "decoder.blocks.0.self_attention.scores[0,1,5,2]".
        places: where each tensor lies in the model file, for byte offsets.

    Raises:
        OpenbookError: the prompt is empty or too long, or layer, head, token or number is out of range.
    """
    shown = _shown(model, tokenizer, tokens, layer, head, token, number, places)
    if isinstance(shown, Derivation):
        print_derivation(shown, console)
    else:
        print_summary(shown, console)


def explain_as_json(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    *,
    layer: int | None = None,
    head: int | None = None,
    token: int | None = None,
    number: str | None = None,
    places: Mapping[str, TensorPlace] | None = None,
) -> dict[str, object]:
    """What `explain_in_terminal` prints, in JSON's values; arguments and errors as there."""
    return as_json(_shown(model, tokenizer, tokens, layer, head, token, number, places))


def _shown(
    model: Transformer,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    layer: int | None,
    head: int | None,
    token: int | None,
    number: str | None,
    places: Mapping[str, TensorPlace] | None,
) -> Summary | Derivation:
    model = decoder_only(model, "explaining a prompt")
    if number is None:
        return summarise(explain(model, tokens), tokenizer, layer=layer, head=head, token=token, places=places)
    path, index = parse_number(number)
    return derive(model, explain(model, tokens).trace, path, index, places)
