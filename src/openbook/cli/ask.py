"""`openbook ask`: continue a prompt, answer it, hold a conversation, translate."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import DEVICE, ENCODING, ENGINE, JSON, MODEL
from openbook.cli.usage_errors import option_name
from openbook.text.output import warn, write


def ask(
    model: MODEL,
    prompts: Annotated[
        list[str] | None, typer.Argument(help="prompts, or sentences to translate; if absent, lines of standard input")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="a file with a prompt on each line; - is standard input")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="end an answer after so many tokens")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy: always the most probable token; 1 samples as trained")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="sample from the k most probable tokens")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="sample from the most probable tokens with this probability together")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="sample from tokens this probable, relative to the most probable")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="above 1, tokens of prompt and answer become less probable")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="subtracted from the logits of tokens in the answer")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help="subtracted from the logits of a token as often as the answer has it")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="end before this text; may be given several times")] = None,
    min_tokens: Annotated[int | None, typer.Option(help="end no answer before so many tokens")] = None,
    no_repeat_ngram_size: Annotated[int | None, typer.Option(help="no n-gram of this size occurs twice")] = None,
    beam_size: Annotated[int | None, typer.Option(help="beam search with so many beams; 1 is greedy")] = None,
    n_best: Annotated[int | None, typer.Option(help="of a beam search: print the n best, with scores")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="of a beam search: 0 favours short results, 1 is the mean, above 1 long ones")
    ] = None,
    early_stopping: Annotated[
        str | None, typer.Option(help="of a beam search, when it ends: never, heuristic or always")
    ] = None,
    target_language: Annotated[
        str | None, typer.Option(help="to translate into, for a model that has several languages")
    ] = None,
    source_language: Annotated[str | None, typer.Option(help="to translate from, likewise")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same text")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="hold a conversation")] = False,
    system_prompt: Annotated[str | None, typer.Option(help="with --chat: what the model is told first")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="the prompt as it is: without the chat template, every blank kept")
    ] = False,
    show_probabilities: Annotated[
        bool, typer.Option(help="each token with its probability and the most probable others")
    ] = False,
    encoding: ENCODING = None,
    as_json: JSON = False,
    device: DEVICE = "auto",
    engine: ENGINE = "auto",
) -> None:
    """Ask a model: it continues your prompt, answers it if it was trained to chat, or translates your sentence.

    Several prompts are answered together, in one batch.

    [bold]Examples[/bold]

      openbook ask austen.openbook "It is a truth"
      openbook ask austen.openbook "It is a truth" --temperature 0 --max-tokens 40
      openbook ask austen.openbook --file prompts.txt --json
      openbook ask austen.openbook "Mr." --show-probabilities --max-tokens 10
      openbook ask assistant.openbook "what can you do"
      openbook ask assistant.openbook --chat                 Ctrl-C stops an answer, Ctrl-D ends
      openbook ask austen.openbook "It is a" --beam-size 4 --n-best 4     the most probable texts, with scores
      openbook ask en-de.openbook "Click the icon."                       a translator translates
      openbook ask en-de.openbook --file in.txt > out.txt                 line by line, in order
    """
    from openbook.cli.answer import Question, answers
    from openbook.model import load
    from openbook.progress import bars

    settings = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty, "stop": stop or None, "min_tokens": min_tokens,
        "no_repeat_ngram_size": no_repeat_ngram_size, "seed": seed, "beam_size": beam_size, "n_best": n_best,
        "length_penalty": length_penalty, "early_stopping": early_stopping,
    }  # fmt: skip
    question = Question(
        prompts=prompts,
        file=file,
        encoding=encoding,
        settings={name: value for name, value in settings.items() if value is not None},
        languages={"target_language": target_language, "source_language": source_language},
        chat=chat,
        system_prompt=system_prompt,
        raw=raw,
        show_probabilities=show_probabilities,
        as_json=as_json,
    )
    opened = load(model, device, engine, ahead=True)
    if engine == "onnx":  # takes half a minute
        opened.open_engine(bars)
    elif opened.engine_choice.problem is not None:
        warn(f"PyTorch answers, more slowly: {opened.engine_choice.problem.spelled(option_name)}")
    for text in answers(opened, question):
        write(text, end="")
