"""`openbook explain`: everything between a prompt and the answer, as a page, a file or text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.arguments import JSON, MODEL, parse_size
from openbook.errors import OpenbookError
from openbook.text.output import write
from openbook.text.printable import json_line

if TYPE_CHECKING:
    from openbook.explanation.derivations import Derivation
    from openbook.explanation.views.summary import Summary
    from openbook.generation.settings import BeamSearch
    from openbook.model import Model

PAGE, TEXT, TRANSLATION, ANSWER, BEAMS = "The page", "The text view", "Translation", "The answer", "Beam search"


def explain(
    model: MODEL,
    prompt: Annotated[str, typer.Argument(help="the prompt, or the source to translate", show_default=False)],
    raw: Annotated[bool, typer.Option("--raw", help="the prompt alone, without the chat template")] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="print the page's address instead of opening it", rich_help_panel=PAGE)
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="of the page on this machine (default: a free one)", rich_help_panel=PAGE)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="write the page to a file that opens without openbook", show_default=False, rich_help_panel=PAGE
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help="of that file at most: what does not fit is left out, and said", rich_help_panel=PAGE)
    ] = "20MB",
    terminal: Annotated[
        bool, typer.Option("--terminal", help="print text instead of opening the page", rich_help_panel=TEXT)
    ] = False,
    summary: Annotated[
        bool,
        typer.Option("--summary", help="a table: layer, what goes in, what comes out, tensors", rich_help_panel=TEXT),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="every quantity of the layer, with its formula", rich_help_panel=TEXT)
    ] = False,
    as_json: JSON = False,
    layer: Annotated[int | None, typer.Option(help="the layer to open, from 0", rich_help_panel=TEXT)] = None,
    head: Annotated[int | None, typer.Option(help="the attention head to show, from 0", rich_help_panel=TEXT)] = None,
    token: Annotated[
        int | None, typer.Option(help="the index of the token to follow, from 0", rich_help_panel=TEXT)
    ] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="how the encoder reads the source", rich_help_panel=TEXT)
    ] = False,
    number: Annotated[
        str | None,
        typer.Option(help="how one number follows: its path and index, as printed", rich_help_panel=TEXT),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="above 0: draw each token (default: the most probable one)", rich_help_panel=ANSWER),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="draw from so many tokens", rich_help_panel=ANSWER)] = None,
    top_p: Annotated[float | None, typer.Option(help="draw from this probability", rich_help_panel=ANSWER)] = None,
    min_p: Annotated[float | None, typer.Option(help="draw from tokens this probable", rich_help_panel=ANSWER)] = None,
    seed: Annotated[int | None, typer.Option(help="of the draws", rich_help_panel=ANSWER)] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="how many tokens to write at most (default: 8, translations 64)", rich_help_panel=ANSWER),
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
) -> None:
    """Open a page with everything between a prompt and the answer, down to each number.

    The page is on this machine alone, and ends with Ctrl-C. Where the output is no terminal, or with an option of the
    text view, it prints text instead.

    For a translator the steps lead from the source and the target so far to the target's next token. --token then
    chooses a token of the target, or with --encoder one of the source.

    [bold]Examples[/bold]

      openbook explain austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth" --temperature 0.8 --seed 1 --max-tokens 20
      openbook explain austen.openbook "It is a truth" --html truth.html
      openbook explain austen.openbook "It is a truth" --layer 2 --head 1 --token 3
      openbook explain austen.openbook "It is a" --number "decoder.blocks.0.self_attention.scores[0,0,2,1]"
      openbook explain en-de.openbook "A man sleeps." --target "Ein Mann" --layer 1 --head 2
      openbook explain en-de.openbook "A man sleeps." --encoder --token 2
      openbook explain en-de.openbook "A man sleeps." --beam-size 3
    """
    from openbook.model import load

    opened = load(model, "cpu")
    languages = {"target_language": target_language, "source_language": source_language}
    if beam_size is not None:
        from openbook.generation.settings import BeamSearch

        tokens, source = opened.traced_tokens(prompt, target, raw=raw, **languages)
        settings = BeamSearch(
            beam_size=beam_size,
            n_best=beam_size,
            length_penalty=length_penalty,
            max_tokens=max_tokens or 32,
            no_repeat_ngram_size=opened.metadata.generation.get("no_repeat_ngram_size", 0),
        )
        _print_beams(opened, tokens, source, settings, target_language, as_json)
        return
    decoding = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed}
    given = {name: each for name, each in (decoding | {"max_tokens": max_tokens}).items() if each is not None}
    detailed = as_json or encoder or everything or any(each is not None for each in (layer, head, token, number))
    of_text, wants_page = terminal or summary or detailed, no_browser or port is not None or html is not None
    if wants_page and of_text:
        raise OpenbookError("--html, --no-browser and --port are for the page; leave out the options of the text view")
    asked = {"prompt": prompt, "target": target, "raw": raw, "settings": given}
    if html is not None:
        _write_html(opened, asked, languages, html, size)
    elif wants_page or (sys.stdout.isatty() and not of_text):
        _serve(opened, asked, languages, port, no_browser)
    elif detailed:
        _print_text(opened, prompt, target, raw, languages, number, (layer, head, token, encoder), as_json)
    else:
        _print_outline(opened, asked, languages, summary)


def _write_html(model: "Model", asked: dict[str, Any], languages: dict[str, str | None], path: Path, size: str) -> None:
    """Write the page to a file, and say what it does not carry."""
    from openbook.explanation.page.html_file import write_page
    from openbook.text.formatting import format_bytes
    from openbook.text.printable import printable_path
    from openbook.web.model_runs import page_run

    limit = parse_size("--size", size)
    written, left_out = write_page(page_run(model, **_unpacked(asked), languages=languages), path, limit)
    write(f"{printable_path(path)}: {format_bytes(written)}; it opens in any browser, without openbook")
    for line in left_out:
        write(f"  not in it: {line}")


def _print_outline(model: "Model", asked: dict[str, Any], languages: dict[str, str | None], summary: bool) -> None:
    from openbook.explanation.terminal.outline_page import print_outline, print_part_table
    from openbook.text.terminal import Terminal
    from openbook.web.model_runs import page_run

    (print_part_table if summary else print_outline)(
        page_run(model, **_unpacked(asked), languages=languages), Terminal()
    )


def _unpacked(asked: dict[str, Any]) -> dict[str, Any]:
    """Prompt, target and settings as one set of arguments."""
    return {name: each for name, each in asked.items() if name != "settings"} | asked["settings"]


def _serve(
    model: "Model",
    asked: dict[str, Any],
    languages: dict[str, str | None],
    port: int | None,
    no_browser: bool,
) -> None:
    """Serve the page until Ctrl-C."""
    from openbook.web.app import page_app
    from openbook.web.local import serve
    from openbook.web.model_runs import model_runs

    runs = model_runs(model, asked, languages)
    runs.prepare()
    serve(page_app(runs), port or 0, not no_browser, write)


def _print_text(
    model: "Model",
    prompt: str,
    target: str,
    raw: bool,
    languages: dict[str, str | None],
    number: str | None,
    selection: tuple[int | None, int | None, int | None, bool],
    as_json: bool,
) -> None:
    from openbook.explanation.derivations import derive
    from openbook.explanation.terminal.derivation_page import parse_number
    from openbook.explanation.views.summarize import Selection, summarize
    from openbook.web.model_runs import source_of

    explanation = model.trace(prompt, target, raw=raw, **languages)
    offsets = source_of(model).offsets
    if number is not None:
        path, index = parse_number(number)
        _print_view(derive(model.transformer, explanation.trace, path, index, offsets), as_json)
        return
    summary = summarize(
        explanation,
        model.tokenizer,
        Selection(*selection),
        source_tokenizer=model.metadata.make_source_tokenizer(),
        offsets=offsets,
        template=model.template_token_indices(prompt, raw=raw),
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
    from functools import partial

    from openbook.explanation.terminal.beam_tree import print_beam_tree
    from openbook.explanation.views.beam_tree import search_tree
    from openbook.generation.token_rules import TokenRules
    from openbook.text.terminal import Terminal

    unused = model.tokenizer.ids_without_token(model.engine.vocab_size)
    rules = TokenRules.of(model.tokenizer.special, settings, target_language, unused=unused)
    text_of = partial(model.tokenizer.decode, skip_special=True)
    found = search_tree(model.engine, tokens, source, settings, rules, text_of)
    if as_json:
        write(json_line(found.to_json()))
    else:
        print_beam_tree(found, model.tokenizer, Terminal())
