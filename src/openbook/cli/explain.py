"""`openbook explain`: every step between a prompt and the next token."""

import json
from typing import Annotated, Any

import typer

from openbook.cli.arguments import JSON, MODEL


def explain(
    model: MODEL,
    prompt: Annotated[str, typer.Argument(help="the prompt, or the source to translate", show_default=False)],
    terminal: Annotated[bool, typer.Option("--terminal", help="print here (so far the only place)")] = True,
    target: Annotated[str, typer.Option(help="what a translator has written already", show_default=False)] = "",
    encoder: Annotated[bool, typer.Option("--encoder", help="how an encoder reads the source")] = False,
    language: Annotated[str | None, typer.Option(help="to translate into, for a model that has several")] = None,
    source_language: Annotated[str | None, typer.Option(help="to translate from, likewise")] = None,
    layer: Annotated[int | None, typer.Option(help="the layer to open, from 0")] = None,
    head: Annotated[int | None, typer.Option(help="the attention head to show, from 0")] = None,
    token: Annotated[int | None, typer.Option(help="the place of the token to follow, from 0")] = None,
    number: Annotated[str | None, typer.Option(help="derive one number: its path and index, as printed")] = None,
    beam_size: Annotated[
        int | None, typer.Option(help="show a beam search with so many beams as a tree with scores")
    ] = None,
    length_penalty: Annotated[float, typer.Option(help="of the beams' scores")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="of the beams")] = 32,
    plain: Annotated[bool, typer.Option("--plain", help="the prompt alone, without the chat template")] = False,
    as_json: JSON = False,
) -> None:
    """Show every step between a prompt and the next token, with the numbers of one head and one token.

    A translator is shown between a source with the target so far and the next token of the target; --token chooses a
    step of the target, or with --encoder a token of the source.

    [bold]Examples[/bold]

      openbook explain austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth" --layer 2 --head 1 --token 3
      openbook explain austen.openbook "It is a" --number "decoder.blocks.0.self_attention.scores[0,0,2,1]"
      openbook explain en-de.openbook "A man sleeps." --target "Ein Mann" --layer 1 --head 2
      openbook explain en-de.openbook "A man sleeps." --encoder --token 2
      openbook explain en-de.openbook "A man sleeps." --beam-size 3
    """
    from rich.console import Console

    from openbook.explanation.tensor_offsets import tensor_offsets
    from openbook.explanation.terminal import explain_as_json, explain_in_terminal
    from openbook.model import load

    opened = load(model, "cpu")
    tokens, source = opened.traced_tokens(
        prompt, target, plain=plain, language=language, source_language=source_language
    )
    if beam_size is not None:
        from openbook.explanation.beam_tree import print_tree, search_with_trace, tree_as_json
        from openbook.generation.settings import BeamSearch
        from openbook.generation.token_rules import TokenRules

        how = BeamSearch(
            beam_size=beam_size,
            n_best=beam_size,
            length_penalty=length_penalty,
            max_tokens=max_tokens,
            no_repeat_ngram_size=opened.metadata.generation.get("no_repeat_ngram_size", 0),
        )
        special = opened.tokenizer.special
        rules = TokenRules.of(special, language=language, no_repeat_ngram_size=how.no_repeat_ngram_size)
        found, trail = search_with_trace(opened.engine, tokens, source, how, rules, special.end)
        if as_json:
            print(tree_as_json(found, trail, how))
        else:
            print_tree(found, trail, how, opened.tokenizer, Console())
        return
    options: dict[str, Any] = {
        "layer": layer, "head": head, "token": token, "number": number, "places": tensor_offsets(model),
        "source": source, "encoder": encoder, "source_tokenizer": opened.metadata.make_source_tokenizer(),
        "template": opened.template_token_indices(prompt, plain=plain),
    }  # fmt: skip
    if as_json:
        print(json.dumps(explain_as_json(opened.transformer, opened.tokenizer, tokens, **options), ensure_ascii=False))
    else:
        explain_in_terminal(opened.transformer, opened.tokenizer, tokens, Console(), **options)
