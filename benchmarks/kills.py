"""A training run that is killed again and again, on a changing number of processes: does it end as if nothing had been?

    python benchmarks/kills.py --kills 50

A run on one process gives the losses to reach. Then the same run is made in sittings of 1, 2 or 4 processes. In each,
after a random time, a random process or all of them get SIGKILL; after five kills a sitting is left to finish. Losses
and weights must be those of the first run, whatever was killed when.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import load_file

from openbook.progress import silent
from openbook.training import run
from openbook.training.distributed.join import joined
from openbook.training.distributed.process_group import RENDEZVOUS
from openbook.training.group import RANK, SIZE
from openbook.training.loop import TrainingLoop
from openbook.training.plan import measure
from openbook.training.request import TrainingRequest
from openbook.training.start import train

KILLS_IN_A_RUN = 5
SIZES = (1, 2, 4)
CHOICES = {
    "steps": 60, "layers": 2, "width": 32, "heads": 2, "head_width": 16, "feed_forward_width": 64, "context": 32,
    "batch_tokens": 512, "micro_batch_size": 2, "vocab_size": 400, "dropout": 0.2, "ema_decay": 0.9, "validations": 6,
    "validation_tokens": 512, "precision": "float32", "patience": 99,
}  # fmt: skip


def write_book(path: Path) -> None:
    """Sentences of made words, the same every time."""
    choose = random.Random(1)
    words = ["".join(choose.choices("aeioulnrst", k=choose.randint(2, 7))) for _ in range(400)]
    sentences = (" ".join(choose.choices(words, k=choose.randint(5, 12))).capitalize() for _ in range(2000))
    path.write_text(".\n\n".join(sentences), "utf-8")


def sit(rank: int, size: int, meeting: str, folder: Path) -> None:
    """One process of a sitting: a checkpoint after every fifth of a second, if the one before is written."""
    os.environ |= {RANK: str(rank), SIZE: str(size), RENDEZVOUS: f"file://{meeting}", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    run.TrainingLoop = partial(TrainingLoop, checkpoint_seconds=0.2)  # type: ignore[misc,assignment]
    measure.step_seconds = lambda *arguments: 0.01  # a plan that is the same every time
    request = TrainingRequest([folder / "book.txt"], folder / "it.openbook", CHOICES, device="cpu")
    with joined(request, timeout=60.0):
        train(request, [], silent, time.perf_counter)
    os._exit(0)


def start(folder: Path, size: int) -> list[BaseProcess]:
    """The processes of a sitting."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["openbook.training.run", "openbook.training.distributed.checkpoint"])
    meeting = str(folder / f"meeting-{time.monotonic_ns()}")
    processes = [context.Process(target=sit, args=(rank, size, meeting, folder)) for rank in range(size)]
    for process in processes:
        process.start()
    return list(processes)


def ended(processes: list[BaseProcess]) -> None:
    """Wait for all to end."""
    for process in processes:
        process.join()


def new_folder(parent: Path, name: str) -> Path:
    """A folder with the book."""
    folder = parent / name
    folder.mkdir()
    write_book(folder / "book.txt")
    return folder


def losses_of(folder: Path) -> dict[int, float]:
    """The loss of every step, from the log."""
    lines = (folder / "it.openbook.training" / "log.jsonl").read_text("utf-8").splitlines()
    return {event["step"]: event["loss"] for event in map(json.loads, lines) if event["event"] == "step"}


def killed_run(folder: Path, kills: int, seconds: float, choose: random.Random) -> list[str]:
    """Kill so many times, then let it finish; what was killed."""
    told = []
    while not (folder / "it.openbook").exists():
        size = choose.choice(SIZES)
        processes = start(folder, size)
        if len(told) < kills:
            time.sleep(choose.uniform(0.2, seconds))
            victims = processes if choose.random() < 0.3 else [choose.choice(processes)]
            alive = [each for each in victims if each.is_alive() and each.pid]
            for victim in alive:
                os.kill(victim.pid or 0, signal.SIGKILL)
            if alive:
                told.append(f"{len(alive)} of {size}")
        ended(processes)
    return told


def main() -> None:
    """Kill, compare and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    choose, done, number, worst = random.Random(wanted.seed), 0, 0, 0.0
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        whole = new_folder(parent, "whole")
        begun = time.perf_counter()
        ended(start(whole, 1))
        seconds = time.perf_counter() - begun
        expected, weights = losses_of(whole), load_file(whole / "it.openbook")
        while done < wanted.kills:
            number += 1
            folder = new_folder(parent, str(number))
            killed = killed_run(folder, min(KILLS_IN_A_RUN, wanted.kills - done), 0.6 * seconds, choose)
            done += len(killed)
            losses, found = losses_of(folder), load_file(folder / "it.openbook")
            assert losses.keys() == expected.keys(), f"run {number}: steps are missing"
            error = max(abs(losses[step] / expected[step] - 1) for step in expected)
            apart = max(float((found[name] - weight).abs().max()) for name, weight in weights.items())
            worst = max(worst, error)
            print(f"run {number}: killed {', '.join(killed)}; losses within {error:.1e}, weights within {apart:.1e}")
    print(f"{done} kills, {number} runs; every loss within {worst:.1e} of the undisturbed run's")


if __name__ == "__main__":
    main()
