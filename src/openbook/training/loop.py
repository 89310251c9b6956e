"""The training loop, the same for every kind of model and data.

A `Task` supplies batches and losses, callbacks receive events. Each step is a function of the weights, the optimizer
state and the step number alone, so a checkpoint between two steps is all that is needed to resume.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from openbook.errors import SettingError
from openbook.training.checkpoint import (
    Checkpointer,
    read_state,
    restore_tensors,
    trainable_weights,
)
from openbook.training.data_parallel import DataParallel, choose_replicas, dropout_seed
from openbook.training.evaluation.perplexity import bits_per_byte
from openbook.training.group import EVERY, Group, current_group
from openbook.training.initialize import without_load_balancing
from openbook.training.optimizer import ExponentialMovingAverage, Optimizers, lr_multiplier
from openbook.training.recipe import Recipe
from openbook.transformer.transformer import Transformer

if TYPE_CHECKING:
    from openbook.training.distributed.sharding import ShardedParallel

Event = dict[str, Any]
"""What happened, as it is logged: always with `event`, `step` and `seconds`."""

Callback = Callable[[Event], None]

FINAL_SHARE = 0.06
"""Of a run's time, for the final score. It takes a sample of the held-out data where all of it takes longer."""
FINAL_TOKENS, FINAL_TOKENS_SHARE = 1 << 14, 0.6
"""The same for runs of so many steps, which do not depend on the clock: tokens to score, and by tokens trained on."""


class Task(Protocol):
    """What is learned: batches for each step, their loss, and a score on held-out data."""

    def batches(self, step: int, share: slice = EVERY) -> Iterable[tuple[Any, int]]:
        """The micro-batches of a step, or a share of them, each with the number of tokens to predict in it."""
        ...

    def forward_backward(self, model: nn.Module, batch: Any, scale: float) -> Tensor:
        """Add the gradients of `scale` · (summed loss of a micro-batch); returns that product, in nats."""
        ...

    def predicted_bytes(self, batches: Sequence[Any]) -> tuple[float, int]:
        """The bytes of text that micro-batches predict, and how many of them no token spells."""
        ...

    @property
    def validated_fraction(self) -> float:
        """The fraction of the held-out data that `validate` scores; after the loop as much is scored as time allows."""
        ...

    def validate(self, model: nn.Module) -> float:
        """Bits per byte (or any score that is lower for better models) on held-out data."""
        ...

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """More numbers about the model on held-out data, shown and logged only."""
        ...

    def is_learned(self, model: nn.Module, step: int) -> bool:
        """Whether there is nothing left to learn; asked after each step where the recipe says `stop_when_known`."""
        ...


@dataclass
class TrainingState:
    """Where a run stands. Seconds count from its start, over all sittings."""

    step: int = 0
    seconds: float = 0.0
    start_seconds: float = 0.0
    """When the first step began: reading, tokenizing and measuring come before."""
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    validations: int = 0
    first_loss: float = 0.0
    smooth_loss: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        stop_reason: `finished`, `learned`, `stopped early` or `interrupted`.
        state: where it ended.
        scored_fraction: how much of the held-out data the final score may take, for the time it costs.
        earlier_seconds: of earlier sittings, before the clock of this one began.
    """

    stop_reason: str
    state: TrainingState
    scored_fraction: float = 1.0
    earlier_seconds: float = 0.0


@dataclass
class TrainingLoop:
    """One training run.

    Args:
        model: is trained in place; in the end it holds the best weights.
        task: what is learned.
        recipe: the hyperparameters.
        checkpointer: where checkpoints go.
        dtype: of matrix products.
        clock: seconds since the process began.
        reserved_seconds: of the budget, for what follows the loop, apart from the final evaluation.
        callbacks: are called with every event.
        should_stop: is asked after each step.
        checkpoint_seconds: between checkpoints; 0 writes one after every step.
        group: the processes that train together; each takes a share of every step's micro-batches.
    """

    model: nn.Module
    task: Task
    recipe: Recipe
    checkpointer: Checkpointer
    dtype: torch.dtype = torch.float32
    clock: Callable[[], float] = time.perf_counter
    reserved_seconds: float = 0.0
    callbacks: Sequence[Callback] = ()
    should_stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 60.0
    group: Group = field(default_factory=current_group)

    def __post_init__(self) -> None:
        self.state = TrainingState()
        self.device = next(self.model.parameters()).device
        self.optimizers = Optimizers(self.model, self.recipe, self.dtype)
        self.ema = ExponentialMovingAverage(self.model, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self._earlier_seconds = 0.0  # of earlier sittings
        self._validation_seconds = math.inf  # expected, for a validation without its metrics
        self._metrics_seconds = 0.0
        self._validated: tuple[int, float, dict[str, float]] | None = None  # the last step, its score and metrics
        self._step_tokens, self._step_bits = 0, 0.0
        parameters = sum(each.numel() for each in self.model.parameters())
        self.data_parallel = self._parallel(parameters)

    def _parallel(self, parameters: int) -> "DataParallel | ShardedParallel":
        if self.group.sharded:
            from openbook.training.distributed.sharding import ShardedParallel

            assert isinstance(self.model, Transformer)
            return ShardedParallel(self.model)
        return DataParallel(self.model, choose_replicas(self.recipe, parameters, self.device))

    def run(self) -> Outcome:
        """Train to the end of the budget, from the latest checkpoint if there is one.

        Raises:
            OpenbookError: the loss is not finite or explodes, or memory or disk is full. The latest checkpoint and the
                best weights stay on disk.
        """
        try:
            if self.group.agreed(self.checkpointer.exists):
                self._resume()
            else:
                if self.group.is_first:
                    self.checkpointer.clear()
                self.state.start_seconds = self._now()
            stop_reason = self._train()
            if stop_reason == "interrupted":
                self._save()
            self.checkpointer.finish()
            self._restore_best(stop_reason)
            return Outcome(stop_reason, self.state, self._scored_fraction(), self._earlier_seconds)
        finally:
            self.data_parallel.close()

    def _train(self) -> str:
        """Run steps until the run ends; returns the reason."""
        state = self.state
        saved = before = self._now()
        self.model.train()
        while self.progress() < 1:
            loss = self._step()
            state.step, state.seconds = state.step + 1, self._now()
            if self._validated is None:  # the forward pass is a third of a step
                expected = (state.seconds - before) * self.recipe.validation_tokens / max(1, self._step_tokens) / 3
                self._validation_seconds, before = min(self._validation_seconds, expected), state.seconds
            facts = {"progress": self.progress(), "tokens": self._step_tokens, "bits_per_byte": self._step_bits}
            self._emit("step", loss=loss, **facts)
            self._check_loss(loss)
            if self.progress() * self.recipe.validations >= state.validations + 1 and self.progress() < 1:
                self._validate()
                if state.stale >= self.recipe.patience:
                    return "stopped early"
            if self.recipe.stop_when_known and self._is_learned():
                return "learned"
            if self.group.most(self.should_stop()):
                return "interrupted"
            if self._now() - saved > self.checkpoint_seconds:
                before = self._now()
                self._save()
                saved = self._now()
                if self.checkpoint_seconds:
                    # A large checkpoint takes long to write, and should not take more than 2 % of the time.
                    self.checkpoint_seconds = max(self.checkpoint_seconds, 50 * (saved - before))
        return "finished"

    def _is_learned(self) -> bool:
        with self._averaged_weights():
            return self.task.is_learned(self.model, self.state.step)

    def progress(self) -> float:
        """The fraction of the budget that is used: of the steps, or of the time left when the loop began."""
        state, recipe = self.state, self.recipe
        if recipe.steps is not None:
            return state.step / recipe.steps
        assert recipe.minutes is not None
        budget = self._seconds_for(recipe.minutes * 60) - state.start_seconds
        return min(1.0, (self._now() - state.start_seconds) / budget) if budget > 0 else 1.0

    def _seconds_for(self, seconds: float) -> float:
        """How many of so many seconds are left for training: after it come a validation and the final score."""
        validation = self._validation_seconds if self._validation_seconds < math.inf else 0.0
        final = min(validation / self.task.validated_fraction, max(validation, FINAL_SHARE * seconds))
        return seconds - self.reserved_seconds - validation - final - 2 * self._metrics_seconds

    def _scored_fraction(self) -> float:
        """How much of the held-out data to score in the end."""
        fraction, recipe = self.task.validated_fraction, self.recipe
        if recipe.minutes is None or recipe.steps is not None:
            allowed = max(FINAL_TOKENS, FINAL_TOKENS_SHARE * self.state.step * recipe.batch_tokens)
            return min(1.0, fraction * max(1.0, allowed / recipe.validation_tokens))
        left = recipe.minutes * 60 - self.reserved_seconds - self._metrics_seconds - self._now()
        allowed = min(left, FINAL_SHARE * self._now())
        return min(1.0, fraction * max(1.0, allowed / self._validation_seconds))

    def _now(self) -> float:
        return self.group.reading(self._earlier_seconds + self.clock())

    def _step(self) -> float:
        """One training step; returns the mean loss in nats per token."""
        state, recipe, group = self.state, self.recipe, self.group
        batches = list(self.task.batches(state.step, group.share))
        self._step_tokens = tokens = int(group.total(sum(count for _, count in batches))[0])
        work = [(batch, 1 / tokens) for batch, _ in batches]
        if group.sharded:  # all processes pass through the model equally often
            spare = next(iter(self.task.batches(state.step, slice(0, 1))))[0]
            work += [(spare, 0.0)] * (int(group.most(len(work))) - len(work))

        def forward_backward(model: nn.Module, part: tuple[Any, float]) -> Tensor:
            with self._autocast(), nullcontext() if part[1] else without_load_balancing(model):
                return self.task.forward_backward(model, *part)

        seeds = [dropout_seed(recipe.seed, state.step, group.rank + n * group.size) for n in range(len(work))]
        try:
            loss = float(self.data_parallel.forward_backward(work, forward_backward, seeds))
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not isinstance(error, RuntimeError) or "memory" in str(error):
                raise SettingError(
                    f"step {state.step}: the model and its batch do not fit in memory; take a smaller "
                    f"`micro_batch_size` (now {recipe.micro_batch_size}), `width` or `layers`{self._where_kept()}"
                ) from error
            raise
        predicted = self.task.predicted_bytes([batch for batch, _ in batches])
        trained = [each for each in self.model.parameters() if each.requires_grad]
        loss, *of_text = group.add_gradients(trained, loss, *predicted)
        self._step_bits = bits_per_byte(loss * tokens, *of_text)
        norm = self._clip_gradients()
        if not math.isfinite(norm):
            raise SettingError(
                f"step {state.step}: the gradient is not finite; lower the learning rates (`matrix_lr`, now "
                f"{recipe.matrix_lr}) or take `precision`=float32{self._where_kept()}"
            )
        self.optimizers.step(lr_multiplier(self.progress(), state.step, recipe))
        if self.ema is not None:
            self.ema.update(self.model, state.step)
        return loss

    def _clip_gradients(self) -> float:
        """Scale the gradients so that their norm is the recipe's at most; returns the norm before."""
        if self.group.sharded:
            from openbook.training.distributed.sharding import clip_gradients

            return clip_gradients(self.model.parameters(), self.recipe.max_grad_norm, self.group)
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm))

    def _autocast(self) -> Any:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _check_loss(self, loss: float) -> None:
        state = self.state
        if state.step == 1:
            state.first_loss = state.smooth_loss = loss
        state.smooth_loss = 0.9 * state.smooth_loss + 0.1 * loss
        if not math.isfinite(loss) or state.smooth_loss > 1.5 * state.first_loss + 1:
            raise SettingError(
                f"step {state.step}: the loss explodes ({state.first_loss:.2f} → {loss:.2f} nats per token); lower the "
                f"learning rates (`matrix_lr`, now {self.recipe.matrix_lr}){self._where_kept()}"
            )

    def _validate(self) -> None:
        """Score the weights (or their moving average), and write them to disk if they are the best so far."""
        state, before = self.state, self._now()
        with self._averaged_weights():
            score = self._score()
            scored = self._now()
            metrics = self.task.metrics(self.model)
            self._validation_seconds, self._metrics_seconds = scored - before, self._now() - scored
            self._validated = state.step, score, metrics
            state.validations = max(state.validations + 1, int(self.progress() * self.recipe.validations))
            if score < state.best:
                state.best, state.best_step, state.stale = score, state.step, 0
                self.checkpointer.save_best(trainable_weights(self.model), {"step": state.step, "score": score})
            else:
                state.stale += 1
        self._emit_score(score, **metrics)

    def _restore_best(self, stop_reason: str) -> None:
        """Leave the best weights in the model. The files stay as they are, so that the run can go on."""
        state = self.state
        last, metrics = math.inf, dict[str, float]()
        if stop_reason != "stopped early":
            if self.ema is not None:
                self.ema.swap(self.model)
            if self._validated is not None and self._validated[0] == state.step:
                _, last, metrics = self._validated
            else:
                before = self._now()
                last = self._score()
                self._validation_seconds = self._now() - before
                metrics = self.task.metrics(self.model)
        if self.group.agreed(self.checkpointer.best.exists()):
            saved = read_state(self.checkpointer.best)
            # A run by time that was killed and resumed may find better weights there than it reached again.
            state.best, state.best_step = saved["score"], saved["step"]
            if state.best <= last:
                restore_tensors(self.checkpointer.best, trainable_weights(self.model))
        if last < state.best:
            state.best, state.best_step = last, state.step
        if last < math.inf:
            self._emit_score(last, last=True, **metrics)
        self.model.eval()

    def _score(self) -> float:
        score = self.task.validate(self.model)
        if not math.isfinite(score):
            raise SettingError(
                f"step {self.state.step}: the score on held-out text is not finite; lower the learning rates "
                f"(`matrix_lr`, now {self.recipe.matrix_lr}){self._where_kept()}"
            )
        return score

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The moving average of the weights in the model's place, if there is one."""
        if self.ema is None:
            yield
            return
        self.ema.swap(self.model)
        try:
            yield
        finally:
            self.ema.swap(self.model)

    def _save(self) -> None:
        state = self.state
        state.seconds = self._now()
        facts = asdict(state) | {"best": None if state.best == math.inf else state.best}
        self.checkpointer.save(self._tensors(), facts)

    def _tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides the state."""
        tensors = trainable_weights(self.model) | self.optimizers.state()
        if self.ema is not None:
            tensors |= {f"ema.{name}": weight for name, weight in self.ema.weights.items()}
        return tensors

    def _resume(self) -> None:
        facts = self.checkpointer.restore(self._tensors())
        facts["best"] = math.inf if facts["best"] is None else facts["best"]
        self.state = TrainingState(**facts)
        self._earlier_seconds = self.state.seconds - self.clock()
        self.optimizers.resume(self.state.step)
        self._emit("resume")

    def _where_kept(self) -> str:
        if self.checkpointer.exists:
            return f". The last good state is kept in {self.checkpointer.folder}"
        return ""

    def _emit_score(self, score: float, **facts: Any) -> None:
        state = self.state
        state.seconds = self._now()
        facts |= {"best": state.best, "best_step": state.best_step, "stale": state.stale}
        self._emit("validation", score=score, fraction=self.task.validated_fraction, **facts)

    def _emit(self, event: str, **facts: Any) -> None:
        full = {"event": event, "step": self.state.step, "seconds": round(self.state.seconds, 3), **facts}
        for callback in self.callbacks:
            callback(full)
