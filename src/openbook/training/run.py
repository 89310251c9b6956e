"""A whole training run: data → plan → tokens → model → model file. An interrupted run resumes.

Whether it trains on books, pairs or conversations is known to its `Dataset` alone.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openbook.errors import SettingError
from openbook.generation.engines.malloc import keep_freed_memory
from openbook.model_file.adapter import Adapter, fingerprint, load_merged, save_adapter
from openbook.model_file.file import model_writer, save
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.quantized_weight import dequantize
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.progress import Track, silent
from openbook.training.begin import Begun, begin
from openbook.training.checkpoint import Checkpointer
from openbook.training.data.book_dataset import BookDataset
from openbook.training.data.conversation_dataset import ConversationDataset
from openbook.training.data.dataset import Dataset, ScoredTask
from openbook.training.data.pair_dataset import PairDataset
from openbook.training.data.prepared_dataset import PreparedDataset
from openbook.training.data.tiny_dataset import TinyDataset
from openbook.training.distributed.gathering import write_gathered
from openbook.training.evaluation.perplexity import Score
from openbook.training.group import current_group, drop_gathered
from openbook.training.initialize import initialize, set_load_balancing
from openbook.training.interrupts import interrupts
from openbook.training.loop import Callback, Event, Outcome, TrainingLoop
from openbook.training.lora import add_lora, lora_matrices, merge_lora
from openbook.training.lora_targets import SCALE
from openbook.training.plan.budget import check_budget
from openbook.training.plan.disk import check_disk
from openbook.training.plan.memory import check_memory, save_memory
from openbook.training.plan.plan import Plan
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.training.report.log import EventLog, read_log
from openbook.training.report.loss_curve import save_curve
from openbook.training.report.record import hash_of, training_record
from openbook.training.request import TrainingRequest
from openbook.training.run_folder import RECORD, UnfinishedRun
from openbook.transformer.block import Stack
from openbook.transformer.device import choose_device
from openbook.transformer.transformer import Transformer

RESERVED_SECONDS = 1.0
"""For drawing the loss curve and writing a small model."""

WRITTEN_BYTES_PER_SECOND = 2e8
"""How fast a large model is written."""


def stopwatch() -> Callable[[], float]:
    """A clock that gives the seconds since now."""
    started = time.perf_counter()
    return lambda: time.perf_counter() - started


@dataclass(frozen=True)
class TrainingResult:
    """What a run produced."""

    path: Path
    outcome: Outcome
    score: Score
    metrics: Mapping[str, float]
    recipe: Recipe
    curve: Path


@dataclass
class TrainingRun:
    """One run, from the request to the model file.

    Args:
        request: what is asked for.
        callbacks: are called with every event.
        track: shows the progress of the preparations.
        clock: seconds since the process began; they count against the minutes.
    """

    request: TrainingRequest
    callbacks: Sequence[Callback] = ()
    track: Track = silent
    clock: Callable[[], float] = field(default_factory=stopwatch)

    def plan(self) -> Plan:
        """Prepare the data and choose every field of the recipe, without training. Leaves no folder behind.

        Raises:
            OpenbookError: there is no data, or a choice is out of range.
        """
        keep_freed_memory()
        with begin(self.request, overwrite=True, temporary=True) as begun:
            with current_group().in_turn():
                dataset = self._prepare(begun.base)
            return self._plan(dataset, begun.base)

    def run(self, overwrite: bool = False) -> TrainingResult:
        """Train and write the model file; an interrupted run of the same request resumes.

        Raises:
            OpenbookError: the output exists (and not `overwrite`), another run works or is unfinished there, there is
                no data, or training fails; the message says what is kept.
        """
        with begin(self.request, overwrite) as begun:
            return self.run_in(begun, overwrite)

    def run_in(self, begun: Begun, overwrite: bool) -> TrainingResult:
        """The same after `begin`."""
        keep_freed_memory()
        request, group, (folder, base) = self.request, current_group(), begun
        checkpointer = make_checkpointer(folder.path)
        with group.in_turn():
            dataset = self._prepare(base)
            files = dataset.file_records() if group.is_first else []
        started = self._start(dataset, base, checkpointer, overwrite)
        with group.in_turn():
            recipe, summary = dataset.tokenize(make_recipe(started.recipe, folder.path / RECORD))
        self._emit("tokens", **summary)
        device = device_of(request)
        metadata, model = build_model(request, recipe, dataset, device)
        task = dataset.task(recipe, device, _dtype(recipe))
        log, curve = EventLog(folder.path / "log.jsonl") if group.is_first else None, folder.path / "loss.png"
        folder.worth_keeping = True
        try:
            listeners: list[Callback] = [] if log is None else [log]
            if group.is_first and not group.sharded:  # a sample takes the whole model
                listeners.append(self._samples(dataset, model, recipe))
            outcome = self._train(model, task, recipe, checkpointer, listeners)
            self._emit("ended")
            changes = lora_matrices(model)
            merge_lora(model)
            score, metrics = task.evaluate(model, self.track, outcome.scored_fraction), task.metrics(model)
            result = TrainingResult(request.output, outcome, score, metrics, recipe, curve)
            record = {} if log is None else self._record(dataset, files, read_log(log.path), result)
            self._save(metadata, model, changes, record)
        finally:
            if log is not None:
                log.close()
                with suppress(OSError):  # the disk is full: what matters has been said already
                    save_curve(read_log(log.path), curve, dataset.summary().get("scored", "held-out"))
        if group.is_first:
            if outcome.stop_reason == "interrupted":
                replace(started, saved=fingerprint(request.output)).write(folder.path)
            else:
                (folder.path / RECORD).unlink(missing_ok=True)
                checkpointer.clear()
        self._emit_saved(result)
        return result

    def _prepare(self, base: ModelMetadata | None) -> Dataset:
        request = self.request
        books = TinyDataset if request.tiny else BookDataset if request.tokens is None else PreparedDataset
        kind = PairDataset if request.pairs else ConversationDataset if request.conversations else books
        dataset: Dataset = kind(request, base, self.track)
        self._emit("prepared", **dataset.summary())
        return dataset

    def _plan(self, dataset: Dataset, base: ModelMetadata | None) -> Plan:
        """The dataset's plan, changed to save memory if there is too little.

        Raises:
            OpenbookError: a choice is out of range, or time, memory or disk is too small for it.
        """
        group = current_group()
        plan = dataset.plan(device_of(self.request), self._agreed_clock)
        architecture = build_architecture(plan.recipe) if base is None else base.architecture
        frozen = self.request.lora_rank is not None
        recipe = save_memory(architecture, plan.recipe, self.request.choices, frozen)
        if recipe != plan.recipe:
            plan = replace(plan, recipe=recipe, reasons={**plan.reasons, "gradient_checkpointing": "to fit in memory"})
        summary = dataset.summary()
        encoded = self.request.tokens is not None
        text_bytes = 0 if encoded else summary["train_bytes"] + summary["validation_bytes"]
        group.together(lambda: check_disk(self.request.folder, architecture, recipe, text_bytes, frozen))
        if "minutes" in self.request.choices:
            # Behind the last step come a validation and the final score, each a third of a step for as many tokens.
            scoring = 2 / 3 * plan.step_seconds * recipe.validation_tokens / recipe.batch_tokens
            spent = self._agreed_clock()
            check_budget(recipe.minutes or math.inf, spent, plan.step_seconds, RESERVED_SECONDS + scoring)
        facts: dict[str, Any] = {"recipe": recipe.as_dict(), "reasons": dict(plan.reasons), "processes": group.size}
        self._emit("plan", **facts, tokens_expected=plan.tokens, epochs=plan.epochs, expected=plan.seconds)
        return plan

    def _agreed_clock(self) -> float:
        return current_group().reading(self.clock())

    def _start(
        self, dataset: Dataset, base: ModelMetadata | None, checkpointer: Checkpointer, overwrite: bool
    ) -> UnfinishedRun:
        """The unfinished run in the folder if it is this one, or a new one."""
        request, group = self.request, current_group()
        identity = {
            "output": request.output.name,
            "data": dataset.fingerprint,
            "choices": dict(request.choices),
            "base_model": None if request.base_model is None else hash_of(request.base_model),
            "tiny": request.tiny,
            "lora": None if request.lora_rank is None else [request.lora_rank, *request.lora_targets],
        }
        found: dict[str, Any] | None = None
        with group.in_turn():
            if group.is_first and (unfinished := self._unfinished(identity, checkpointer, overwrite)) is not None:
                found = asdict(unfinished)
        if (found := group.agreed(found)) is not None:
            return UnfinishedRun(**found)
        started = UnfinishedRun(identity, group.agreed(self._plan(dataset, base).recipe.as_dict()), overwrite)
        if group.is_first:
            started.write(request.folder)
        return started

    def _unfinished(
        self, identity: Mapping[str, Any], checkpointer: Checkpointer, overwrite: bool
    ) -> UnfinishedRun | None:
        """The run that the folder holds, if it is the one of this identity; else what is there is removed.

        With `overwrite` it goes on too if it began so: it is the same command.
        """
        request, log = self.request, self.request.folder / "log.jsonl"
        unfinished = UnfinishedRun.read(request.folder)
        if unfinished is not None and (unfinished.overwrite or not overwrite):
            if unfinished.is_for(identity):
                if not checkpointer.exists:
                    log.unlink(missing_ok=True)
                return unfinished
            if checkpointer.exists and not overwrite:
                raise SettingError(
                    f"{request.folder}: holds an unfinished run with other inputs or choices; give the same again to "
                    "resume it, another `output`, or `overwrite` to start over"
                )
        checkpointer.clear()
        for old in (request.folder / RECORD, log):
            old.unlink(missing_ok=True)
        return None

    def _train(
        self,
        model: Transformer,
        task: ScoredTask,
        recipe: Recipe,
        checkpointer: Checkpointer,
        callbacks: Sequence[Callback],
    ) -> Outcome:
        model_bytes = sum(each.nbytes for each in model.parameters())
        with interrupts() as interrupted:
            loop = TrainingLoop(
                model,
                task,
                recipe,
                checkpointer,
                _dtype(recipe),
                self.clock,
                reserved_seconds=RESERVED_SECONDS + model_bytes / WRITTEN_BYTES_PER_SECOND,
                callbacks=[*self.callbacks, *callbacks],
                should_stop=interrupted,
            )
            return loop.run()

    def _record(
        self, dataset: Dataset, files: list[dict[str, Any]], events: list[Event], result: TrainingResult
    ) -> dict[str, Any]:
        """What the model file says of its training."""
        of_base = self.request.base_model, self.request.lora
        score, metrics = result.score, result.metrics
        record = training_record(files, result.recipe, result.outcome, score, metrics, events, *of_base)
        return record | dataset.merge_counts()

    def _save(
        self, metadata: ModelMetadata, model: Transformer, changes: Mapping[str, Tensor], record: dict[str, Any]
    ) -> None:
        """Write the model file, or the LoRA matrices alone; in a group, the first process does."""
        request, group, metadata = self.request, current_group(), replace(metadata, training=record)
        drop_gathered(model)
        weights = model.state_dict()

        def write() -> None:
            if request.adapter:
                assert request.base_model is not None
                base = request.base_model
                save_adapter(request.output, Adapter(base.name, fingerprint(base), SCALE, record), changes)
            else:
                save(request.output, metadata, weights)

        def write_parts(parts: Iterator[tuple[str, Tensor]]) -> None:
            with model_writer(request.output, metadata, "F32") as writer:
                for name, tensor in parts:
                    writer.write(name, tensor)

        if group.sharded and not request.adapter:
            write_gathered({name: weights[name] for name in expected_shapes(metadata.architecture)}, write_parts)
        else:
            group.together(lambda: write() if group.is_first else None)

    def _samples(self, dataset: Dataset, model: Transformer, recipe: Recipe) -> Callback:
        every = max(10.0, 6 * (recipe.minutes or 10))
        return dataset.samples(model, every, lambda prompt, text: self._emit("sample", prompt=prompt, text=text))

    def _emit_saved(self, result: TrainingResult) -> None:
        state = result.outcome.state
        self._emit(
            "saved",
            step=state.step,
            seconds=round(result.outcome.earlier_seconds + self.clock(), 3),
            stop_reason=result.outcome.stop_reason,
            path=str(result.path),
            bits_per_byte=result.score.bits_per_byte,
            perplexity=result.score.perplexity,
            **result.metrics,
            best_step=state.best_step,
            scored_fraction=result.outcome.scored_fraction,
            curve=str(result.curve),
        )

    def _emit(self, event: str, **facts: Any) -> None:
        full: Event = {"event": event, "step": 0, "seconds": round(self.clock(), 3)} | facts
        for callback in self.callbacks:
            callback(full)


def device_of(request: TrainingRequest) -> torch.device:
    """Where this process computes."""
    return current_group().device(choose_device(request.device))


def make_checkpointer(folder: Path) -> Checkpointer:
    """Where this run keeps its checkpoints: in files, or for several processes in folders of parts."""
    if current_group().size == 1:
        return Checkpointer(folder)
    from openbook.training.distributed.checkpoint import GroupCheckpointer  # takes a while to import

    return GroupCheckpointer(folder)


def build_model(
    request: TrainingRequest, recipe: Recipe, dataset: Dataset, device: torch.device
) -> tuple[ModelMetadata, Transformer]:
    """The model to train, new or from the base model's file, with its metadata."""
    if request.base_model is None:
        metadata, model = _new_model(request, recipe, dataset, device)
    else:
        metadata, model = _base_model(request, recipe, device)
    set_load_balancing(model, recipe.load_balancing / recipe.batch_tokens)
    for module in model.modules():
        if isinstance(module, Stack):
            module.gradient_checkpointing = recipe.gradient_checkpointing
    return metadata, model


def _new_model(
    request: TrainingRequest, recipe: Recipe, dataset: Dataset, device: torch.device
) -> tuple[ModelMetadata, Transformer]:
    architecture = build_architecture(recipe)
    check_memory(architecture, recipe)
    with torch.device("meta" if request.shard else "cpu"):
        model = Transformer(architecture, recipe.dropout)
    if request.shard:
        _shard(model, device)
    initialize(model, recipe.seed)
    return dataset.metadata(architecture), model.to(device)


def _shard(model: Transformer, device: torch.device) -> None:
    from openbook.training.distributed.sharding import shard  # takes a while to import

    shard(model, current_group(), device)


def _base_model(request: TrainingRequest, recipe: Recipe, device: torch.device) -> tuple[ModelMetadata, Transformer]:
    assert request.base_model is not None
    metadata, tensors = load_merged(request.base_model)
    check_memory(metadata.architecture, recipe, frozen=request.lora_rank is not None)
    with torch.device("meta"):
        model = Transformer(metadata.architecture, recipe.dropout)
    model.load_state_dict({name: tensor.float() for name, tensor in dequantize(tensors).items()}, assign=True)
    if request.lora_rank is not None:
        add_lora(model, request.lora_rank, request.lora_targets, recipe.seed)
    if request.shard:
        _shard(model, device)
    return metadata, model.to(device)


def _dtype(recipe: Recipe) -> torch.dtype:
    """Of matrix products."""
    return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
