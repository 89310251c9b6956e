"""A whole training run on books: text → plan → tokenizer → tokens → model → model file. It goes on where it stopped."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook.errors import OpenbookError
from openbook.model_file.atomic import replacing
from openbook.model_file.contents import Contents
from openbook.model_file.file import load, save
from openbook.progress import Track, silent
from openbook.text.books import find_books
from openbook.text.corpus import Corpus
from openbook.text.prepare import prepare
from openbook.text.tokenizer import Tokenizer
from openbook.text.tokenizer_training import SAMPLE, train_tokenizer
from openbook.text.tokens import Tokens, tokenize
from openbook.training.books import Books
from openbook.training.checkpoint import Keeper
from openbook.training.curve import save_curve
from openbook.training.device import choose_device
from openbook.training.evaluation import Score
from openbook.training.initialize import initialize
from openbook.training.interrupts import interrupts
from openbook.training.logbook import Logbook, read_log
from openbook.training.loop import Event, Listener, Loop, Outcome
from openbook.training.lora import TARGETS, add_low_rank, check_low_rank, merge_low_rank
from openbook.training.memory import check_memory
from openbook.training.plan import SIZES, Plan, Text, make_plan, plan_continuation, shape_choices
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.training.record import data_record, hash_of, training_record
from openbook.training.samples import Samples
from openbook.transformer.decoder_only import DecoderOnly

CLOSING = 1.0
"""Seconds to write the model and draw the curve."""


@dataclass(frozen=True)
class Request:
    """What a person asks for. Two runs with equal requests on equal books are the same run.

    Args:
        inputs: books: files, folders, globs.
        output: the model file to make.
        choices: recipe fields that are given (see `Recipe`).
        validation: files to validate with; None holds out the tail of each document.
        validation_share: how much of each document to hold out; None picks it by the amount of text.
        keep_duplicates: whether passages that occur twice stay.
        device: auto, cpu, cuda or mps.
        start: a model file to go on from.
        lora: rank of a low-rank change to learn, instead of all weights.
        lora_targets: the matrices that it changes.
    """

    inputs: Sequence[str | Path]
    output: Path
    choices: Mapping[str, Any]
    validation: Sequence[str | Path] | None = None
    validation_share: float | None = None
    keep_duplicates: bool = False
    device: str = "auto"
    start: Path | None = None
    lora: int | None = None
    lora_targets: Sequence[str] = TARGETS

    @property
    def folder(self) -> Path:
        """Where the run keeps what it needs to go on, its log and its curve."""
        return self.output.with_suffix(".training")


@dataclass(frozen=True)
class Result:
    """What came of it."""

    path: Path
    outcome: Outcome
    score: Score
    recipe: Recipe
    curve: Path


@dataclass
class Training:
    """One run, from the request to the model file.

    Args:
        request: what is asked for.
        listeners: are told of every event.
        track: shows progress of the longer preparations.
        clock: seconds since the process began; they count against the minutes.
    """

    request: Request
    listeners: Sequence[Listener] = ()
    track: Track = silent
    clock: Callable[[], float] = time.perf_counter

    def plan(self) -> Plan:
        """Prepare the text and pick every choice, without training.

        Raises:
            OpenbookError: there is no text, or a choice is out of range.
        """
        self._check()
        plan = self._plan(self._prepare())
        self._tell_plan(plan)
        return plan

    def run(self, overwrite: bool = False) -> Result:
        """Train and save the model file; an interrupted run of the same request goes on.

        Raises:
            OpenbookError: the output exists (and not `overwrite`), another run is unfinished there, there is no
                text, or training fails; the message says what is kept.
        """
        request = self.request
        self._check()
        self._check_output(overwrite)
        keeper = Keeper(request.folder)
        corpus = self._prepare()
        data = data_record(corpus, find_books([*request.inputs, *(request.validation or [])]))
        recipe = self._recipe(corpus, keeper, overwrite)
        tokenizer, tokens, recipe = self._tokens(corpus, recipe)
        contents, model = self._model(recipe, tokenizer)
        device = choose_device(request.device)
        model.to(device)
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        task = _task(recipe, tokens, tokenizer.end_id, device, dtype)
        logbook = Logbook(request.folder / "log.jsonl")
        every = max(10.0, 6 * (recipe.minutes or 10))
        samples = Samples(model, tokenizer, tokens.validation.ids, every, self._sampled)  # type: ignore[arg-type]
        try:
            with interrupts() as interrupted:
                loop = Loop(
                    model,
                    task,
                    recipe,
                    keeper,
                    dtype,
                    self.clock,
                    closing=CLOSING,
                    listeners=[*self.listeners, logbook, samples],
                    interrupted=interrupted,
                )
                outcome = loop.run()
                self._tell("ended")
                merge_low_rank(model)
                score = task.final_score(model, self.track)
                record = training_record(data, recipe, outcome, score, read_log(logbook.path), request.start)
                save(request.output, replace(contents, training=record), model.state_dict())
        finally:
            logbook.close()
            curve = request.folder / "loss.png"
            with suppress(OSError):  # on a full disk what matters is said already
                save_curve(read_log(logbook.path), curve)
        if outcome.how != "interrupted":
            (request.folder / "run.json").unlink(missing_ok=True)
            keeper.forget()
        result = Result(request.output, outcome, score, recipe, curve)
        self._tell(
            "saved",
            step=outcome.position.step,
            how=outcome.how,
            path=str(request.output),
            bits_a_byte=score.bits_a_byte,
            perplexity=score.perplexity,
            best_step=outcome.position.best_step,
            curve=str(curve),
        )
        return result

    def _check(self) -> None:
        """Refuse at once what can be seen to be wrong before any work."""
        request = self.request
        make_recipe(request.choices)
        choose_device(request.device)
        if request.lora is not None:
            check_low_rank(request.lora, request.lora_targets)
        if request.start is not None:
            load(request.start)
        elif request.lora is not None:
            raise OpenbookError(f"--lora {request.lora}: changes a model that is there; give it with --from")

    def _check_output(self, overwrite: bool) -> None:
        request = self.request
        output, unfinished = request.output, (request.folder / "checkpoint.safetensors").exists()
        if output.is_dir() or output == request.folder:
            raise OpenbookError(f"{output}: is a folder, or would be; give -o the name of a file")
        if not output.absolute().parent.is_dir():
            raise OpenbookError(f"{output}: the folder {output.parent} does not exist; make it first")
        if request.start is not None and output.exists() and output.samefile(request.start):
            raise OpenbookError(f"{output}: is the model to go on from, which is needed to the end; give another -o")
        if output.exists() and not overwrite and not unfinished:
            raise OpenbookError(f"{output}: exists; give another -o, or --overwrite to replace it")

    def _prepare(self) -> Corpus:
        request = self.request
        corpus = prepare(
            request.inputs,
            request.folder / "text",
            validation=request.validation,
            validation_share=request.validation_share,
            keep_duplicates=request.keep_duplicates,
            track=self.track,
        )
        self._tell(
            "prepared",
            lines=corpus.report.lines(),
            expectations=corpus.expectations(),
            train_bytes=corpus.train.bytes,
            validation_bytes=corpus.validation.bytes,
        )
        return corpus

    def _plan(self, corpus: Corpus) -> Plan:
        text = Text(corpus.train.bytes, corpus.validation.bytes)
        device = choose_device(self.request.device)
        if self.request.start is None:
            self._check_least()
            return make_plan(text, self.request.choices, device, self.clock())
        contents, _ = load(self.request.start)
        return plan_continuation(text, self.request.choices, contents.architecture, device, self.clock())

    def _check_least(self) -> None:
        """Refuse choices that do not fit into memory whatever the rest is, before the plan measures them."""
        choices, (layers, width, _) = self.request.choices, SIZES[0]
        sizes = shape_choices(choices.get("layers", layers), choices.get("width", width), choices)
        least = make_recipe({"rows_at_once": 1, **sizes, **choices})
        check_memory(build_architecture(least), least)

    def _recipe(self, corpus: Corpus, keeper: Keeper, overwrite: bool) -> Recipe:
        """The recipe of the unfinished run that lies there, or a new one."""
        request = self.request
        identity = {
            "text": corpus.fingerprint,
            "choices": dict(request.choices),
            "from": None if request.start is None else hash_of(request.start),
            "lora": None if request.lora is None else [request.lora, *request.lora_targets],
        }
        place, log = request.folder / "run.json", request.folder / "log.jsonl"
        if place.exists() and not overwrite:
            earlier = json.loads(place.read_text("utf-8"))
            if earlier["identity"] == json.loads(json.dumps(identity)):
                if not keeper.checkpoint.exists():
                    log.unlink(missing_ok=True)
                return make_recipe(earlier["recipe"], str(place))
            if keeper.checkpoint.exists():
                raise OpenbookError(
                    f"{request.folder}: holds an unfinished run with other books or choices; give the same again to "
                    "go on with it, another -o, or --overwrite to begin anew"
                )
        keeper.forget()
        for path in (place, log, request.folder / "tokenizer.json"):
            path.unlink(missing_ok=True)
        plan = self._plan(corpus)
        self._tell_plan(plan)
        with replacing(place) as file:
            file.write(json.dumps({"identity": identity, "recipe": plan.recipe.as_dict()}).encode())
        return plan.recipe

    def _tokens(self, corpus: Corpus, recipe: Recipe) -> tuple[Tokenizer, Tokens, Recipe]:
        """The tokenizer, the text in its tokens, and the recipe with its true size of vocabulary."""
        folder = self.request.folder
        place = folder / "tokenizer.json"
        if self.request.start is not None:
            tokenizer = load(self.request.start)[0].make_tokenizer()
        elif place.exists():
            tokenizer = Tokenizer.from_json(place.read_text("utf-8"))
        else:
            pieces = corpus.train.sample(SAMPLE)
            tokenizer = train_tokenizer(pieces, recipe.tokenizer, recipe.vocabulary, track=self.track)
            with replacing(place) as file:
                file.write(tokenizer.to_json().encode())
        tokens = tokenize(corpus, tokenizer, folder / "tokens", track=self.track)
        unknown = tokens.train.unknown
        facts = {
            "vocabulary": tokenizer.vocabulary_size,
            "train": len(tokens.train.ids),
            "validation": len(tokens.validation.ids),
            "unknown": unknown,
        }
        self._tell("tokens", **facts)
        if len(tokens.train.ids) <= recipe.context + 1:
            raise OpenbookError(
                f"--context {recipe.context}: the text has only {len(tokens.train.ids):,} tokens; take a shorter "
                "context, or more text"
            )
        if len(tokens.validation.ids) < 2:
            raise OpenbookError("too little text to hold any out for validation; add books, or give --validation")
        if self.request.start is None:
            recipe = replace(recipe, vocabulary=tokenizer.vocabulary_size)
        return tokenizer, tokens, recipe

    def _model(self, recipe: Recipe, tokenizer: Tokenizer) -> tuple[Contents, DecoderOnly]:
        """The model to train, new or to go on from, with all that its file says besides the weights."""
        request = self.request
        if request.start is None:
            architecture = build_architecture(recipe)
            check_memory(architecture, recipe)
            model = DecoderOnly(architecture, recipe.dropout)
            initialize(model, recipe.seed)
            return Contents(architecture=architecture, tokenizer=tokenizer.to_json()), model
        contents, tensors = load(request.start)
        check_memory(contents.architecture, recipe, frozen=request.lora is not None)
        with torch.device("meta"):
            model = DecoderOnly(contents.architecture, recipe.dropout)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        if request.lora is not None:
            add_low_rank(model, request.lora, request.lora_targets, recipe.seed)
        return contents, model

    def _sampled(self, prompt: str, text: str) -> None:
        self._tell("sample", prompt=prompt, text=text)

    def _tell_plan(self, plan: Plan) -> None:
        facts = {"recipe": plan.recipe.as_dict(), "reasons": dict(plan.reasons)}
        self._tell("plan", **facts, tokens_expected=plan.tokens, epochs=plan.epochs, expected=plan.seconds)

    def _tell(self, event: str, **facts: Any) -> None:
        told: Event = {"event": event, "step": 0, "seconds": round(self.clock(), 3)} | facts
        for listener in self.listeners:
            listener(told)


def _task(recipe: Recipe, tokens: Tokens, end_id: int, device: torch.device, dtype: torch.dtype) -> Books:
    ids = tokens.validation.ids
    held_out = np.concatenate((np.array([end_id], ids.dtype), ids))
    starts = tokens.train.documents[:-1]
    return Books(recipe, tokens.train.ids, held_out, tokens.validation.text_bytes, starts, device, dtype)
