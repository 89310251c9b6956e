"""What `openbook ask` does with a model: continue prompts, search, translate, or chat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.cli.chat import hold_conversation
from openbook.cli.console import as_json_lines, as_n_best, as_stream, read_prompts
from openbook.cli.sentence_lines import translated_lines
from openbook.errors import OpenbookError
from openbook.generation.settings import SEARCH_ONLY
from openbook.model import Model

ALTERNATIVES = 4
"""How many other tokens --show-probabilities and --json print."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask, and how to print the answer.

    Attributes:
        prompts: from the command line, if any.
        file: where they are instead; standard input if there is neither.
        encoding: of the file; None finds it out.
        settings: as for `Sampling` or `BeamSearch`.
        languages: target_language and source_language, of a translation.
        chat: hold a conversation.
        system_prompt: of the conversation.
        raw: leave out the chat template.
        show_probabilities: print each token with its probability.
        as_json: print JSON.
    """

    prompts: Sequence[str] | None = None
    file: Path | None = None
    encoding: str | None = None
    settings: Mapping[str, Any]
    languages: Mapping[str, str | None]
    chat: bool = False
    system_prompt: str | None = None
    raw: bool = False
    show_probabilities: bool = False
    as_json: bool = False


def answers(model: Model, question: Question) -> Iterator[str]:
    """The output of `openbook ask`, as texts to print one after the other.

    Raises:
        OpenbookError: options that do not go together, or as the library.
        typer.Exit: there were sentences to translate and none could be.
    """
    if question.chat:
        _hold_conversation(model, question)
        return iter(())
    if question.system_prompt is not None:
        raise OpenbookError("--system-prompt: is for a conversation; give --chat too")
    if model.translates:
        return _translation(model, question)
    if any(question.languages.values()):
        raise OpenbookError("--target-language is for translators, and this model continues a prompt")
    prompts = read_prompts(question.prompts, question.file, question.encoding)
    if SEARCH_ONLY & question.settings.keys():
        if question.show_probabilities:
            raise OpenbookError("--show-probabilities is for sampling; beams have scores, see --n-best and --json")
        found = model.search(prompts, raw=question.raw, **question.settings)
        return as_n_best(model.tokenizer, prompts, found, question.as_json)
    settings = dict(question.settings)
    if question.show_probabilities or question.as_json:
        settings["top_alternatives"] = min(ALTERNATIVES, model.tokenizer.vocab_size - 1)
    chunks = model.stream(prompts, raw=question.raw, **settings)
    if question.as_json:
        return as_json_lines(model.tokenizer, prompts, chunks)
    return as_stream(model.tokenizer, prompts, chunks, question.show_probabilities)


def _translation(model: Model, question: Question) -> Iterator[str]:
    if question.show_probabilities:
        raise OpenbookError("--show-probabilities is for models that continue a prompt; see --n-best and --json")
    translator = model.translator(**question.settings, **question.languages)
    n_best = question.settings.get("n_best", 1)
    return translated_lines(
        translator,
        question.prompts,
        question.file,
        as_json=question.as_json,
        n_best=n_best,
        encoding=question.encoding,
    )


def _hold_conversation(model: Model, question: Question) -> None:
    """A conversation prints by itself: Ctrl-C stops an answer wherever it comes."""
    refused = {
        "prompts": question.prompts,
        "--file": question.file,
        "--raw": question.raw,
        "--json": question.as_json,
        "--show-probabilities": question.show_probabilities,
        "--beam-size": question.settings.get("beam_size"),
    }
    for name, value in refused.items():
        if value:
            raise OpenbookError(f"--chat: takes no {name}; what you write is read line by line")
    hold_conversation(model, question.system_prompt, **question.settings)
