"""The verbs of the command `openbook`: they parse, call the library and print. No logic lives here."""

import time

STARTED = time.perf_counter()  # before anything heavy is imported: the minutes of a training count from here

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Annotated, Any  # noqa: E402

import typer  # noqa: E402

from openbook import __version__  # noqa: E402
from openbook.errors import OpenbookError  # noqa: E402

if TYPE_CHECKING:
    from openbook.training.loop import Listener

app = typer.Typer(
    name="openbook",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train a transformer on your own books, ask it, and open it up.

    [bold]Examples[/bold]

      openbook train emma.txt persuasion.epub -o austen.openbook --minutes 5
      openbook ask austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth" --terminal
      openbook inspect austen.openbook
      openbook evaluate austen.openbook heldout.txt
      openbook train --pairs en-de.tsv -o en-de.openbook
      openbook compare --pairs en-de.tsv --minutes 5

    Every verb has a --help of its own. `openbook --install-completion` completes names in your shell.""",
)

MODEL = Annotated[Path, typer.Argument(help="a model file, such as austen.openbook", show_default=False)]
DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
JSON = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"openbook {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="show it")] = False,
) -> None:
    """Options of all verbs."""


@app.command()
def train(
    books: Annotated[
        list[str],
        typer.Argument(
            help="txt, md, html, epub or pdf files, or pairs with --pairs; folders, globs", metavar="FILES..."
        ),
    ],
    pairs: Annotated[
        bool, typer.Option("--pairs", help="the files are sentence pairs: train a translator (an encoder-decoder)")
    ] = False,
    conversations: Annotated[
        bool, typer.Option("--conversations", help="with --from: the files are conversations, as JSON lines")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the model file to make")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="a model file to go on from")] = None,
    lora: Annotated[int | None, typer.Option(help="with --from: learn a change of this rank, e.g. 8")] = None,
    lora_targets: Annotated[
        str, typer.Option(help="matrices that --lora changes")
    ] = "query,key,value,output,gate,up,down",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="with --lora: save the change alone, beside the model that it changes")
    ] = False,
    validation: Annotated[
        list[str] | None, typer.Option(help="hold out these files, not the tails of the books or some of the pairs")
    ] = None,
    validation_share: Annotated[
        float | None, typer.Option(help="part of each book, or of the pairs, to hold out")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="keep passages or pairs that occur twice")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="a TOML file with any of the choices below")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="print what would be picked, and do not train")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the model file, and begin an unfinished run anew")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log for TensorBoard too")] = False,
    device: DEVICE = "auto",
    **choices: Any,
) -> None:
    """Train a model on books, or a translator on sentence pairs. Without options, everything is picked from the text
    and the speed of this machine.

    [bold]Examples[/bold]

      openbook train emma.txt                                all by itself
      openbook train books/ -o mine.openbook --minutes 20    for 20 minutes
      openbook train notes/ -o my.openbook --from mine.openbook    go on from it
      openbook train books/ --plan                           only say what it would do
      openbook train emma.txt --attention none --norm none   the essential transformer
      openbook train --pairs en-de.tsv -o en-de.openbook     a translator; lines of source, tab, target
      openbook train --pairs train.en train.de               two files whose lines belong together
      openbook train --conversations chats.jsonl --from small.openbook -o mine.openbook

    Ctrl-C saves and leaves a usable model; the same command goes on from there.
    """
    from rich.console import Console

    from openbook.progress import bars
    from openbook.training.display import Display
    from openbook.training.recipe import read_toml, with_options
    from openbook.training.request import Request
    from openbook.training.run import Training
    from openbook.training.tensorboard import TensorBoard

    given = read_toml(config) if config else {}
    given = with_options(given, {name: value for name, value in choices.items() if value is not None})
    output = output or Path(Path(books[0]).name or "books").with_suffix(".openbook")
    request = Request(
        books,
        output,
        given,
        pairs=pairs,
        conversations=conversations,
        validation=validation,
        validation_share=validation_share,
        keep_duplicates=keep_duplicates,
        device=device,
        start=start,
        lora=lora,
        lora_targets=lora_targets.split(","),
        adapter=adapter,
    )
    display = Display(Console())
    board = TensorBoard(request.folder / "tensorboard") if tensorboard else None
    listeners: list[Listener] = [display] if board is None else [display, board]
    training = Training(request, listeners, bars, lambda: time.perf_counter() - STARTED)
    try:
        if plan:
            training.plan()
        elif training.run(overwrite).outcome.how == "interrupted":
            raise typer.Exit(130)  # as shells say of what Ctrl-C ended, so that a script does not go on
    except KeyboardInterrupt:
        print("\nopenbook: interrupted; the same command goes on from what is kept", file=sys.stderr)
        raise
    finally:
        display.close()
        if board is not None:
            board.close()


@app.command()
def compare(
    files: Annotated[list[str], typer.Argument(help="files of sentence pairs; folders, globs", metavar="FILES...")],
    pairs: Annotated[bool, typer.Option("--pairs", help="the files are sentence pairs (which they must be)")] = True,
    minutes: Annotated[float | None, typer.Option(help="for each of the two; picked from the pairs if absent")] = None,
    steps: Annotated[int | None, typer.Option(help="end each after this many updates, not by time")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the folder for models, table, picture")] = None,
    validation: Annotated[list[str] | None, typer.Option(help="hold out these files, not some of the pairs")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="how many different tokens, for both")] = None,
    seed: Annotated[int | None, typer.Option(help="same seed, same runs")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier comparison")] = False,
    as_json: JSON = False,
    device: DEVICE = "auto",
) -> None:
    """Decoder-only or encoder-decoder? Train both on the same pairs, tokens and minutes, and measure them.

    The decoder-only model reads `source <separator> target` as one row and learns the target alone. Both have about as
    many parameters. Prints a table; the folder gets both models, comparison.json and a picture.

    [bold]Examples[/bold]

      openbook compare --pairs en-de.tsv --minutes 10        ten minutes each
      openbook compare --pairs train.en train.de --steps 500 --json
    """
    from rich.console import Console

    from openbook.progress import bars
    from openbook.training.comparison import compare as run
    from openbook.training.comparison_display import comparison_table, save_picture
    from openbook.training.display import Display

    console = Console(stderr=as_json)
    choices = {"minutes": minutes, "steps": steps, "vocabulary": vocabulary, "seed": seed}
    folder = output or Path(Path(files[0]).name or "pairs").with_suffix(".comparison")
    displays: list[Display] = []

    def listeners(kind: str) -> "Sequence[Listener]":
        console.print(f"\n[bold]{kind}[/bold]")
        displays.append(Display(console))
        return displays[-1:]

    try:
        results = run(
            files,
            folder,
            {name: value for name, value in choices.items() if value is not None},
            validation=validation,
            device=device,
            overwrite=overwrite,
            listeners=listeners,
            track=bars,
        )
    except KeyboardInterrupt:
        print("\nopenbook: interrupted; the same command goes on from what is kept", file=sys.stderr)
        raise
    finally:
        for display in displays:
            display.close()
    save_picture(results, folder / "comparison.png")
    if as_json:
        print((folder / "comparison.json").read_text())
    else:
        console.print()
        console.print(comparison_table(results))
        console.print(f"Saved both models, the numbers and a picture in {folder}", highlight=False)


@app.command()
def ask(
    model: MODEL,
    prompts: Annotated[
        list[str] | None, typer.Argument(help="what to ask; without it, lines of standard input")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="a file with a prompt on each line; - is standard input")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="end an answer after so many tokens")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 always takes the likeliest token; 1 as learnt")] = None,
    top_k: Annotated[int | None, typer.Option(help="only the k likeliest tokens")] = None,
    top_p: Annotated[float | None, typer.Option(help="only the likeliest tokens that make up this probability")] = None,
    min_p: Annotated[float | None, typer.Option(help="only tokens this likely, relative to the likeliest")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="above 1: what was said becomes less likely")] = None,
    presence_penalty: Annotated[float | None, typer.Option(help="taken off the logits of tokens in the answer")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="end before this text; may be given several times")] = None,
    min_tokens: Annotated[int | None, typer.Option(help="do not end before so many tokens")] = None,
    beams: Annotated[
        int | None, typer.Option(help="follow so many of the likeliest beginnings at once; 1 is greedy")
    ] = None,
    n_best: Annotated[int | None, typer.Option(help="of the beams' results, give so many, with scores")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="of beams: 0 likes short results, 1 is the mean, above 1 likes long ones")
    ] = None,
    language: Annotated[str | None, typer.Option(help="to translate into, for a model that has several")] = None,
    source_language: Annotated[str | None, typer.Option(help="to translate from, likewise")] = None,
    seed: Annotated[int | None, typer.Option(help="same seed, same text")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="hold a conversation; it remembers what was said")] = False,
    system: Annotated[str | None, typer.Option(help="with --chat: what the model is told at first")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="go on from the prompt, without the chat template")] = False,
    show_probabilities: Annotated[
        bool, typer.Option(help="each token with its probability and the next likeliest")
    ] = False,
    as_json: JSON = False,
    device: DEVICE = "auto",
) -> None:
    """Ask a model: it goes on from your prompt, answers it if it was trained to talk, or translates your sentence.

    Several prompts are worked on together.

    [bold]Examples[/bold]

      openbook ask austen.openbook "It is a truth"
      openbook ask austen.openbook "It is a truth" --temperature 0 --max-tokens 40
      openbook ask austen.openbook --file prompts.txt --json
      openbook ask austen.openbook "Mr." --show-probabilities --max-tokens 10
      openbook ask assistant.openbook "what can you do"
      openbook ask assistant.openbook --chat                 Ctrl-C stops an answer, Ctrl-D ends
      openbook ask austen.openbook "It is a" --beams 4 --n-best 4     the likeliest texts, with scores
      openbook ask en-de.openbook "Click the icon."                   a translator translates
      openbook ask en-de.openbook --file in.txt > out.txt             line by line, in order
    """
    from openbook.asking import answer
    from openbook.model import load

    settings: dict[str, Any] = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty, "stop": stop or None,
        "seed": seed, "min_tokens": min_tokens, "beams": beams, "n_best": n_best, "length_penalty": length_penalty,
    }  # fmt: skip
    settings = {name: value for name, value in settings.items() if value is not None}
    opened = load(model, device)
    if chat:
        from openbook.talk import refuse_beside_chat, talk

        refuse_beside_chat(
            prompts=prompts, file=file, plain=plain, json=as_json, show_probabilities=show_probabilities, beams=beams
        )
        talk(opened, system, **settings)
        return
    if system is not None:
        raise OpenbookError("--system: is for a conversation; give --chat too")
    languages = {"language": language, "source_language": source_language}
    if answer(opened, prompts, file, settings, languages, plain, show_probabilities, as_json):
        raise typer.Exit(1)


@app.command()
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
    beams: Annotated[
        int | None, typer.Option(help="show how a search with so many beams goes on: a tree with scores")
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
      openbook explain en-de.openbook "A man sleeps." --beams 3
    """
    from rich.console import Console

    from openbook.explanation.places import tensor_places
    from openbook.explanation.terminal import explain_as_json, explain_in_terminal
    from openbook.model import load

    opened = load(model, "cpu")
    tokens, source = opened.traced_tokens(
        prompt, target, plain=plain, language=language, source_language=source_language
    )
    if beams is not None:
        from openbook.explanation.beam_tree import print_tree, search_with_trail, tree_as_json
        from openbook.generation.settings import Beams
        from openbook.generation.token_rules import TokenRules

        how = Beams(beams=beams, n_best=beams, length_penalty=length_penalty, max_tokens=max_tokens)
        special = opened.tokenizer.special
        rules = TokenRules.of(special, language=language)
        found, trail = search_with_trail(opened.engine, tokens, source, how, rules, special.end)
        if as_json:
            print(tree_as_json(found, trail, how))
        else:
            print_tree(found, trail, how, opened.tokenizer, Console())
        return
    options: dict[str, Any] = {
        "layer": layer, "head": head, "token": token, "number": number, "places": tensor_places(model),
        "source": source, "encoder": encoder, "source_tokenizer": opened.contents.make_source_tokenizer(),
        "template": opened.template_places(prompt, plain=plain),
    }  # fmt: skip
    if as_json:
        print(json.dumps(explain_as_json(opened.transformer, opened.tokenizer, tokens, **options), ensure_ascii=False))
    else:
        explain_in_terminal(opened.transformer, opened.tokenizer, tokens, Console(), **options)


@app.command()
def inspect(model: MODEL, as_json: JSON = False) -> None:
    """Show what a model file includes: parts, shapes, bytes, tokenizer, how it was trained."""
    from rich.console import Console

    from openbook.model_file.display import render
    from openbook.model_file.inspection import describe

    description = describe(model)
    if as_json:
        print(json.dumps(description, ensure_ascii=False))
    else:
        render(description, Console())


@app.command()
def evaluate(
    model: MODEL,
    files: Annotated[
        list[str],
        typer.Argument(help="texts to predict, or pairs to translate: files, folders, globs", show_default=False),
    ],
    context: Annotated[int | None, typer.Option(help="of texts: tokens to look back on at most")] = None,
    stride: Annotated[
        int | None, typer.Option(help="of texts: tokens to move on by; half the context if absent")
    ] = None,
    beams: Annotated[int | None, typer.Option(help="of pairs: beams to translate with; 1 is greedy")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="of beams: above 1 likes long translations")] = None,
    language: Annotated[str | None, typer.Option(help="of pairs: to translate into")] = None,
    source_language: Annotated[str | None, typer.Option(help="of pairs: to translate from")] = None,
    as_json: JSON = False,
    device: DEVICE = "auto",
) -> None:
    """Score a model on held-out files: how well it predicts texts, or for a translator BLEU, chrF and perplexity.

    [bold]Examples[/bold]

      openbook evaluate austen.openbook heldout.txt
      openbook evaluate en-de.openbook test.tsv
      openbook evaluate en-de.openbook test.en test.de --beams 1
    """
    from openbook.model import load
    from openbook.progress import bars
    from openbook.training.pair_display import print_pair_score

    opened = load(model, device)
    of_pairs = {
        "beams": beams, "length_penalty": length_penalty, "language": language, "source_language": source_language
    }  # fmt: skip
    of_pairs = {name: value for name, value in of_pairs.items() if value is not None}
    if opened.translates:
        if context is not None or stride is not None:
            raise OpenbookError("--context and --stride are for texts, and this model translates pairs")
        print_pair_score(opened.evaluate_pairs(files, track=bars, **of_pairs), as_json)
        return
    if of_pairs:
        raise OpenbookError(f"--{next(iter(of_pairs)).replace('_', '-')} is for translators; this model predicts texts")
    score = opened.evaluate(files, context=context, stride=stride, track=bars)
    facts = {
        "bits_a_byte": score.bits_a_byte,
        "perplexity": score.perplexity,
        "tokens": score.tokens,
        "bytes": score.bytes,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        print(f"{score.bits_a_byte:.4f} bits a byte, perplexity {score.perplexity:.2f} a token")
        print(f"over {score.tokens:,} tokens, {score.bytes:,} bytes")


DTYPE = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as it is, if absent")]


@app.command("import")
def import_model(
    path: Annotated[
        Path, typer.Argument(help="a folder with config.json and *.safetensors, or a GGUF file", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the model file to make")] = None,
    dtype: DTYPE = None,
) -> None:
    """Make a model file of a folder as Hugging Face has them, or of a GGUF file. Nothing in them is run.

    [bold]Examples[/bold]

      openbook import downloads/some-model -o some.openbook
      openbook import downloads/some-model -o small.openbook --dtype bfloat16
      openbook import assistant.Q4_K_M.gguf -o assistant.openbook
      openbook ask some.openbook "It is a truth"
    """
    from openbook.model_file.importing import import_model as make
    from openbook.progress import bars

    output = output or Path(path.resolve().name).with_suffix(".openbook")
    made = make(path, output, dtype=dtype, track=bars)
    print(f"{output}: a {made.family} model, {made.dtype}; look at it with `openbook inspect {output}`")


@app.command("export")
def export_model(
    model: MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder or file to make", show_default=False)],
    to: Annotated[
        str,
        typer.Option("--to", help="hf: a folder for transformers and vLLM; gguf: a file for programs built on ggml"),
    ] = "hf",
    dtype: DTYPE = None,
    shard_gigabytes: Annotated[float, typer.Option(help="begin another file of weights after so much")] = 5.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the folder if it is there")] = False,
) -> None:
    """Write a model for other programs, with its tokenizer, chat template and generation defaults.

    [bold]Examples[/bold]

      openbook export austen.openbook --to hf -o austen
      openbook export austen.openbook --to hf -o austen --dtype bfloat16
      openbook export austen.openbook --to gguf -o austen.gguf --dtype q8_0
    """
    from openbook.model_file.exporting import export_model as write
    from openbook.progress import bars

    print(write(model, output, to, dtype=dtype, gigabytes=shard_gigabytes, overwrite=overwrite, track=bars))


def main() -> None:
    """Run the command; what a person can mend is one line, not a traceback."""
    if "train" in sys.argv or "_OPENBOOK_COMPLETE" in os.environ:  # reading the recipe takes a while
        from openbook.options import add_recipe_options

        add_recipe_options(train)
    try:
        app(prog_name="openbook")
    except OpenbookError as error:
        print(f"openbook: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
