"""Every script of benchmarks/ is imported and says what it needs; most run too, as small as can be."""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import openbook
from training.training_examples import write_book, write_pairs

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
NOVELS = ("emma", "mansfieldpark", "northangerabbey", "persuasion", "prideprejudice", "sensesensibility")
PEERS = {"ctranslate2"}
"""Packages that a script may lack here: it compares with them."""


@pytest.fixture
def _beside(monkeypatch):
    """Scripts import each other; what they import is forgotten again."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield
    for name in [name for name in sys.modules if name not in known and f"{name}.py" in SCRIPTS]:
        del sys.modules[name]


@pytest.mark.usefixtures("_beside")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_imported_and_says_what_it_needs(script, monkeypatch, capsys):
    """As a module, which runs nothing; and with --help, where it has a command line."""
    try:
        found = runpy.run_path(str(FOLDER / script), run_name="imported")
    except ModuleNotFoundError as error:
        assert error.name in PEERS
        pytest.skip(f"{error.name} is not installed")
    assert found["__doc__"] and capsys.readouterr().out == ""
    if "argparse" in found:
        monkeypatch.setattr(sys, "argv", [script, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        assert ended.value.code == 0 and "usage:" in capsys.readouterr().out


def test_efficiency_runs(monkeypatch, capsys):
    sizes = ["--layers", "1", "--width", "64", "--rounds", "1", "--batch-tokens", "256"]
    monkeypatch.setattr(sys, "argv", ["efficiency.py", *sizes])
    runpy.run_path(str(FOLDER / "efficiency.py"), run_name="__main__")
    assert "| float32 | " in capsys.readouterr().out


def run(script, *arguments):
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout


@pytest.fixture(autouse=True)
def _command_is_ours(monkeypatch):
    """Scripts call `openbook`: that of this Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Six novels by name."""
    folder = tmp_path_factory.mktemp("books")
    for name in NOVELS:
        write_book(folder / f"{name}.txt")
    return folder


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory, books):
    path = tmp_path_factory.mktemp("model") / "chat.openbook"
    model = openbook.train(books / "emma.txt", path, device="cpu", steps=2, vocab_size=512, layers=1, width=64)
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    model.metadata = replace(model.metadata, chat_template=template)
    model.save(path, overwrite=True)
    return path


@pytest.mark.slow
def test_learning_runs(books):
    assert "| 0.3 min, picked |" in run("learning.py", "--books", books, "--minutes", "0.3")


@pytest.mark.slow
def test_fine_tuning_runs(books, chat_model, tmp_path):
    some = ["--minutes", "0.3", "--people", "1", "--context", "64", "--score-bytes", "2000"]
    assert "bits per byte before" in run("fine_tuning.py", chat_model, "--books", books, "--work", tmp_path, *some)


@pytest.mark.slow
def test_assistant_runs(chat_model):
    assert "of 4 tokens alike" in run("assistant.py", chat_model, "--tokens", 4, "--rounds", 1)


@pytest.mark.slow
def test_decoding_runs():
    sizes = {"layers": 1, "width": 64, "heads": 1, "feed-forward": 128, "vocab-size": 512}
    sizes |= {"tokens": 4, "rounds": 1, "batch": 2}
    assert "| openbook float32 |" in run("decoding.py", *(f"--{name}={value}" for name, value in sizes.items()))


@pytest.mark.slow
def test_importing_runs():
    assert "Export and import give the same bytes." in run("importing.py", "--gigabytes", 0.02, "--shard", 0.005)


@pytest.mark.slow
def test_reverse_runs():
    assert '"exact": ' in run("reverse.py", "--json", "--options", "--steps 2 --width 32 --layers 1")


@pytest.mark.slow
def test_translation_runs(tmp_path):
    folder = tmp_path / "lohelp-en-de"
    folder.mkdir()
    lines = write_pairs(tmp_path / "all.tsv", 400).read_text("utf-8").splitlines(keepends=True)
    for split, part in (("train", lines[:300]), ("valid", lines[300:350]), ("test", lines[350:])):
        (folder / f"{split}.en-de.tsv").write_text("".join(part), "utf-8")
    some = ["--only", "lohelp-en-de", "--options", "--steps 2 --width 32 --layers 1"]
    assert "lohelp-en-de, beam 5: BLEU " in run("translation.py", "--pairs", tmp_path, *some)
