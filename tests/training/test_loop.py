"""The loop: the best weights win, early stop, budgets, interruption, and what goes wrong is said and keeps the last."""

import math
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from training_examples import books, make_loop, recipe, result_of, run_loop, same, weights

from openbook.errors import OpenbookError
from openbook.training.checkpoint import Checkpointer, read_checkpoint, write_checkpoint
from openbook.training.group import EVERY
from openbook.training.interrupts import interrupts
from openbook.training.loop import TrainingLoop
from openbook.training.report.log import EventLog, read_log


class Scripted:
    """The task of books, but with the scores that the script gives."""

    def __init__(self, recipe, scores):
        self.books, self.scores, self.seen = books(recipe), list(scores), []

    def batches(self, step, share=EVERY):
        return self.books.batches(step, share)

    def forward_backward(self, model, batch, scale):
        return self.books.forward_backward(model, batch, scale)

    def predicted_bytes(self, batches):
        return self.books.predicted_bytes(batches)

    validated_fraction = 1.0

    def validate(self, model):
        self.seen.append(weights(model))
        return self.scores.pop(0)

    def metrics(self, model):
        return {"bleu": float(same(weights(model), self.seen[-1]))}


class Clock:
    """Seconds that only pass when they are asked for."""

    def __init__(self, start=0.0, tick=1.0):
        self.time, self.tick = start, tick

    def __call__(self):
        self.time += self.tick
        return self.time


def events_of(loop, kind):
    told = []
    loop.callbacks = [*loop.callbacks, lambda event: told.append(event) if event["event"] == kind else None]
    return told


def test_it_learns(tmp_path):
    loop = make_loop(tmp_path, recipe(steps=60, context=16))
    steps = events_of(loop, "step")
    outcome = loop.run()
    assert outcome.stop_reason == "finished" and outcome.state.step == 60 == len(steps)
    assert steps[0]["loss"] == pytest.approx(math.log(40), abs=1e-4)  # all tokens are equally likely at first
    assert steps[-1]["loss"] < 0.6 * steps[0]["loss"]
    assert steps[-1]["bits_per_byte"] == pytest.approx(steps[-1]["loss"] / math.log(2) / 2)  # a token is two bytes
    assert not loop.model.training


@pytest.mark.parametrize("changes", [{"attention": "none", "norm": "none"}, {"attention": "none"}, {"norm": "none"}])
def test_the_essential_transformer_learns(tmp_path, changes):
    loop = make_loop(tmp_path, recipe(steps=80, layers=2, **changes))
    steps = events_of(loop, "step")
    loop.run()
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]


@pytest.mark.parametrize(
    "changes",
    [
        {"position": "learned", "norm": "layer", "norm_placement": "post", "bias": True, "matrix_lr": 0.01},
        {"position": "sinusoidal", "norm_placement": "sandwich", "activation": "relu_squared", "gated": False},
        {"position": "none", "tied_embeddings": True, "optimizer": "adamw", "sliding_window": 4, "document_mask": True},
        {"precision": "bfloat16", "logit_softcap": 15.0, "attention_softcap": 20.0},
    ],
)
def test_every_kind_of_model_learns(tmp_path, changes):
    dtype = torch.bfloat16 if changes.get("precision") == "bfloat16" else torch.float32
    loop = make_loop(tmp_path, recipe(steps=60, **changes), dtype=dtype)
    steps = events_of(loop, "step")
    loop.run()
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    one, other = (make_loop(tmp_path / str(rows), recipe(micro_batch_size=rows)) for rows in (1, 4))
    losses = [loop._step() for loop in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for mine, its in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(mine, its, atol=1e-5)


def test_dropout_depends_on_the_step_alone(tmp_path):
    one, other = (make_loop(tmp_path / name, recipe(dropout=0.5)) for name in "ab")
    for loop in (one, other):
        with torch.no_grad():
            for weight in loop.model.parameters():
                weight.add_(0.1)
        loop.model.train()
    first = one._step()
    torch.rand(100)
    assert other._step() == first
    seeds = set()
    for step in range(1, 5):
        one.state.step = step
        one._step()
        seeds.add(torch.initial_seed())
    assert len(seeds) == 4


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    some = recipe(steps=10, validations=5)
    task = Scripted(some, [3.0, 1.0, 2.0, 2.5, 4.0])
    loop = make_loop(tmp_path, some, task)
    outcome = loop.run()
    assert outcome.state.best == 1.0 and outcome.state.best_step == 4
    assert same(weights(loop.model), task.seen[1])
    assert not same(weights(loop.model), task.seen[-1])


def test_the_last_weights_are_kept_where_they_are_best(tmp_path):
    some = recipe(steps=10, validations=5)
    task = Scripted(some, [3.0, 1.0, 2.0, 2.5, 0.5])
    loop = make_loop(tmp_path, some, task)
    assert loop.run().state.best_step == 10
    assert same(weights(loop.model), task.seen[-1])


def test_the_average_is_validated_and_kept_where_there_is_one(tmp_path):
    some = recipe(steps=10, validations=5, ema_decay=0.5)
    task = Scripted(some, [3.0, 1.0, 2.0, 2.5, 4.0])
    loop, plain = make_loop(tmp_path, some, task), make_loop(tmp_path / "plain", recipe(steps=10, validations=5))
    plain.task = Scripted(plain.recipe, [3.0, 1.0, 2.0, 2.5, 4.0])
    loop.run(), plain.run()
    assert same(weights(loop.model), task.seen[1])
    assert not same(task.seen[1], plain.task.seen[1])  # the average is another
    assert loop.state.smooth_loss == plain.state.smooth_loss  # and learning does not see it


def test_what_describes_the_model_is_told_of_the_weights_that_are_scored(tmp_path):
    some = recipe(steps=10, validations=5, ema_decay=0.5)
    loop = make_loop(tmp_path, some, Scripted(some, [3.0, 1.0, 2.0, 2.5, 4.0]))
    told = events_of(loop, "validation")
    loop.run()
    assert [event["bleu"] for event in told] == [1.0] * 5


def test_it_stops_early_when_it_gets_no_better(tmp_path):
    some = recipe(steps=100, validations=50, patience=3)
    task = Scripted(some, [2.0, 1.0, 1.5, 1.0, 1.2, 0.1])
    loop = make_loop(tmp_path, some, task)
    told = events_of(loop, "validation")
    outcome = loop.run()
    assert outcome.stop_reason == "stopped early"
    assert (outcome.state.step, outcome.state.best_step) == (10, 4)
    assert same(weights(loop.model), task.seen[1])
    assert [event["stale"] for event in told] == [0, 0, 1, 2, 3]


def test_validations_are_spread_over_the_run(tmp_path):
    loop = make_loop(tmp_path, recipe(steps=12, validations=4))
    told = events_of(loop, "validation")
    loop.run()
    assert [event["step"] for event in told] == [3, 6, 9, 12]
    assert ["last" in event for event in told] == [False, False, False, True]


def test_minutes_end_it_in_time(tmp_path):
    """Whatever went before the loop counts, and what is kept for closing is left."""
    clock = Clock(start=20.0, tick=0.25)
    loop = make_loop(tmp_path, recipe(steps=None, minutes=1.0), clock=clock, reserved_seconds=5.0)
    steps = events_of(loop, "step")
    outcome = loop.run()
    assert outcome.stop_reason == "finished"
    assert 53 < steps[-1]["seconds"] <= 56  # a score at the end takes a tick, as it did before
    assert steps[-1]["progress"] == 1.0 and steps[0]["progress"] < 0.1


def test_minutes_go_on_after_an_interruption(tmp_path):
    """A second sitting has the minutes that the first left, whatever its own preparation takes."""
    some = recipe(steps=None, minutes=1.0)
    first = make_loop(tmp_path, some, clock=Clock(start=20.0, tick=0.25))
    first.should_stop = lambda: first.state.seconds > 40
    assert first.run().stop_reason == "interrupted"
    before = first.state
    second = make_loop(tmp_path, some, clock=Clock(start=300.0, tick=0.25))
    steps = events_of(second, "step")
    outcome = second.run()
    assert outcome.stop_reason == "finished"
    assert steps[0]["step"] == before.step + 1
    assert 40 < steps[0]["seconds"] < 44
    assert 59 <= steps[-1]["seconds"] <= 61
    assert steps[0]["progress"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("held_out", "expected"), [(1.0, 1.0), (0.5, 1.0), (0.001, 0.0034)])
def test_by_time_the_final_score_takes_its_share_and_no_more(tmp_path, held_out, expected):
    """A validation takes a second here, so all of the held-out data 1, 2 or 1000; and a minute leaves 3.6 seconds."""
    clock = Clock(tick=0.0)
    task = Scripted(recipe(), [1.0] * 99)
    task.validated_fraction = held_out

    def validate(model):
        clock.time += 1.0
        return 1.0

    task.validate, task.metrics = validate, lambda model: {}
    loop = make_loop(tmp_path, recipe(steps=None, minutes=1.0, patience=99), task, clock=clock, reserved_seconds=1.0)
    loop.callbacks = [lambda event: setattr(clock, "time", clock.time + (event["event"] == "step"))]
    outcome = loop.run()
    assert outcome.state.step > 40
    assert outcome.scored_fraction == pytest.approx(expected, rel=0.3)
    assert clock.time + outcome.scored_fraction / held_out + 1.0 <= 61


@pytest.mark.parametrize(("steps", "held_out", "expected"), [(3, 1.0, 1.0), (3, 1e-4, 64e-4), (3, 0.1, 0.1 * 64)])
def test_by_steps_the_final_score_is_of_so_many_tokens(tmp_path, steps, held_out, expected):
    task = Scripted(recipe(), [1.0] * 99)
    task.validated_fraction = held_out
    outcome = make_loop(tmp_path, recipe(steps=steps), task).run()
    assert outcome.scored_fraction == pytest.approx(min(1.0, expected))  # 16,384 tokens are 64 validations


def test_no_time_left_trains_nothing_and_says_so(tmp_path):
    loop = make_loop(tmp_path, recipe(steps=None, minutes=0.1), clock=Clock(start=100.0))
    outcome = loop.run()
    assert outcome.state.step == 0 and outcome.stop_reason == "finished"


def test_interrupted_and_resumed_it_ends_the_same(tmp_path):
    changes = {"dropout": 0.2, "ema_decay": 0.9, "steps": 12}
    whole = make_loop(tmp_path / "whole", recipe(**changes))
    whole.run()
    for stop in range(1, 12, 2):
        loop = make_loop(tmp_path / "parts", recipe(**changes))
        logbook = EventLog(tmp_path / "log.jsonl")
        loop.callbacks, loop.should_stop = [logbook], lambda loop=loop, stop=stop: loop.state.step >= stop
        assert loop.run().stop_reason == "interrupted"
        logbook.close()
        assert math.isfinite(loop.state.best)  # the model is one to use
    last = make_loop(tmp_path / "parts", recipe(**changes))
    assert last.run().stop_reason == "finished"
    assert same(weights(last.model), weights(whole.model))
    steps = [event["step"] for event in read_log(tmp_path / "log.jsonl") if event["event"] == "step"]
    assert steps == list(range(1, 12))
    scores = [event["step"] for event in read_log(tmp_path / "log.jsonl") if event["event"] == "validation"]
    assert scores == [3, 6, 9, 11]  # not those that were made because of an interruption, but for the last


def test_old_best_weights_of_another_run_are_forgotten(tmp_path):
    some = recipe(steps=4, validations=1)  # only at the end
    loop = make_loop(tmp_path, some)
    write_checkpoint(loop.checkpointer.best, {"decoder": torch.zeros(1)}, {"step": 99, "score": -1.0})
    assert loop.run().state.best_step == 4


class Poisoned(Scripted):
    """Goes wrong at a step: its loss is multiplied."""

    def __init__(self, recipe, at, factor):
        super().__init__(recipe, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0] * 20)
        self.at, self.factor, self.step = at, factor, 0

    def batches(self, step, share=EVERY):
        self.step = step
        return super().batches(step, share)

    def forward_backward(self, model, batch, scale):
        return super().forward_backward(model, batch, scale * (self.factor if self.step >= self.at else 1.0))


@pytest.mark.parametrize(
    ("factor", "words"),
    [(math.nan, "gradient is not finite"), (math.inf, "gradient is not finite"), (100.0, "loss explodes")],
)
def test_numbers_gone_wrong_end_it_and_keep_the_last_good_state(tmp_path, factor, words):
    some = recipe(steps=40)
    loop = make_loop(tmp_path, some, Poisoned(some, 6, factor), checkpoint_seconds=0.0)
    with pytest.raises(OpenbookError, match=words) as caught:
        loop.run()
    assert "matrix_lr" in str(caught.value) and str(tmp_path) in str(caught.value)
    tensors, facts = read_checkpoint(loop.checkpointer.latest)
    assert facts["step"] == 6
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    resumed = make_loop(tmp_path, some)
    assert resumed.run().state.step == 40  # with a task that is not poisoned


def test_nothing_is_claimed_to_be_kept_where_nothing_is(tmp_path):
    some = recipe()
    loop = make_loop(tmp_path, some, Poisoned(some, 0, math.nan))
    with pytest.raises(OpenbookError) as caught:
        loop.run()
    assert "kept" not in str(caught.value)
    assert not loop.checkpointer.latest.exists()


def test_absurd_rates_are_told(tmp_path):
    rates = dict.fromkeys(("matrix_lr", "embedding_lr", "lm_head_lr", "norm_lr"), 10.0)
    loop = make_loop(tmp_path, recipe(steps=60, warmup_steps=0, qk_norm=False, norm="none", **rates))
    with pytest.raises(OpenbookError, match=r"explodes|not finite"):
        loop.run()


def test_a_score_that_is_no_number_is_told(tmp_path):
    some = recipe()
    with pytest.raises(OpenbookError, match="held-out text is not finite"):
        make_loop(tmp_path, some, Scripted(some, [math.nan])).run()


def test_full_memory_is_told(tmp_path, monkeypatch):
    some = recipe()
    task = Scripted(some, [])

    def full(model, batch, scale):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    task.forward_backward = full
    with pytest.raises(OpenbookError, match=r"do not fit in memory.*micro_batch_size \(now 2\)"):
        make_loop(tmp_path, some, task).run()


def test_other_errors_keep_their_traceback(tmp_path):
    some = recipe()
    task = Scripted(some, [])

    def wrong(model, batch, scale):
        raise RuntimeError("size mismatch")

    task.forward_backward = wrong
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_loop(tmp_path, some, task).run()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08" + bytes(7) + b"{}      "])
def test_a_damaged_checkpoint_is_told(tmp_path, content):
    loop = make_loop(tmp_path, recipe())
    loop.checkpointer.latest.write_bytes(content)
    with pytest.raises(OpenbookError, match=r"checkpoint\.safetensors: is not a checkpoint .*delete it"):
        loop.run()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_disk_that_is_full_for_the_log_is_told():
    logbook = EventLog(Path("/dev/full"))
    with pytest.raises(OpenbookError, match=r"/dev/full: cannot be written \(No space left"):
        logbook({"event": "step", "step": 1})
    logbook.close()


def test_halves_of_killed_writes_are_cleared(tmp_path):
    half = tmp_path / ".checkpoint.safetensors.0123abcd.partial"
    half.write_bytes(b"half")
    Checkpointer(tmp_path)
    assert not half.exists()


def test_a_second_interrupt_ends_at_once_and_handlers_come_back():
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with suppress(KeyboardInterrupt), interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second is not only noted")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_off_the_main_thread_nothing_is_caught():
    from concurrent.futures import ThreadPoolExecutor

    def inside():
        with interrupts() as interrupted:
            return interrupted()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() is False


def test_the_driver_of_the_killed_runs_works(tmp_path):
    changes = {"dropout": 0.2, "ema_decay": 0.9}
    run_loop(tmp_path, tmp_path / "result", changes, 0)
    loop = make_loop(tmp_path / "other", recipe(**changes))
    assert isinstance(loop, TrainingLoop)
    loop.run()
    assert same(result_of(tmp_path / "result")[0], weights(loop.model))
