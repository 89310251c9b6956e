"""`openbook ask`: go on from a prompt, answer, hold a conversation, translate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openbook.cli.arguments import DEVICE, ENGINE, JSON, MODEL
from openbook.errors import OpenbookError


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
    no_repeat_ngram_size: Annotated[int | None, typer.Option(help="no so many tokens in a row come twice")] = None,
    beam_size: Annotated[
        int | None, typer.Option(help="follow so many of the likeliest beginnings at once; 1 is greedy")
    ] = None,
    n_best: Annotated[int | None, typer.Option(help="of the beams' results, give so many, with scores")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="of beams: 0 likes short results, 1 is the mean, above 1 likes long ones")
    ] = None,
    early_stopping: Annotated[
        str | None, typer.Option(help="of beams: when a search ends: never, heuristic or always", show_default=False)
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
    engine: ENGINE = "torch",
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
      openbook ask austen.openbook "It is a" --beam-size 4 --n-best 4     the likeliest texts, with scores
      openbook ask en-de.openbook "Click the icon."                   a translator translates
      openbook ask en-de.openbook --file in.txt > out.txt             line by line, in order
    """
    from openbook.cli.answer import answer
    from openbook.model import load
    from openbook.progress import bars

    settings: dict[str, Any] = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty, "stop": stop or None,
        "seed": seed, "min_tokens": min_tokens, "beam_size": beam_size, "n_best": n_best, "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size, "early_stopping": early_stopping,
    }  # fmt: skip
    settings = {name: value for name, value in settings.items() if value is not None}
    opened = load(model, device, engine)
    if engine != "torch":  # takes seconds
        opened.open_engine(bars)
    if chat:
        from openbook.cli.chat import refuse_beside_chat, talk

        refuse_beside_chat(
            prompts=prompts,
            file=file,
            plain=plain,
            json=as_json,
            show_probabilities=show_probabilities,
            beam_size=beam_size,
        )
        talk(opened, system, **settings)
        return
    if system is not None:
        raise OpenbookError("--system: is for a conversation; give --chat too")
    languages = {"language": language, "source_language": source_language}
    if answer(opened, prompts, file, settings, languages, plain, show_probabilities, as_json):
        raise typer.Exit(1)
