"""A whole run: from the text to the model file, its record, going on from a model, and all that is refused."""

import json
import re
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from training_examples import TINY, same, weights, write_book

import openbook
from openbook.errors import OpenbookError
from openbook.training import lora_targets, run
from openbook.training.data import book_dataset
from openbook.training.report.display import Display, format_duration
from openbook.training.report.record import MOST_FILES, data_record, hash_of
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun

CHOICES = TINY | {"vocab_size": 300, "steps": 4}
CONTINUED = {name: CHOICES[name] for name in ("context", "batch_tokens", "precision", "steps", "validation_tokens")}


@pytest.fixture(scope="module", autouse=True)
def _measured():
    """The speed of this machine is not measured again and again."""
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model from a book, and the folder with all that its training left."""
    folder = tmp_path_factory.mktemp("trained")
    events = []
    book = write_book(folder / "book.txt")
    model = openbook.train(book, folder / "it.openbook", device="cpu", callbacks=[events.append], **CHOICES)
    return model, folder, events


def test_what_is_trained_can_do_everything(trained, tmp_path):
    model, folder, _ = trained
    opened = openbook.load(folder / "it.openbook", "cpu")
    assert same(weights(opened.transformer), weights(model.transformer))
    assert opened.ask("The", max_tokens=5, seed=1) == model.ask("The", max_tokens=5, seed=1)
    assert 0 < opened.evaluate([folder / "book.txt"]).bits_per_byte < 9
    assert opened.trace("The").logits.shape == (1, 300)
    opened.save(tmp_path / "again.openbook")
    assert (tmp_path / "again.openbook").read_bytes() == (folder / "it.openbook").read_bytes()


def test_the_record_says_how_it_came_about(trained):
    model, folder, _ = trained
    record = model.metadata.training
    assert record["data"] == [
        {"name": "book.txt", "bytes": record["data"][0]["bytes"], "sha256": hash_of(folder / "book.txt")}
    ]
    assert record["data"][0]["bytes"] > 15_000
    assert record["recipe"]["layers"] == 1 and record["recipe"]["vocab_size"] == 300
    assert (
        record["seed"] == 1 and record["steps"] == 4 and record["ended"] == "finished" and record["base_model"] is None
    )
    assert record["losses"][-1]["step"] == 4 and record["losses"][-1]["bits_per_byte"] > 0
    assert record["bits_per_byte"] == pytest.approx(record["losses"][-1]["bits_per_byte"], rel=0.2)
    assert {"openbook", "torch", "numpy", "python"} <= record["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["date"])


def test_everything_is_told_in_order(trained):
    kinds = [event["event"] for event in trained[2]]
    assert list(dict.fromkeys(kinds)) == ["prepared", "plan", "tokens", "step", "validation", "ended", "saved"]
    assert all(event.keys() >= {"event", "step", "seconds"} for event in trained[2])
    assert all(earlier["seconds"] <= later["seconds"] for earlier, later in zip(trained[2], trained[2][1:]))  # noqa: B905


def test_the_log_is_json_and_the_curve_a_picture(trained):
    _, folder, _ = trained
    lines = (folder / "it.openbook.training" / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    assert [event["step"] for event in events if event["event"] == "validation"] == [1, 2, 3, 4]
    with Image.open(folder / "it.openbook.training" / "loss.png") as picture:
        picture.load()
        assert picture.size[0] > 300 and len(picture.convert("RGB").getcolors(10**6)) > 10


def test_nothing_of_the_run_is_left_to_go_on_from(trained):
    left = {path.name for path in (trained[1] / "it.openbook.training").iterdir()}
    assert left == {"text", "tokens", "tokenizer.json", "tokenizer.made-from", "log.jsonl", "loss.png"}


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    model, folder, _ = trained
    again = openbook.train(folder / "book.txt", tmp_path / "it.openbook", device="cpu", **CHOICES)
    assert same(weights(again.transformer), weights(model.transformer))
    other = openbook.train(folder / "book.txt", tmp_path / "other.openbook", device="cpu", **CHOICES, seed=2)
    assert not same(weights(other.transformer), weights(model.transformer))


def test_going_on_changes_all_weights_and_keeps_the_rest(trained, tmp_path):
    model, folder, _ = trained
    write_book(tmp_path / "notes.txt", 30_000)
    more = openbook.train(
        tmp_path / "notes.txt", tmp_path / "more.openbook", base_model=folder / "it.openbook", device="cpu", **CONTINUED
    )
    assert more.metadata.tokenizer == model.metadata.tokenizer
    assert more.metadata.architecture == model.metadata.architecture
    assert more.metadata.training["base_model"] == "it.openbook"
    before, after = weights(model.transformer), weights(more.transformer)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert same(weights(openbook.load(folder / "it.openbook", "cpu").transformer), before)  # the file is as it was


def test_going_on_uses_dropout(trained, tmp_path, monkeypatch):
    _, folder, _ = trained
    seen = []
    monkeypatch.setattr(run, "TrainingLoop", lambda model, *rest, **options: seen.append(model) or Stop())
    with pytest.raises(StoppedError):
        openbook.train(
            folder / "book.txt", tmp_path / "a.openbook", base_model=folder / "it.openbook", dropout=0.25, **CONTINUED
        )
    assert seen[0].decoder.dropout.threshold == 64


class StoppedError(Exception):
    pass


class Stop:
    def run(self):
        raise StoppedError


def test_low_rank_changes_only_the_targets(trained, tmp_path):
    model, folder, _ = trained
    changed = openbook.train(
        folder / "book.txt",
        tmp_path / "a.openbook",
        base_model=folder / "it.openbook",
        lora_rank=2,
        lora_targets=["value"],
        device="cpu",
        **CONTINUED,
    )
    before, after = weights(model.transformer), weights(changed.transformer)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "decoder.blocks.0.self_attention.value.weight"
    }


def test_validation_files_are_held_out(trained, tmp_path):
    _, folder, _ = trained
    held_out = tmp_path / "held.txt"
    held_out.write_text("The colourful seaside holiday ended, and nobody had foreseen it. " * 40)
    events = []
    openbook.train(
        folder / "book.txt",
        tmp_path / "a.openbook",
        validation=str(held_out),
        device="cpu",
        callbacks=[events.append],
        **CHOICES,
    )
    prepared = next(event for event in events if event["event"] == "prepared")
    assert prepared["validation_bytes"] == pytest.approx(held_out.stat().st_size, abs=2)
    assert "seaside" not in (tmp_path / "a.openbook.training" / "text" / "train.txt").read_text()


def refused(words, *arguments, **options):
    with pytest.raises(OpenbookError, match=words) as caught:
        openbook.train(*arguments, **{"device": "cpu"} | options)
    assert "\n" not in str(caught.value)


def test_an_existing_model_is_not_replaced_unasked(trained, tmp_path):
    _, folder, _ = trained
    output = tmp_path / "a.openbook"
    output.write_bytes(b"precious")
    refused("a.openbook: exists; .*overwrite", folder / "book.txt", output, **CHOICES)
    assert output.read_bytes() == b"precious"
    openbook.train(folder / "book.txt", output, overwrite=True, device="cpu", **CHOICES)
    assert openbook.load(output, "cpu").metadata.training["steps"] == 4


def interrupt_at(step, signals=1):
    import signal

    def callback(event):
        if event["event"] == "step" and event["step"] == step:
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)

    return callback


def test_an_interrupted_run_goes_on_with_the_same_and_refuses_other_choices(trained, tmp_path):
    model, folder, _ = trained
    book, output = folder / "book.txt", tmp_path / "it.openbook"
    first = openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    assert first.metadata.training["ended"] == "interrupted" and first.metadata.training["steps"] == 2
    refused("holds an unfinished run with other inputs or choices", book, output, **CHOICES | {"dropout": 0.5})
    refused("holds an unfinished run with other inputs or choices", book, output, **CHOICES, keep_duplicates=True)
    events = []
    last = openbook.train(book, output, device="cpu", callbacks=[events.append], **CHOICES)
    assert [event["step"] for event in events if event["event"] == "resume"] == [2]
    assert same(weights(last.transformer), weights(model.transformer))
    assert last.metadata.training["losses"] == model.metadata.training["losses"]


def test_the_seconds_of_a_resumed_run_count_all_sittings(tmp_path):
    book, output, told = write_book(tmp_path / "book.txt"), tmp_path / "it.openbook", []
    openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    openbook.train(book, output, device="cpu", callbacks=[told.append], **CHOICES)
    resumed = next(event["seconds"] for event in told if event["event"] == "resume")
    last = [event["seconds"] for event in told if event["event"] == "validation"][-1]
    assert told[-1]["event"] == "saved" and 0 < resumed <= last <= told[-1]["seconds"]


def test_overwrite_begins_an_unfinished_run_anew(trained, tmp_path):
    _, folder, _ = trained
    book, output, events = folder / "book.txt", tmp_path / "it.openbook", []
    openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    openbook.train(book, output, device="cpu", callbacks=[events.append], overwrite=True, **CHOICES | {"steps": 3})
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3]


def test_interrupted_twice_it_ends_at_once_and_can_go_on(trained, tmp_path):
    model, folder, _ = trained
    book, output = folder / "book.txt", tmp_path / "it.openbook"
    with pytest.raises(KeyboardInterrupt):
        openbook.train(book, output, device="cpu", callbacks=[interrupt_at(2, signals=2)], **CHOICES)
    assert not output.exists()
    assert same(weights(openbook.train(book, output, device="cpu", **CHOICES).transformer), weights(model.transformer))


def test_an_unfinished_run_keeps_its_plan(trained, tmp_path, monkeypatch):
    """What was measured is not measured again, so that a run that is not given all its sizes goes on as it was."""
    _, folder, _ = trained
    book, output = folder / "book.txt", tmp_path / "it.openbook"
    with pytest.raises(KeyboardInterrupt):
        openbook.train(book, output, device="cpu", callbacks=[interrupt_at(1, signals=2)], **CHOICES)
    monkeypatch.setattr(book_dataset, "make_plan", None)
    openbook.train(book, output, device="cpu", **CHOICES)


def test_what_is_wrong_is_refused_before_any_work(trained, tmp_path):
    _, folder, _ = trained
    book, start, output = folder / "book.txt", folder / "it.openbook", tmp_path / "a.openbook"
    (tmp_path / "folder.openbook").mkdir()
    (tmp_path / "binary.openbook").write_bytes(bytes(range(256)))
    refused("layers 0: give a whole number from 1 to 1,024", book, output, layers=0)
    refused(r"layer: is not known; did you mean layers\?", book, output, layer=3)
    refused("device tpu: is not on this machine", book, output, device="tpu")
    refused("device vulkan: is not on this machine", book, output, device="vulkan")
    refused("folder.openbook: is a folder", book, tmp_path / "folder.openbook", overwrite=True)
    refused("the folder .*/none does not exist", book, tmp_path / "none" / "a.openbook")
    refused(
        "none.openbook.*(no such|not exist|missing|is not there)", book, output, base_model=tmp_path / "none.openbook"
    )
    refused("folder.openbook", book, output, base_model=tmp_path / "folder.openbook")
    refused("binary.openbook", book, output, base_model=tmp_path / "binary.openbook")
    refused("lora_rank 8: .*base_model", book, output, lora_rank=8)
    refused("lora_rank 0: the rank must be 1", book, output, lora_rank=0, base_model=start)
    refused("it.openbook: is the input .*it.openbook", book, start, base_model=start, overwrite=True)
    refused("validation_fraction 0.9", book, output, validation_fraction=0.9)
    refused("none.txt: no such file", tmp_path / "none.txt", output)
    refused("the name of an input is empty", "", output)
    assert not output.exists()


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_one_is_refused(trained, tmp_path, rank):
    _, folder, _ = trained
    refused("the rank must be 1 or more", folder / "book.txt", tmp_path / "a.openbook",
            base_model=folder / "it.openbook", lora_rank=rank, **CONTINUED)  # fmt: skip


@pytest.mark.parametrize("name", ["tokenizer", "vocab_size", "layers", "width", "heads"])
def test_what_a_model_keeps_cannot_be_chosen(trained, tmp_path, name):
    _, folder, _ = trained
    value = "words" if name == "tokenizer" else 300
    refused("is fixed by the base model", folder / "book.txt", tmp_path / "a.openbook",
            base_model=folder / "it.openbook", **CONTINUED | {name: value})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("position", "learned"),
        ("norm", "layer"),
        ("attention", "none"),
        ("sliding_window", 4),
        ("tied_embeddings", True),
        ("gated", False),
    ],
)
def test_what_else_a_model_keeps_cannot_be_chosen(trained, tmp_path, name, value):
    _, folder, _ = trained
    refused("is fixed by the base model", folder / "book.txt", tmp_path / "a.openbook",
            base_model=folder / "it.openbook", **CONTINUED | {name: value})  # fmt: skip


def test_too_little_text_is_told(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("Once upon a time there was a book. " * 10)
    refused("the text has only .* tokens; take a shorter context, or more text", book, tmp_path / "a.openbook",
            **CHOICES | {"context": 512, "batch_tokens": 512})  # fmt: skip
    refused("too little text to hold any out", book, tmp_path / "b.openbook", validation_fraction=1e-4,
            **CHOICES | {"context": 2})  # fmt: skip


def test_nothing_needs_to_be_held_out(tmp_path):
    book, events = tmp_path / "book.txt", []
    book.write_text("Once upon a time there was a book. " * 10)
    model = openbook.train(book, tmp_path / "a.openbook", validation_fraction=0.0, keep_duplicates=True,
                           callbacks=[events.append], **CHOICES | {"context": 2})  # fmt: skip
    prepared, tokens = events[0], next(event for event in events if event["event"] == "tokens")
    assert prepared["scored"] == "learned" and prepared["validation_bytes"] == 0
    assert tokens["validation"] == tokens["train"]
    assert model.metadata.training["bits_per_byte"] == pytest.approx(events[-1]["bits_per_byte"], abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"  \n ", bytes(range(256)) * 20])
def test_no_text_is_told(tmp_path, content):
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(OpenbookError, match="no text to train on"):
        openbook.train(tmp_path / "book.txt", tmp_path / "a.openbook", device="cpu", **CHOICES)
    assert not (tmp_path / "a.openbook").exists()


def test_a_plan_does_not_train(tmp_path):
    events = []
    book = write_book(tmp_path / "book.txt")
    request = TrainingRequest([book], tmp_path / "a.openbook", {"minutes": 2, "layers": 1, "width": 32}, device="cpu")
    plan = TrainingRun(request, [events.append]).plan()
    assert (plan.recipe.layers, plan.recipe.width, plan.recipe.minutes) == (1, 32, 2)
    assert [event["event"] for event in events] == ["prepared", "plan"]
    assert not (tmp_path / "a.openbook").exists()


def test_a_model_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    book = write_book(tmp_path / "book.txt")
    monkeypatch.setattr("os.sysconf", lambda name: 100)  # pages of 100 bytes
    refused(r"width \(now 16\).*layers.*vocab_size.*micro_batch_size", book, tmp_path / "a.openbook", **CHOICES)


@pytest.mark.parametrize("choices", [{"width": 2**17, "layers": 100}, {"vocab_size": 2**20, "width": 2**16}])
def test_a_model_that_never_fits_is_not_even_measured(tmp_path, monkeypatch, choices):
    book = write_book(tmp_path / "book.txt")
    monkeypatch.setattr("openbook.training.plan.measure.step_seconds", None)
    refused(r"takes about .* GB, and the machine has .* GB; take a smaller width", book, tmp_path / "a.openbook",
            minutes=0.1, **choices)  # fmt: skip


def test_memory_is_reckoned_with_all_that_grows(trained):
    from openbook.training.plan.memory import training_bytes

    spec = trained[0].metadata.architecture
    from training_examples import recipe

    least = training_bytes(spec, recipe())
    assert least > 4 * 4 * sum(weight.numel() for weight in trained[0].transformer.parameters())
    assert training_bytes(spec, recipe(ema_decay=0.9)) > least
    assert training_bytes(spec, recipe(micro_batch_size=4)) > least
    assert training_bytes(spec, recipe(), frozen=True) < least


def test_books_that_go_while_it_trains_do_not_cost_the_model(tmp_path):
    book = write_book(tmp_path / "book.txt")

    def remove(event):
        if event["event"] == "step" and event["step"] == 1:
            book.unlink()

    openbook.train(book, tmp_path / "a.openbook", device="cpu", callbacks=[remove], **CHOICES)
    assert len(openbook.load(tmp_path / "a.openbook", "cpu").metadata.training["data"][0]["sha256"]) == 64


def test_a_name_that_is_not_utf8_does_not_cost_the_model(tmp_path):
    book = tmp_path / "b\udcffok.txt"
    try:
        write_book(book)
    except OSError:
        pytest.skip("no such names here")
    openbook.train(book, tmp_path / "a.openbook", device="cpu", **CHOICES)
    assert openbook.load(tmp_path / "a.openbook", "cpu").metadata.training["data"][0]["name"] == "b\ufffdok.txt"


def test_a_record_of_very_many_books_stays_small(tmp_path):
    from types import SimpleNamespace

    path = tmp_path / "page.txt"
    path.write_text("page")
    files = [SimpleNamespace(source=str(path), bytes_kept=4)] * (MOST_FILES + 5)
    record = data_record(SimpleNamespace(report=SimpleNamespace(files=files)), [path])
    assert len(record) == MOST_FILES + 1
    assert record[-1]["name"] == "and 5 more" and record[-1]["bytes"] == 20


def test_the_targets_of_low_rank_changes_are_those_of_the_command():
    import inspect

    from openbook.cli import main as cli

    assert inspect.signature(cli.train).parameters["lora_targets"].default.split(",") == list(lora_targets.TARGETS)


# What a person sees.


def shown(events, width=120):
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    display = Display(console)
    for event in events:
        display(event)
    display.close()
    return console.file.getvalue()


def test_without_a_terminal_each_validation_is_a_line(trained):
    text = shown(trained[2])
    assert text.count("bits per byte  ") + text.count("bits per byte\n") >= 4
    assert "1 layer × width 16" in text and "Finished after 4 steps" in text and "it.openbook" in text
    assert "\x1b" not in text


def test_it_warns_once_when_it_begins_to_overfit(trained):
    stale = [
        {"event": "validation", "step": step, "seconds": 1.0, "score": 3.0, "best": 2.0, "best_step": 1, "stale": step}
        for step in range(5)
    ]
    assert shown(stale).count("begins to overfit") == 1
    assert "(best 2.000)" in shown(stale)


def test_names_are_not_markup(trained):
    saved = trained[2][-1] | {"path": "[red]it[/red].openbook", "stop_reason": "interrupted"}
    assert "[red]it[/red].openbook" in shown([saved]) and "The same command" in shown([saved])


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (185, "3:05"), (7800, "2:10:00")])
def test_durations_are_short(seconds, text):
    assert format_duration(seconds) == text


def test_no_two_outputs_share_a_folder(tmp_path):
    folders = {TrainingRequest([], tmp_path / name, {}).folder.name for name in ("novel.v1", "novel.v2", "novel")}
    assert folders == {"novel.v1.training", "novel.v2.training", "novel.training"}


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_name_that_is_a_folder_is_one_line(trained, name):
    refused(r"is a folder; give (-o|output) the name of a file", trained[1] / "book.txt", name, **CHOICES)
