"""What a run leaves behind, what it refuses to replace, and what goes on after a crash."""

import errno
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from test_run import interrupt_at, refused
from training_examples import TINY, same, weights, write_book

import openbook
from openbook.errors import OpenbookError
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun
from openbook.training.run_folder import UnfinishedRun, open_run_folder

CHOICES = TINY | {"vocab_size": 300, "steps": 4}


@pytest.fixture(autouse=True)
def _measured():
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        yield


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return write_book(tmp_path_factory.mktemp("books") / "book.txt")


def test_a_plan_and_what_is_refused_leave_no_folder(book, tmp_path):
    plan = TrainingRun(TrainingRequest([book], tmp_path / "a.openbook", CHOICES, device="cpu")).plan()
    assert plan.recipe.steps == 4
    refused("context 15000", book, tmp_path / "a.openbook", **CHOICES | {"context": 15000, "batch_tokens": 15000})
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(OpenbookError, match="no text to train on"):
        openbook.train(tmp_path / "empty.txt", tmp_path / "b.openbook", device="cpu", **CHOICES)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_a_plan_leaves_an_unfinished_run_as_it_is(book, tmp_path):
    output = tmp_path / "a.openbook"
    openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    TrainingRun(TrainingRequest([book], output, CHOICES | {"layers": 2}, device="cpu")).plan()
    assert openbook.train(book, output, device="cpu", **CHOICES).metadata.training["steps"] == 4


@pytest.mark.parametrize(
    ("error", "kept"),
    [(OpenbookError("no"), False), (OpenbookError("full"), True), (KeyboardInterrupt(), True)],
)
def test_what_is_prepared_stays_when_the_disk_is_full_or_someone_interrupts(tmp_path, error, kept):
    if str(error) == "full":
        error.__cause__ = OSError(errno.ENOSPC, "full")
    with pytest.raises(type(error)), open_run_folder(tmp_path / "a.training", tmp_path / "a") as folder:
        (folder.path / "text").write_text("prepared")
        raise error
    assert (tmp_path / "a.training").exists() == kept
    if kept:
        assert [path.name for path in (tmp_path / "a.training").iterdir()] == ["text"]


def test_a_second_run_into_one_output_is_refused_and_harms_nothing(book, tmp_path):
    output, errors = tmp_path / "a.openbook", []

    def try_too(event):
        if event["event"] == "step" and event["step"] == 2:
            for overwrite in (False, True):
                with pytest.raises(OpenbookError) as caught:
                    openbook.train(book, output, overwrite=overwrite, device="cpu", **CHOICES | {"width": 32})
                errors.append(str(caught.value))
            with pytest.raises(OpenbookError, match="trains into it"):
                TrainingRun(TrainingRequest([book], output, CHOICES, device="cpu")).plan()

    model = openbook.train(book, output, device="cpu", callbacks=[try_too], **CHOICES)
    assert len(errors) == 2 and all("trains into it" in error for error in errors)
    alone = openbook.train(book, tmp_path / "alone.openbook", device="cpu", **CHOICES)
    assert same(weights(model.transformer), weights(alone.transformer))


def test_a_run_with_overwrite_that_crashed_goes_on_where_it_stopped(book, tmp_path):
    output, events = tmp_path / "a.openbook", []
    openbook.train(book, output, device="cpu", **CHOICES | {"steps": 1})
    again = {"device": "cpu", "overwrite": True, **CHOICES}
    openbook.train(book, output, callbacks=[interrupt_at(2)], **again)
    last = openbook.train(book, output, callbacks=[events.append], **again)
    assert [event["step"] for event in events if event["event"] == "resume"] == [2]
    alone = openbook.train(book, tmp_path / "alone.openbook", device="cpu", **CHOICES)
    assert same(weights(last.transformer), weights(alone.transformer))


def test_going_on_replaces_what_the_run_wrote_and_nothing_else(book, tmp_path):
    output = tmp_path / "a.openbook"
    openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    mine = output.read_bytes()
    output.write_bytes(b"another model")
    refused("a.openbook: exists", book, output, **CHOICES)
    assert output.read_bytes() == b"another model"
    output.write_bytes(mine)
    assert openbook.train(book, output, device="cpu", **CHOICES).metadata.training["steps"] == 4


def test_a_configuration_is_never_the_output(book, tmp_path):
    config = tmp_path / "a.openbook"
    config.write_text("steps = 4\n")
    request = TrainingRequest([book], config, CHOICES, device="cpu", config=config)
    with pytest.raises(OpenbookError, match=r"is the input .*a.openbook"):
        TrainingRun(request).run(overwrite=True)
    assert config.read_text() == "steps = 4\n"


def test_a_name_with_no_place_for_the_working_folder_is_refused_first(book, tmp_path):
    refused(
        "this name is too long; give output one that is 3 bytes shorter", book, tmp_path / ("a" * 240 + ".openbook")
    )
    longest = tmp_path / ("a" * 237 + ".openbook")
    assert openbook.train(book, longest, device="cpu", **CHOICES).metadata.training["steps"] == 4


def test_a_damaged_record_of_a_run_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"identity": {}}')
    with pytest.raises(OpenbookError, match=r"run.json: is damaged; delete"):
        UnfinishedRun.read(tmp_path)
    assert UnfinishedRun.read(tmp_path / "none") is None


def test_the_python_api_names_models_as_the_command_does(book, tmp_path):
    with pytest.warns(UserWarning, match=r"novel.v1: a model's name ends in .openbook"):
        openbook.train(book, tmp_path / "novel.v1", device="cpu", **CHOICES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["novel.v1.openbook", "novel.v1.openbook.training"]


@pytest.mark.slow
def test_two_commands_into_one_output(book, tmp_path):
    """Real processes: the first is stopped while it trains, so that the second surely meets it."""
    command = [sys.executable, "-m", "openbook.cli.main", "train", str(book), "-o", "two.openbook", "--device", "cpu"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in (CHOICES | {"steps": 400}).items()]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with first:
        next(line for line in first.stdout if line.startswith("step"))
        first.send_signal(signal.SIGSTOP)
        second = subprocess.run([*command, "--overwrite"], cwd=tmp_path, capture_output=True, text=True)
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert f"two.openbook: process {first.pid} trains into it" in second.stderr
    assert first.returncode == 0 and openbook.load(Path(tmp_path, "two.openbook"), "cpu").metadata.training["steps"]
