"""Runs of a model: the first as the command asks for it, others as the page does."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from openbook.errors import OpenbookError
from openbook.explanation.model_source import ModelSource
from openbook.explanation.page.manifest import Asked
from openbook.explanation.page.page_run import PageRun
from openbook.explanation.page.views import VIEWS
from openbook.explanation.traced_generation import trace_generation
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.model import Model
from openbook.model_file.file_state import FileState
from openbook.text.printable import well_formed
from openbook.web.runs import Runs, Start

SETTINGS = [field.name for field in fields(Sampling)]
WRITTEN, TRANSLATED = 8, 64
"""How many tokens are written at most unless the settings say so: of a language model, of a translator."""


def page_run(
    model: Model,
    prompt: str,
    target: str = "",
    *,
    raw: bool = False,
    languages: Mapping[str, str | None] | None = None,
    target_ids: Sequence[int] = (),
    most_bytes: int | None = None,
    **settings: Any,
) -> PageRun:
    """A run to look into: the prompt, the tokens written after it, and every number of each step.

        page = page_run(model, "It is a truth", max_tokens=4)
        page.slices([{"step": 1, "path": "decoder.blocks.0.self_attention.weights"}])

    Args:
        model: that runs.
        prompt, target, raw: as for `Model.trace`.
        languages: target_language and source_language, as for `Model.translate`.
        target_ids: tokens that follow what the model reads, as a beam has them.
        most_bytes: memory of the traces, as for `trace_generation`.
        settings: as for `Model.ask`; the most probable token is taken unless they say otherwise.

    Raises:
        OpenbookError: as `Model.trace`; a setting is unknown or out of range.
    """
    languages = dict(languages or {})
    tokens, source = model.traced_tokens(prompt, target, raw=raw, **languages)
    size = model.metadata.architecture.vocab_size
    if not all(0 <= token < size for token in target_ids):
        raise OpenbookError(f"target_ids: give tokens from 0 to {size - 1:,}")
    tokens = [*tokens, *target_ids]
    most = TRANSLATED if model.translates else WRITTEN
    decoding = Sampling.from_dict({"temperature": 0.0, "max_tokens": most} | settings)
    rules = _rules(model, decoding, languages.get("target_language"))
    start = 0
    if source is not None:
        start = 1 + len(rules.forced_prefix)
        rules = replace(rules, forced_prefix=())  # the target so far has it
    run = trace_generation(model.transformer, tokens, decoding, rules, source=source, most_bytes=most_bytes)
    template = frozenset() if model.translates else frozenset(model.template_token_indices(prompt, raw=raw))
    length = len(tokens) - len(target_ids)
    asked = Asked(prompt, target, raw, template, start, languages, length)
    return PageRun(run, source_of(model), asked, VIEWS)


def answer_run(
    model: Model,
    tokens: Sequence[int],
    written: Sequence[int],
    settings: Sampling,
    asked: Asked,
    *,
    source: Sequence[int] | None = None,
    most_bytes: int | None = None,
) -> PageRun:
    """An answer that was given before, computed again step by step with the same tokens.

    Args:
        model: that gave it.
        tokens: ids of what it read, or for an encoder-decoder of what its decoder started from.
        written: ids of the answer; without any, it is generated anew with the settings.
        settings: with which it was given; with its seed, each step shows the draw that it had.
        asked: what to show as asked for.
        source: ids of the source of an encoder-decoder.
        most_bytes: memory of the traces, as for `trace_generation`.

    Raises:
        OpenbookError: as `trace_generation`; the answer goes beyond the context.
    """
    room = model.metadata.architecture.context - len(tokens) + 1
    if len(written) > room:
        raise OpenbookError(f"written: {len(written):,} tokens; after this prompt the model holds {room:,} at most")
    rules = replace(_rules(model, settings, asked.languages.get("target_language")), forced_end=None)
    again = replace(settings, max_tokens=len(written) or settings.max_tokens)
    run = trace_generation(
        model.transformer, tokens, again, rules, source=source, written=written, most_bytes=most_bytes
    )
    return PageRun(run, source_of(model), asked, VIEWS)


def _rules(model: Model, settings: Sampling, target_language: str | None) -> TokenRules:
    unused = model.tokenizer.ids_without_token(model.metadata.architecture.vocab_size)
    return TokenRules.of(model.tokenizer.special, settings, target_language, unused=unused)


@lru_cache(maxsize=1)
def source_of(model: Model) -> ModelSource:
    """What a page needs of a model beside its numbers: tokenizers and the file."""
    state = None if model.path is None else FileState.of(model.path)
    return ModelSource(model.metadata, model.tokenizer, model.metadata.make_source_tokenizer(), model.path, state)


def model_runs(model: Model, asked: Mapping[str, Any], languages: Mapping[str, str | None]) -> Runs:
    """The runs of a model, beginning with what was `asked`: prompt, target, raw, settings.

    Raises:
        OpenbookError: as `page_run`.
    """
    start = starter(model, asked, languages)
    return Runs(start({}), start)


def starter(
    model: Model, asked: Mapping[str, Any], languages: Mapping[str, str | None], most_bytes: int | None = None
) -> Start:
    """Starts runs of a model from what a page asks for; what it does not name is as in `asked`."""

    def start(wanted: Mapping[str, Any]) -> PageRun:
        given = {**asked, **wanted}
        prompt, target, raw, settings = (given.get(name) for name in ("prompt", "target", "raw", "settings"))
        if not isinstance(prompt, str) or not isinstance(target, str):
            raise OpenbookError("prompt and target: give texts")
        if not isinstance(settings, dict):
            raise OpenbookError("settings: give an object of names and values")
        ids = given.get("target_ids", [])
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise OpenbookError("target_ids: give a list of whole numbers")
        for name in settings:
            if name not in SETTINGS:
                raise OpenbookError(f"{str(name)[:40]} is no setting; there are {', '.join(SETTINGS)}")
        prompt, target = well_formed(prompt), well_formed(target)
        return page_run(
            model,
            prompt,
            target,
            raw=bool(raw),
            languages=languages,
            target_ids=ids,
            most_bytes=most_bytes,
            **settings,
        )

    return start
