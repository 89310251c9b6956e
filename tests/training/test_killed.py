"""Killed with SIGKILL at any moment and resumed, a run ends with the very same weights. Real processes, real kills."""

import random
import signal
import subprocess
import sys

import pytest
from training_examples import (
    TINY,
    in_process,
    learned,
    result_of,
    run_command,
    run_loop,
    run_training,
    same,
    weights,
    write_book,
    write_pairs,
)

from openbook.model import load
from openbook.training.report.log import read_log

CHANGES = {"dropout": 0.2, "ema_decay": 0.9, "steps": 8, "validations": 4}
CHOICES = TINY | {"vocab_size": 300, "dropout": 0.2, "ema_decay": 0.9, "steps": 6}
KILLED = -signal.SIGKILL


@pytest.mark.parametrize("seed", range(3))
def test_a_loop_killed_anywhere_ends_bit_identical(tmp_path, seed):
    """Each sitting dies after a random number of calls, within a step, a validation or the writing of a file."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    assert in_process(run_loop, whole, tmp_path / "expected", CHANGES, 10**9) == 0
    expected, facts = result_of(tmp_path / "expected")
    choose, kills = random.Random(seed), 0
    for _ in range(6):
        calls = choose.randint(1, int(facts["calls"]))
        kills += in_process(run_loop, parts, tmp_path / "result", CHANGES, calls) == KILLED
    assert kills >= 1
    assert in_process(run_loop, parts, tmp_path / "result", CHANGES, 0) == 0
    found, found_facts = result_of(tmp_path / "result")
    assert same(found, expected)
    assert found_facts["best_step"] == facts["best_step"]
    assert learned(parts / "log.jsonl") == learned(whole / "log.jsonl")
    assert not list(parts.glob(".*.partial"))


def finished(folder):
    model = load(folder / "it.openbook", "cpu")
    losses = model.metadata.training["losses"]
    return weights(model.transformer), losses, model.metadata.tokenizer


PAIR_CHOICES = CHOICES | {"encoder_layers": 1, "vocab_size": 400, "context": 32, "validation_translations": 4}


@pytest.mark.parametrize(
    ("name", "write", "choices"), [("book.txt", write_book, CHOICES), ("pairs.tsv", write_pairs, PAIR_CHOICES)]
)
def test_a_whole_run_killed_anywhere_ends_bit_identical(tmp_path, name, write, choices):
    """From reading the book or the pairs to writing the model file."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        write(folder / name)
    assert in_process(run_training, whole, choices, 10**9) == 0
    expected, losses, tokenizer = finished(whole)
    total, choose, kills = int((whole / "calls").read_text()), random.Random(7), 0
    for part in range(8):  # early ones die in preparation, later ones anywhere
        calls = choose.randint(1, total * (part + 1) // 8)
        kills += in_process(run_training, parts, choices, calls) == KILLED
        if (parts / "it.openbook").exists():
            break
    assert kills >= 3
    if not (parts / "it.openbook").exists():
        assert in_process(run_training, parts, choices, 0) == 0
    found, found_losses, found_tokenizer = finished(parts)
    assert found_tokenizer == tokenizer
    assert same(found, expected)
    assert found_losses == losses
    assert learned(parts / "it.openbook.training" / "log.jsonl") == learned(
        whole / "it.openbook.training" / "log.jsonl"
    )


ARGUMENTS = [f"--{name.replace('_', '-')}={value}" for name, value in CHOICES.items()]


def test_a_full_disk_is_one_line_and_keeps_what_was(tmp_path):
    book = write_book(tmp_path / "book.txt", 8000)
    arguments = ["train", book.name, "-o", "it.openbook", "--device", "cpu", *ARGUMENTS]
    assert in_process(run_command, tmp_path, arguments, 12_000) == 1  # enough for text and tokens, not for a checkpoint
    error = (tmp_path / "err").read_text()
    assert error.count("\n") == 1 and error.startswith("openbook: ") and "disk is full" in error, error
    assert not (tmp_path / "it.openbook").exists()
    assert not list((tmp_path / "it.openbook.training").glob(".*.partial"))
    assert in_process(run_command, tmp_path, arguments) == 0, (tmp_path / "err").read_text()
    assert load(tmp_path / "it.openbook", "cpu").metadata.training["steps"] == 6


def test_the_command_itself_interrupted_once_leaves_a_model_and_goes_on(tmp_path):
    """Ctrl-C to a real `python -m openbook.cli.main`; the same command then ends as if nothing had been."""
    whole = tmp_path / "whole"
    whole.mkdir()
    write_book(tmp_path / "book.txt", 8000)
    write_book(whole / "book.txt", 8000)
    arguments = [
        "train",
        "book.txt",
        "-o",
        "it.openbook",
        "--device",
        "cpu",
        "--validation-fraction",
        "0.2",
        *ARGUMENTS,
    ]
    arguments += ["--steps=300", "--validations=30", "--patience=99"]
    assert in_process(run_command, whole, arguments) == 0
    command = [sys.executable, "-m", "openbook.cli.main", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith("step") and process.poll() is None:
                process.send_signal(signal.SIGINT)
                break
        output += process.stdout.read()
    assert process.returncode == 130
    assert "Interrupted after" in output and "The same command" in output
    interrupted = load(tmp_path / "it.openbook", "cpu")
    assert interrupted.metadata.training["ended"] == "interrupted"
    assert interrupted.ask("The", max_tokens=3, seed=1)
    assert in_process(run_command, tmp_path, arguments) == 0, (tmp_path / "err").read_text()
    assert "Resuming at step" in (tmp_path / "out").read_text()
    assert same(finished(tmp_path)[0], finished(whole)[0])
    assert finished(tmp_path)[1] == finished(whole)[1]
    steps = [
        event["step"] for event in read_log(tmp_path / "it.openbook.training" / "log.jsonl") if event["event"] == "step"
    ]
    assert steps == list(range(1, 301))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 40))
def test_a_loop_killed_anywhere_ends_bit_identical_many_times(tmp_path, seed):
    test_a_loop_killed_anywhere_ends_bit_identical(tmp_path, seed)
