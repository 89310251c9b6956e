"""Groups of real processes that train together, or are killed."""

import json
import os
import signal
import tempfile
import time
from functools import cache

import torch
from safetensors.torch import load_file, save_file
from training_examples import books, processes, recipe, run_command, weights

from openbook.training.distributed.process_group import RENDEZVOUS, ProcessGroup
from openbook.training.distributed.sharding import shard
from openbook.training.group import RANK, SIZE, current_group, drop_gathered, member_of, whole
from openbook.training.initialize import initialize, set_load_balancing
from openbook.training.loop import TrainingLoop
from openbook.training.recipe import build_architecture
from openbook.training.run import make_checkpointer
from openbook.transformer.transformer import Transformer

TIMEOUT = 60.0


@cache
def meetings():
    """The folder of the files through which groups meet; it goes with this process."""
    return tempfile.TemporaryDirectory(prefix="openbook-test-")


def new_meeting():
    return f"{meetings().name}/{time.monotonic_ns()}"


def in_group(size, function, *arguments, timeout=TIMEOUT):
    """Call a function in each of `size` processes that form a group; their exit codes."""
    started = start_group(size, function, *arguments, timeout=timeout)
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def start_group(size, function, *arguments, timeout=TIMEOUT):
    """The same, without waiting for them."""
    meeting = new_meeting()
    context = processes()
    started = [
        context.Process(target=_member, args=(rank, size, meeting, timeout, function, *arguments))
        for rank in range(size)
    ]
    for process in started:
        process.start()
    return started


def command_in_group(size, folder, arguments, **options):
    """The command in each of `size` processes; their exit codes and what each wrote to standard error and output."""
    started = start_commands(size, folder, arguments, **options)
    for process in started:
        process.join()
    return [process.exitcode for process in started], *said_in(folder, size)


def said_in(folder, size):
    """What each process wrote to standard error, and to standard output."""
    return tuple([(folder / str(rank) / name).read_text() for rank in range(size)] for name in ("err", "out"))


def start_commands(size, folder, arguments, limits=(), doing=None):
    """The same, without waiting. `limits` are the largest files of some ranks; `doing` a rank, a step and an act."""
    meeting = new_meeting()
    for rank in range(size):
        (folder / str(rank)).mkdir(exist_ok=True)
    arguments = [["train", *each, "--device", "cpu"] for each in arguments]
    started = [
        processes().Process(target=_command, args=(rank, size, meeting, folder, arguments[rank], dict(limits), doing))
        for rank in range(size)
    ]
    for process in started:
        process.start()
    return started


def _command(rank, size, meeting, folder, arguments, limits, doing):
    os.environ |= {RANK: str(rank), SIZE: str(size), RENDEZVOUS: f"file://{meeting}", "GLOO_SOCKET_IFNAME": "lo"}
    step = TrainingLoop._step

    def watched(loop):
        if doing is not None and (rank, loop.state.step) == tuple(doing[:2]):
            os.kill(os.getpid(), doing[2])
        return step(loop)

    TrainingLoop._step = watched
    run_command(folder / str(rank), arguments, limits.get(rank))


def _member(rank, size, meeting, timeout, function, *arguments):
    os.environ |= {RANK: str(rank), SIZE: str(size), RENDEZVOUS: f"file://{meeting}", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    if size == 1:
        function(*arguments)
        return
    with member_of(ProcessGroup(torch.device("cpu"), timeout)):
        function(*arguments)


def train_loop(folder, changes, checkpoint_seconds=1e9, kill=None, split=False):
    """Train a tiny model. The first process writes its losses and weights.

    `kill` names a rank and a step; `split` gives each process a part of the model only.
    """
    group, losses = current_group(), {}

    def listen(event):
        if event["event"] == "step":
            losses[event["step"]] = event["loss"]
            if kill == (group.rank, event["step"]):
                os.kill(os.getpid(), signal.SIGKILL)

    folder.mkdir(exist_ok=True)
    some = recipe(**changes)
    with torch.device("meta" if split else "cpu"):
        model = Transformer(build_architecture(some), some.dropout)
    if split:
        shard(model, group, torch.device("cpu"))
    initialize(model, some.seed)
    set_load_balancing(model, some.load_balancing / some.batch_tokens)
    model.decoder.gradient_checkpointing = some.gradient_checkpointing
    files = make_checkpointer(folder)
    loop = TrainingLoop(model, books(some), some, files, callbacks=[listen], checkpoint_seconds=checkpoint_seconds)
    loop.run()
    drop_gathered(model)
    found = {name: whole(weight).clone() for name, weight in weights(model).items()}
    if group.is_first:
        save_file(found, folder / "result.safetensors")
        (folder / "losses.json").write_text(json.dumps(losses))


def result_in(folder):
    """The losses by step, and the weights, of `train_loop`."""
    losses = json.loads((folder / "losses.json").read_text())
    return {int(step): loss for step, loss in losses.items()}, load_file(folder / "result.safetensors")
