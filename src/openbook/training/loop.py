"""The training loop: the same for every kind of model and data.

What is learned comes from a `Task`, who is told comes as `listeners`; neither the data nor the display is known here.
Each step is a function of the weights, the optimizers and its own number alone, so a checkpoint between two steps
is all that a run is.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.training.checkpoint import Keeper, read_checkpoint, restore_weights, trained_weights, write_checkpoint
from openbook.training.data_parallel import DataParallel, pick_workers
from openbook.training.optimizer import Average, Optimizers, schedule
from openbook.training.recipe import Recipe

Event = dict[str, Any]
"""What happened, as it is logged: always with `event`, `step` and `seconds`."""

Listener = Callable[[Event], None]


class Task(Protocol):
    """What there is to learn: batches for each step, their loss, and a score on text that is held out."""

    def batches(self, step: int) -> Iterable[tuple[Any, int]]:
        """The parts of a step's batch that fit into memory, each with the number of tokens to predict in it."""
        ...

    def learn(self, model: nn.Module, batch: Any, share: float) -> Tensor:
        """Add the gradients of `share` times the summed loss of one part; gives that product, in nats."""
        ...

    @property
    def validated_share(self) -> float:
        """The part of the held-out data that `validate` looks at; all of it is scored after the loop."""
        ...

    def validate(self, model: nn.Module) -> float:
        """Bits a byte (or any score that falls as the model gets better) on held-out data."""
        ...

    def describe(self, model: nn.Module) -> dict[str, float]:
        """More numbers for people about how the model does on held-out data; nothing follows from them."""
        ...


@dataclass
class Position:
    """Where a run stands. `seconds` are spent since its start, over all sittings."""

    step: int = 0
    seconds: float = 0.0
    begun: float = 0.0
    """Seconds that went by before the first step: reading, tokens, measuring."""
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    validations: int = 0
    first_loss: float = 0.0
    smooth_loss: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, `stopped early` or `interrupted`."""

    how: str
    position: Position


@dataclass
class Loop:
    """One training run.

    Args:
        model: is trained in place; in the end it holds the best weights.
        task: what to learn.
        recipe: how.
        keeper: where checkpoints go.
        dtype: of matrix products.
        clock: seconds since the process began.
        closing: seconds of the budget to keep for what follows the loop, the last score not counted.
        listeners: are told of every event.
        interrupted: asked after each step whether to end.
        checkpoint_every: seconds between checkpoints; 0 makes one after every step.
    """

    model: nn.Module
    task: Task
    recipe: Recipe
    keeper: Keeper
    dtype: torch.dtype = torch.float32
    clock: Callable[[], float] = time.perf_counter
    closing: float = 0.0
    listeners: Sequence[Listener] = ()
    interrupted: Callable[[], bool] = lambda: False
    checkpoint_every: float = 60.0

    def __post_init__(self) -> None:
        self.position = Position()
        self.device = next(self.model.parameters()).device
        self.optimizers = Optimizers(self.model, self.recipe, self.dtype)
        self.average = Average(self.model, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self._earlier = 0.0
        self._reserve = self.closing
        self._learned = 0
        parameters = sum(each.numel() for each in self.model.parameters())
        self.workers = DataParallel(self.model, pick_workers(self.recipe, parameters, self.device))

    def run(self) -> Outcome:
        """Train to the end of the budget, from the newest checkpoint if there is one.

        Raises:
            OpenbookError: the loss is not a number any more or explodes, memory or disk is full. The newest
                checkpoint and the best weights stay on disk.
        """
        try:
            return self._run()
        finally:
            self.workers.close()

    def _run(self) -> Outcome:
        if self.keeper.checkpoint.exists():
            self._resume()
        else:
            self.keeper.forget()
            self.position.begun = self._now()
        at = self.position
        saved = self._now()
        how = "finished"
        self.model.train()
        while self.progress() < 1:
            loss = self._step()
            at.step, at.seconds = at.step + 1, self._now()
            self._tell("step", loss=loss, progress=self.progress(), tokens=self._learned)
            self._check(loss)
            if self.progress() * self.recipe.validations >= at.validations + 1 and self.progress() < 1:
                self._validate()
                if at.stale >= self.recipe.patience:
                    how = "stopped early"
                    break
            if self.interrupted():
                how = "interrupted"
                break
            if self._now() - saved > self.checkpoint_every:
                spent = self._now()
                self._save()
                saved = self._now()
                if self.checkpoint_every:
                    # A large model takes long to write; writing shall not take more than 2 % of the time.
                    self.checkpoint_every = max(self.checkpoint_every, 50 * (saved - spent))
        if how == "interrupted":
            self._save()
        self._settle(how)
        return Outcome(how, at)

    def progress(self) -> float:
        """The part of the budget that is used: of the steps, or of the time that was left when the loop began."""
        at, recipe = self.position, self.recipe
        if recipe.steps is not None:
            return at.step / recipe.steps
        assert recipe.minutes is not None
        budget = recipe.minutes * 60 - self._reserve - at.begun
        return min(1.0, (self._now() - at.begun) / budget) if budget > 0 else 1.0

    def _now(self) -> float:
        return self._earlier + self.clock()

    def _step(self) -> float:
        """One update; the mean loss in nats a token."""
        at, recipe = self.position, self.recipe
        batches = list(self.task.batches(at.step))
        self._learned = total = sum(count for _, count in batches)

        def learn(model: nn.Module, batch: Any) -> Tensor:
            with self._precision():
                return self.task.learn(model, batch, 1 / total)

        seed = (recipe.seed * 1_000_003 + at.step) % 2**63  # dropout is a function of the step too
        try:
            summed = self.workers.learn([batch for batch, _ in batches], learn, seed)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not isinstance(error, RuntimeError) or "memory" in str(error):
                raise OpenbookError(
                    f"step {at.step}: the model and its batch do not fit in memory; take a smaller --micro-batch-size "
                    f"(now {recipe.micro_batch_size}), --width or --layers{self._kept()}"
                ) from error
            raise
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.max_grad_norm)
        if not math.isfinite(float(norm)):
            raise OpenbookError(
                f"step {at.step}: the gradient is not a number any more; train with lower rates "
                f"(--matrix-lr, now {recipe.matrix_lr}) or --precision float32{self._kept()}"
            )
        self.optimizers.step(schedule(self.progress(), at.step, recipe))
        if self.average is not None:
            self.average.update(self.model, at.step)
        return float(summed)

    def _precision(self) -> Any:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _check(self, loss: float) -> None:
        at = self.position
        if at.step == 1:
            at.first_loss = at.smooth_loss = loss
        at.smooth_loss = 0.9 * at.smooth_loss + 0.1 * loss
        if not math.isfinite(loss) or at.smooth_loss > 1.5 * at.first_loss + 1:
            raise OpenbookError(
                f"step {at.step}: the loss explodes ({at.first_loss:.2f} → {loss:.2f} nats a token); train with "
                f"lower rates (--matrix-lr, now {self.recipe.matrix_lr}){self._kept()}"
            )

    def _validate(self) -> None:
        """Score the weights (or their average) and keep them on disk if they are the best so far."""
        at, before = self.position, self._now()
        with self._averaged():
            score = self._score()
            scored = self._now()
            facts = self.task.describe(self.model)
            described = self._now() - scored
            # After the loop this score is taken once more, then that of all that is held out; each is described.
            after = (1 + 1 / self.task.validated_share) * (scored - before) + 2 * described
            self._reserve = self.closing + after
            at.validations = max(at.validations + 1, int(self.progress() * self.recipe.validations))
            if score < at.best:
                at.best, at.best_step, at.stale = score, at.step, 0
                write_checkpoint(self.keeper.best, trained_weights(self.model), {"step": at.step, "score": score})
            else:
                at.stale += 1
        self._tell_score(score, **facts)

    def _settle(self, how: str) -> None:
        """Leave the best weights in the model. The files stay as the loop left them, so that it can go on."""
        at = self.position
        last, measures = math.inf, dict[str, float]()
        if how != "stopped early":
            if self.average is not None:
                self.average.swap(self.model)
            last, measures = self._score(), self.task.describe(self.model)
        if self.keeper.best.exists():
            tensors, facts = read_checkpoint(self.keeper.best)
            # A run that was killed and goes on by time may find a better one there than it came by itself.
            at.best, at.best_step = facts["score"], facts["step"]
            if at.best <= last:
                restore_weights(self.model, tensors)
        if last < at.best:
            at.best, at.best_step = last, at.step
        if last < math.inf:
            self._tell_score(last, last=True, **measures)
        self.model.eval()

    def _score(self) -> float:
        score = self.task.validate(self.model)
        if not math.isfinite(score):
            raise OpenbookError(
                f"step {self.position.step}: the score on held-out text is not a number any more; train with lower "
                f"rates (--matrix-lr, now {self.recipe.matrix_lr}){self._kept()}"
            )
        return score

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The average of the weights in the model's place, where there is one."""
        if self.average is None:
            yield
            return
        self.average.swap(self.model)
        try:
            yield
        finally:
            self.average.swap(self.model)

    def _tell_score(self, score: float, **facts: Any) -> None:
        at = self.position
        at.seconds = self._now()
        self._tell("validation", score=score, best=at.best, best_step=at.best_step, stale=at.stale, **facts)

    def _save(self) -> None:
        at = self.position
        at.seconds = self._now()
        tensors = trained_weights(self.model) | self.optimizers.state()
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        write_checkpoint(
            self.keeper.checkpoint, tensors, asdict(at) | {"best": None if at.best == math.inf else at.best}
        )

    def _resume(self) -> None:
        tensors, facts = read_checkpoint(self.keeper.checkpoint)
        facts["best"] = math.inf if facts["best"] is None else facts["best"]
        self.position = at = Position(**facts)
        self._earlier = at.seconds - self.clock()
        restore_weights(self.model, tensors)
        self.optimizers.load_state(tensors, at.step)
        if self.average is not None:
            for name, weight in self.average.weights.items():
                weight.copy_(tensors[f"average.{name}"])
        self._tell("resume")

    def _kept(self) -> str:
        if self.keeper.checkpoint.exists():
            return f". The last good state is kept in {self.keeper.checkpoint.parent}"
        return ""

    def _tell(self, event: str, **facts: Any) -> None:
        told = {"event": event, "step": self.position.step, "seconds": round(self.position.seconds, 3), **facts}
        for listener in self.listeners:
            listener(told)
