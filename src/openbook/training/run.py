"""A whole training run: text → plan → tokens → model → model file. It goes on where it stopped.

Whether it learns from books or from sentence pairs is known to its `Dataset` alone.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.generation.engines.malloc import keep_freed_memory
from openbook.model_file.adapter import Adapter, fingerprint, load_merged, read_adapter, save_adapter
from openbook.model_file.atomic import atomic_write
from openbook.model_file.file import save
from openbook.model_file.int8 import dequantize
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track, silent
from openbook.text.tokenizer.bpe_dropout import require_bpe
from openbook.training.checkpoint import Checkpointer
from openbook.training.data.book_dataset import BookDataset
from openbook.training.data.conversation_dataset import ConversationDataset
from openbook.training.data.dataset import Dataset
from openbook.training.data.pair_dataset import PairDataset
from openbook.training.initialize import balance_experts, initialize
from openbook.training.interrupts import interrupts
from openbook.training.loop import Callback, Event, TrainingLoop
from openbook.training.lora import SCALE, add_lora, check_lora, lora_matrices, merge_lora
from openbook.training.plan.device import choose_device
from openbook.training.plan.memory import check_memory, spare_memory
from openbook.training.plan.plan import Plan
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.training.report.log import EventLog, read_log
from openbook.training.report.loss_curve import save_curve
from openbook.training.report.record import hash_of, training_record
from openbook.training.request import TrainingRequest, TrainingResult
from openbook.transformer.block import Stack
from openbook.transformer.transformer import Transformer

CLOSING = 1.0
"""Seconds to draw the curve and write a small model."""
WRITTEN_A_SECOND = 2e8
"""Bytes of a large one."""


@dataclass
class TrainingRun:
    """One run, from the request to the model file.

    Args:
        request: what is asked for.
        callbacks: are told of every event.
        track: shows progress of the longer preparations.
        clock: seconds since the process began; they count against the minutes.
    """

    request: TrainingRequest
    callbacks: Sequence[Callback] = ()
    track: Track = silent
    clock: Callable[[], float] = time.perf_counter

    def plan(self) -> Plan:
        """Prepare the text and pick every choice, without training.

        Raises:
            OpenbookError: there is no text, or a choice is out of range.
        """
        keep_freed_memory()
        start = self._check()
        return self._plan(self._prepare(start), start)

    def run(self, overwrite: bool = False) -> TrainingResult:
        """Train and save the model file; an interrupted run of the same request goes on.

        Raises:
            OpenbookError: the output exists (and not `overwrite`), another run is unfinished there, there is no
                text, or training fails; the message says what is kept.
        """
        keep_freed_memory()
        request = self.request
        start = self._check()
        self._check_output(overwrite)
        checkpointer = Checkpointer(request.folder)
        dataset = self._prepare(start)
        data = dataset.file_records()
        recipe, facts = dataset.tokenize(self._recipe(dataset, start, checkpointer, overwrite))
        self._tell("tokens", **facts)
        contents, model = self._model(recipe, dataset)
        balance_experts(model, recipe.load_balancing / recipe.batch_tokens)
        device = choose_device(request.device)
        model.to(device)
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        task = dataset.task(recipe, device, dtype)
        logbook = EventLog(request.folder / "log.jsonl")
        every = max(10.0, 6 * (recipe.minutes or 10))
        samples = dataset.samples(model, every, self._sampled)
        try:
            with interrupts() as interrupted:
                loop = TrainingLoop(
                    model,
                    task,
                    recipe,
                    checkpointer,
                    dtype,
                    self.clock,
                    reserved_seconds=CLOSING + sum(each.nbytes for each in model.parameters()) / WRITTEN_A_SECOND,
                    callbacks=[*self.callbacks, logbook, samples],
                    should_stop=interrupted,
                )
                outcome = loop.run()
                self._tell("ended")
                changes = lora_matrices(model)
                merge_lora(model)
                score, metrics = task.evaluate(model, self.track), task.metrics(model)
                events = read_log(logbook.path)
                record = training_record(data, recipe, outcome, score, metrics, events, request.base_model)
                if request.adapter:
                    assert request.base_model is not None
                    adapter = Adapter(request.base_model.name, fingerprint(request.base_model), SCALE, record)
                    save_adapter(request.output, adapter, changes)
                else:
                    save(request.output, replace(contents, training=record), model.state_dict())
        finally:
            logbook.close()
            curve = request.folder / "loss.png"
            with suppress(OSError):  # on a full disk what matters is said already
                save_curve(read_log(logbook.path), curve, dataset.summary().get("scored", "held-out"))
        if outcome.stop_reason != "interrupted":
            (request.folder / "run.json").unlink(missing_ok=True)
            checkpointer.clear()
        result = TrainingResult(request.output, outcome, score, metrics, recipe, curve)
        self._tell(
            "saved",
            step=outcome.state.step,
            stop_reason=outcome.stop_reason,
            path=str(request.output),
            bits_per_byte=score.bits_per_byte,
            perplexity=score.perplexity,
            **metrics,
            best_step=outcome.state.best_step,
            curve=str(curve),
        )
        return result

    def _check(self) -> ModelMetadata | None:
        """Refuse at once what can be seen to be wrong before any work; gives what the model to go on from says."""
        request = self.request
        make_recipe(request.choices)
        choose_device(request.device)
        if request.pairs and request.conversations:
            raise OpenbookError("--pairs and --conversations: the files are one or the other")
        if request.lora_rank is not None:
            check_lora(request.lora_rank, request.lora_targets)
        if request.adapter:
            self._check_adapter()
        if request.choices.get("bpe_dropout") and request.conversations:
            raise OpenbookError("--bpe-dropout: is for books and pairs; conversations are learned as they are written")
        if request.base_model is not None:
            start = load_merged(request.base_model)[0]
            if request.choices.get("bpe_dropout"):
                require_bpe(start.make_source_tokenizer(), start.make_tokenizer())
            return start
        if request.lora_rank is not None:
            raise OpenbookError(f"--lora-rank {request.lora_rank}: changes a model that is there; give it with --from")
        return None

    def _check_adapter(self) -> None:
        request = self.request
        if request.lora_rank is None or request.base_model is None:
            raise OpenbookError("--adapter: saves what --lora-rank learns; give --from and --lora-rank too")
        if read_adapter(request.base_model) is not None:
            raise OpenbookError(
                f"--adapter: {request.base_model} is an adapter itself, and cannot be the base of another"
            )
        if request.output.absolute().parent != request.base_model.absolute().parent:
            raise OpenbookError(
                f"--adapter: an adapter lies beside its model; give -o a name in {request.base_model.absolute().parent}"
            )

    def _check_output(self, overwrite: bool) -> None:
        request = self.request
        output, unfinished = request.output, (request.folder / "checkpoint.safetensors").exists()
        if output.is_dir() or output == request.folder:
            raise OpenbookError(f"{output}: is a folder, or would be; give -o the name of a file")
        if not output.absolute().parent.is_dir():
            raise OpenbookError(f"{output}: the folder {output.parent} does not exist; make it first")
        if request.base_model is not None and output.exists() and output.samefile(request.base_model):
            raise OpenbookError(f"{output}: is the model to go on from, which is needed to the end; give another -o")
        if output.exists() and not overwrite and not unfinished:
            raise OpenbookError(f"{output}: exists; give another -o, or --overwrite to replace it")

    def _prepare(self, start: ModelMetadata | None) -> Dataset:
        request = self.request
        make = PairDataset if request.pairs else ConversationDataset if request.conversations else BookDataset
        dataset: Dataset = make(request, start, self.track)
        self._tell("prepared", **dataset.summary())
        return dataset

    def _plan(self, dataset: Dataset, start: ModelMetadata | None) -> Plan:
        """The dataset's plan, changed to spare memory where there is too little, and told."""
        plan = dataset.plan(choose_device(self.request.device), self.clock)
        architecture = build_architecture(plan.recipe) if start is None else start.architecture
        frozen = self.request.lora_rank is not None
        recipe = spare_memory(architecture, plan.recipe, self.request.choices, frozen)
        if recipe != plan.recipe:
            plan = replace(
                plan, recipe=recipe, reasons={**plan.reasons, "gradient_checkpointing": "to fit into memory"}
            )
        facts = {"recipe": recipe.as_dict(), "reasons": dict(plan.reasons)}
        self._tell("plan", **facts, tokens_expected=plan.tokens, epochs=plan.epochs, expected=plan.seconds)
        return plan

    def _recipe(
        self, dataset: Dataset, start: ModelMetadata | None, checkpointer: Checkpointer, overwrite: bool
    ) -> Recipe:
        """The recipe of the unfinished run that lies there, or a new one."""
        request = self.request
        identity = {
            "text": dataset.fingerprint,
            "choices": dict(request.choices),
            "from": None if request.base_model is None else hash_of(request.base_model),
            "lora": None if request.lora_rank is None else [request.lora_rank, *request.lora_targets],
        }
        place, log = request.folder / "run.json", request.folder / "log.jsonl"
        if place.exists() and not overwrite:
            earlier = json.loads(place.read_text("utf-8"))
            if earlier["identity"] == json.loads(json.dumps(identity)):
                if not checkpointer.latest.exists():
                    log.unlink(missing_ok=True)
                return make_recipe(earlier["recipe"], str(place))
            if checkpointer.latest.exists():
                raise OpenbookError(
                    f"{request.folder}: holds an unfinished run with other inputs or choices; give the same again to "
                    "go on with it, another -o, or --overwrite to begin anew"
                )
        checkpointer.clear()
        for path in (place, log, *request.folder.glob("tokenizer*.json")):
            path.unlink(missing_ok=True)
        plan = self._plan(dataset, start)
        with atomic_write(place) as file:
            file.write(json.dumps({"identity": identity, "recipe": plan.recipe.as_dict()}).encode())
        return plan.recipe

    def _model(self, recipe: Recipe, dataset: Dataset) -> tuple[ModelMetadata, Transformer]:
        """The model to train, new or to go on from, with all that its file says besides the weights."""
        contents, model = self._weights(recipe, dataset)
        for part in model.modules():
            if isinstance(part, Stack):
                part.gradient_checkpointing = recipe.gradient_checkpointing
        return contents, model

    def _weights(self, recipe: Recipe, dataset: Dataset) -> tuple[ModelMetadata, Transformer]:
        request = self.request
        if request.base_model is None:
            architecture = build_architecture(recipe)
            check_memory(architecture, recipe)
            model = Transformer(architecture, recipe.dropout)
            initialize(model, recipe.seed)
            return dataset.metadata(architecture), model
        contents, tensors = load_merged(request.base_model)
        check_memory(contents.architecture, recipe, frozen=request.lora_rank is not None)
        with torch.device("meta"):
            model = Transformer(contents.architecture, recipe.dropout)
        model.load_state_dict({name: tensor.float() for name, tensor in dequantize(tensors).items()}, assign=True)
        if request.lora_rank is not None:
            add_lora(model, request.lora_rank, request.lora_targets, recipe.seed)
        return contents, model

    def _sampled(self, prompt: str, text: str) -> None:
        self._tell("sample", prompt=prompt, text=text)

    def _tell(self, event: str, **facts: Any) -> None:
        told: Event = {"event": event, "step": 0, "seconds": round(self.clock(), 3)} | facts
        for callback in self.callbacks:
            callback(told)
