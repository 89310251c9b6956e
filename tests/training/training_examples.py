"""Tiny runs, and processes of their own that are killed, interrupted or run out of disk."""

import json
import multiprocessing
import os
import random
import signal
import sys
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from pydoc_data.topics import topics
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from openbook import model
from openbook.cli import main as cli
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN
from openbook.training import run
from openbook.training.checkpoint import Checkpointer
from openbook.training.data.language_modeling_task import LanguageModelingTask
from openbook.training.evaluation.perplexity import TokenBytes
from openbook.training.initialize import initialize
from openbook.training.loop import TrainingLoop
from openbook.training.plan import measure
from openbook.training.recipe import build_architecture, make_recipe
from openbook.training.report.log import EventLog
from openbook.transformer.transformer import Transformer

TINY = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "key_value_heads": 1,
    "head_width": 8,
    "feed_forward_width": 16,
    "context": 16,
    "batch_tokens": 64,
    "micro_batch_size": 2,  # so that a step's gradient is accumulated
    "validation_tokens": 256,
    "precision": "float32",
    "warmup_steps": 2,
    "validations": 4,
    "steps": 12,
}
KINDS = 40


def recipe(**changes):
    return make_recipe(TINY | {"vocab_size": KINDS} | changes)


def tokens(count, seed=0):
    """Tokens that can be learnt: mostly each follows from the one before."""
    generator = np.random.default_rng(seed)
    ids = np.zeros(count, np.uint16)
    for place in range(1, count):
        ids[place] = generator.integers(KINDS) if generator.random() < 0.2 else (3 * ids[place - 1] + 1) % KINDS
    return ids


def books(recipe, train=2000, held_out=300):
    starts = np.array([0, train // 3], np.int64)
    device, two_bytes = torch.device("cpu"), TokenBytes(np.full(KINDS, 2), None, NOTHING_UNKNOWN)
    ids = tokens(train), tokens(held_out, seed=1)
    return LanguageModelingTask(recipe, *ids, 2 * held_out, starts, device, torch.float32, two_bytes, two_bytes)


def make_loop(folder, recipe, task=None, **options):
    """A run of a new tiny model whose files lie in `folder`."""
    model = Transformer(build_architecture(recipe), recipe.dropout)
    initialize(model, recipe.seed)
    return TrainingLoop(model, task or books(recipe), recipe, Checkpointer(folder), **options)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def same(one, other):
    """Whether two sets of weights are the same bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def write_book(path, characters=20_000):
    """Prose that every Python brings along."""
    path.write_text("\n\n".join(topics[name] for name in sorted(topics))[:characters], "utf-8")
    return path


def write_pairs(path, count=300):
    """Sentences and their words in reverse order."""
    words = sorted({word for word in " ".join(topics.values()).split() if word.isalpha()})
    choose = random.Random(0)
    lines = [choose.choices(words[:200], k=choose.randint(1, 6)) for _ in range(count)]
    path.write_text("".join(f"{' '.join(line)}\t{' '.join(reversed(line))}\n" for line in lines), "utf-8")
    return path


# Processes. They are forked from a server that has imported all this, so each starts at once and is a real one.

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "training_examples"])


def processes():
    """Makes processes that are forked from the server."""
    with patch.dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()  # where this is imported, so that it need not be again
    return _context


def in_process(function, *arguments):
    """Call a function in a process of its own; its exit code, negative for a signal."""
    process = processes().Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def die_after(calls):
    """Kill this process in the middle of it all: at the so-many-th call in or from code of openbook."""
    left = calls

    def count(frame, event, argument):
        nonlocal left
        path = frame.f_code.co_filename
        if "openbook" in path and "/training/plan/" not in path:  # a plan measures, each time differently
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if calls:
        sys.setprofile(count)
    return lambda: calls - left


def run_loop(folder, result, changes, calls):
    """Train in `folder`, a checkpoint after every step; the final weights go to `result`. Dies after so many calls."""
    torch.set_num_threads(1)
    used = die_after(calls)
    log = folder / "log.jsonl"
    if not Checkpointer(folder).latest.exists():
        log.unlink(missing_ok=True)
    logbook = EventLog(log)
    loop = make_loop(folder, recipe(**changes), callbacks=[logbook], checkpoint_seconds=0.0)
    outcome = loop.run()
    sys.setprofile(None)
    facts = {"how": outcome.stop_reason, "best_step": str(outcome.state.best_step), "calls": str(used())}
    save_file(weights(loop.model), result, facts)


def run_training(folder, choices, calls):
    """`openbook.train` on a book or pairs in `folder`, a checkpoint after every step. Dies after so many calls."""
    torch.set_num_threads(1)
    run.TrainingLoop = partial(TrainingLoop, checkpoint_seconds=0.0)
    measure.step_seconds = lambda *arguments: 0.01
    used = die_after(calls)
    if (folder / "pairs.tsv").exists():
        model.train(pairs=folder / "pairs.tsv", output=folder / "it.openbook", device="cpu", **choices)
    else:
        model.train(folder / "book.txt", folder / "it.openbook", validation_fraction=0.2, device="cpu", **choices)
    sys.setprofile(None)
    (folder / "calls").write_text(str(used()))


def run_command(folder, arguments, limit=None):
    """The command, its output going to folder/out and folder/err; files may grow to `limit` bytes."""
    import resource

    torch.set_num_threads(1)
    run.TrainingLoop = partial(TrainingLoop, checkpoint_seconds=0.0)
    measure.step_seconds = lambda *arguments: 0.01
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.chdir(folder)
    sys.argv = ["openbook", *arguments]
    cli.main()


def result_of(path):
    """The weights and facts that `run_loop` wrote."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return load_file(path), file.metadata()


def learned(path: Path):
    """The log without what depends on the clock and on being interrupted."""
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{**event, "seconds": None} for event in events if event["event"] != "resume"]
