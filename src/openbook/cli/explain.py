"""`openbook explain`: every step between a prompt and the next token."""

from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.arguments import JSON, MODEL
from openbook.text.output import write
from openbook.text.printable import json_line

if TYPE_CHECKING:
    from openbook.explanation.derivations import Derivation
    from openbook.explanation.views.summary import Summary
    from openbook.generation.settings import BeamSearch
    from openbook.model import Model

TRANSLATION, SELECTION, BEAMS = "Translation", "What to show", "Beam search"


def explain(
    model: MODEL,
    prompt: Annotated[str, typer.Argument(help="the prompt, or the source to translate", show_default=False)],
    terminal: Annotated[bool, typer.Option("--terminal", help="print in the terminal (the only view so far)")] = True,
    raw: Annotated[bool, typer.Option("--raw", help="the prompt alone, without the chat template")] = False,
    as_json: JSON = False,
    layer: Annotated[int | None, typer.Option(help="the layer to open, from 0", rich_help_panel=SELECTION)] = None,
    head: Annotated[
        int | None, typer.Option(help="the attention head to show, from 0", rich_help_panel=SELECTION)
    ] = None,
    token: Annotated[
        int | None, typer.Option(help="the index of the token to follow, from 0", rich_help_panel=SELECTION)
    ] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="how the encoder reads the source", rich_help_panel=SELECTION)
    ] = False,
    number: Annotated[
        str | None,
        typer.Option(help="how one number follows: its path and index, as printed", rich_help_panel=SELECTION),
    ] = None,
    target: Annotated[
        str, typer.Option(help="the translation so far", show_default=False, rich_help_panel=TRANSLATION)
    ] = "",
    target_language: Annotated[
        str | None,
        typer.Option(help="the language to translate into, if the model has several", rich_help_panel=TRANSLATION),
    ] = None,
    source_language: Annotated[
        str | None,
        typer.Option(help="the language to translate from, if the model has several", rich_help_panel=TRANSLATION),
    ] = None,
    beam_size: Annotated[
        int | None, typer.Option(help="show a beam search of this size as a tree", rich_help_panel=BEAMS)
    ] = None,
    length_penalty: Annotated[float, typer.Option(help="of its scores", rich_help_panel=BEAMS)] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="the length of its beams at most", rich_help_panel=BEAMS)] = 32,
) -> None:
    """Show every step from a prompt to the next token, with the numbers of one head and one token.

    For a translator the steps lead from the source and the target so far to the target's next token. --token then
    chooses a token of the target, or with --encoder one of the source.

    [bold]Examples[/bold]

      openbook explain austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth" --layer 2 --head 1 --token 3
      openbook explain austen.openbook "It is a" --number "decoder.blocks.0.self_attention.scores[0,0,2,1]"
      openbook explain en-de.openbook "A man sleeps." --target "Ein Mann" --layer 1 --head 2
      openbook explain en-de.openbook "A man sleeps." --encoder --token 2
      openbook explain en-de.openbook "A man sleeps." --beam-size 3
    """
    from openbook.explanation.derivations import derive
    from openbook.explanation.tensor_offsets import tensor_offsets
    from openbook.explanation.terminal.derivation_page import parse_number
    from openbook.explanation.views.summarize import Selection, summarize
    from openbook.generation.settings import BeamSearch
    from openbook.model import load

    opened = load(model, "cpu")
    languages = {"target_language": target_language, "source_language": source_language}
    if beam_size is not None:
        tokens, source = opened.traced_tokens(prompt, target, raw=raw, **languages)
        settings = BeamSearch(
            beam_size=beam_size,
            n_best=beam_size,
            length_penalty=length_penalty,
            max_tokens=max_tokens,
            no_repeat_ngram_size=opened.metadata.generation.get("no_repeat_ngram_size", 0),
        )
        _print_beams(opened, tokens, source, settings, target_language, as_json)
        return
    explanation = opened.trace(prompt, target, raw=raw, **languages)
    offsets = tensor_offsets(model)
    if number is not None:
        path, index = parse_number(number)
        _print_view(derive(opened.transformer, explanation.trace, path, index, offsets), as_json)
        return
    summary = summarize(
        explanation,
        opened.tokenizer,
        Selection(layer, head, token, encoder),
        source_tokenizer=opened.metadata.make_source_tokenizer(),
        offsets=offsets,
        template=opened.template_token_indices(prompt, raw=raw),
    )
    _print_view(summary, as_json)


def _print_view(view: "Summary | Derivation", as_json: bool) -> None:
    from openbook.explanation.derivations import Derivation
    from openbook.explanation.terminal.derivation_page import print_derivation
    from openbook.explanation.terminal.summary_page import print_summary
    from openbook.explanation.views.summary import to_json
    from openbook.text.terminal import Terminal

    if as_json:
        write(json_line(to_json(view)))
    elif isinstance(view, Derivation):
        print_derivation(view, Terminal())
    else:
        print_summary(view, Terminal())


def _print_beams(
    model: "Model",
    tokens: list[int],
    source: list[int] | None,
    settings: "BeamSearch",
    target_language: str | None,
    as_json: bool,
) -> None:
    from openbook.explanation.terminal.beam_tree import print_beam_tree
    from openbook.explanation.views.beam_tree import search_tree
    from openbook.generation.token_rules import TokenRules
    from openbook.text.terminal import Terminal

    unused = model.tokenizer.ids_without_token(model.engine.vocab_size)
    rules = TokenRules.of(model.tokenizer.special, settings, target_language, unused=unused)
    found = search_tree(model.engine, tokens, source, settings, rules)
    if as_json:
        write(json_line(found.to_json()))
    else:
        print_beam_tree(found, model.tokenizer, Terminal())
