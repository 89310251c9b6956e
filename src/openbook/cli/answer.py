"""What the command `openbook ask` does with a model: go on from prompts, search, or translate, and print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openbook.cli.console import (
    print_answers,
    print_json_answers,
    print_searched,
    read_prompts,
    translate_lines,
)
from openbook.errors import OpenbookError
from openbook.model import Model


def answer(
    model: Model,
    prompts: Sequence[str] | None,
    file: Path | None,
    settings: Mapping[str, Any],
    languages: Mapping[str, str | None],
    plain: bool,
    probabilities: bool,
    as_json: bool,
) -> bool:
    """Print the answers to prompts, or to the lines of a file.

    Args:
        model: goes on from prompts, answers through its chat template, or translates.
        prompts: from the command line, if any.
        file: where they are instead.
        settings: as for `Sampling` or `BeamSearch`.
        languages: `language` and `source_language`, for translators.
        plain: leave the chat template out.
        probabilities: print each token with its probability.
        as_json: print JSON.

    Returns:
        Whether a sentence could not be translated.

    Raises:
        OpenbookError: options that do not go together, or as the library.
    """
    if model.translates:
        if probabilities:
            raise OpenbookError("--show-probabilities is for models that go on from a prompt; see --n-best and --json")
        translator = model.translator(**settings, **languages)
        return translate_lines(translator, prompts, file, json_lines=as_json, n_best=settings.get("n_best", 1))
    if any(languages.values()):
        raise OpenbookError("--language is for translators, and this model goes on from a prompt")
    asked = read_prompts(prompts, file)
    if {"beam_size", "n_best", "length_penalty", "early_stopping"} & settings.keys():
        if probabilities:
            raise OpenbookError("--show-probabilities is for sampling; beams have scores, see --n-best and --json")
        print_searched(asked, model.search(asked, plain=plain, **settings), json_lines=as_json)
        return False
    runners_up = min(4, model.tokenizer.vocab_size - 1) if probabilities else 0
    pieces = model.stream(asked, plain=plain, runners_up=runners_up, **settings)
    if as_json:
        print_json_answers(asked, pieces)
    else:
        print_answers(model.tokenizer, asked, pieces, probabilities)
    return False
