"""The command: every verb's help, its output, and one line for whatever a person did wrong."""

import io
import json
import math
import os
import subprocess
import sys
from types import UnionType
from typing import get_args, get_origin, get_type_hints
from unittest.mock import patch

import pytest
import typer

import openbook
from openbook.cli import main as cli
from openbook.training.recipe import FIELDS, Recipe
from training.training_examples import TINY, write_book

VERBS = ["train", "prepare", "ask", "explain", "tokenize", "inspect", "evaluate", "import", "export"]


class Stdin(io.TextIOWrapper):
    def __init__(self, content=b"", terminal=False):
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.isatty = lambda: terminal


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command as its entry point does; gives its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, stdin=b"", terminal=False):
        monkeypatch.setattr(sys, "argv", ["openbook", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", Stdin(stdin, terminal))
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        openbook.train(write_book(folder / "book.txt"), folder / "it.openbook", device="cpu",
                       **TINY | {"vocab_size": 300, "steps": 4})  # fmt: skip
    return folder / "it.openbook"


@pytest.fixture
def book(tmp_path):
    return write_book(tmp_path / "book.txt")


# Help.


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_or_a_sentence(command, verb):
    code, out, _ = command(verb, "--help")
    assert code == 0 and "Usage: openbook " + verb in out
    assert verb in ("inspect", "evaluate") or f"openbook {verb} " in out


def test_help_names_every_verb(command):
    code, out, _ = command("--help")
    assert code == 0 and all(verb in out for verb in VERBS)


def test_every_choice_is_an_option_with_its_description(command):
    _, out, _ = command("train", "--help")
    hints = get_type_hints(Recipe, include_extras=True)
    for name in FIELDS:
        assert f"--{name.replace('_', '-')}" in out, name
        described = next(each.description for each in hints[name].__metadata__ if getattr(each, "description", None))
        assert described[:40] in out, name


def test_help_and_version_import_nothing_heavy():
    """In processes of their own, where nothing is imported yet."""
    heavy = {"torch", "pydantic", "numpy", "tokenizers", "matplotlib"}
    script = (
        "import sys; from openbook.cli import main as cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"
        assert done.stdout


def test_version(command):
    assert command("--version")[:2] == (0, f"openbook {openbook.__version__}\n")


# Training.


def test_train_prints_the_plan_and_what_came_of_it(command, book):
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
        code, out, err = command("train", "book.txt", "--vocab-size=300", "--device=cpu", *options)
    assert (code, err) == (0, "")
    assert "1 layer × width 16" in out and "Finished after 12 steps" in out and "Saved book.openbook" in out
    assert openbook.load(book.with_suffix(".openbook"), "cpu").metadata.training["recipe"]["micro_batch_size"] == 2


def test_every_kind_of_option_reaches_the_recipe(command, book):
    seen = []
    (book.parent / "more.toml").write_text("layers = 3\nwidth = 32\nminutes = 9\n")
    with patch("openbook.training.run.TrainingRun.plan", lambda self: seen.append(self.request)):
        code, _, err = command(
            "train", "book.txt", "--plan", "--config", "more.toml", "--width", "48", "--steps", "5",
            "--adamw-betas", "0.7", "0.8", "--no-gated", "--tied-embeddings", "--position", "none", "--dropout", "0.1",
            "--lora-rank", "3", "--from", "a",
            "--lora-targets", "query,down", "--validation", "b", "--validation", "c", "--validation-fraction", "0.1",
            "--keep-duplicates", "-o", "d.openbook",
        )  # fmt: skip
    assert (code, err) == (0, "")
    (request,) = seen
    assert request.choices == {
        "layers": 3, "width": 48, "steps": 5, "adamw_betas": (0.7, 0.8), "gated": False, "tied_embeddings": True,
        "position": "none", "dropout": 0.1,
    }  # fmt: skip
    assert (request.lora_rank, list(request.lora_targets), str(request.base_model)) == (3, ["query", "down"], "a")
    assert (request.validation, request.validation_fraction, request.keep_duplicates) == (["b", "c"], 0.1, True)
    assert str(request.output) == "d.openbook"


def test_plan_does_not_train(command, book):
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        code, out, _ = command("train", "book.txt", "--plan", "--minutes", "500", "--device", "cpu")
    assert code == 0 and "500 minutes" in out and "because" in out
    assert not book.with_suffix(".openbook").exists()


def test_tensorboard_that_is_missing_names_the_extra(command, book):
    with patch.dict(sys.modules, {"torch.utils.tensorboard": None}):
        code, _, err = command("train", "book.txt", "--tensorboard")
    assert code == 1 and err.count("\n") == 1 and "openbook[tensorboard]" in err


# Asking.


def test_the_same_seed_gives_the_same_text(command, model):
    arguments = ("ask", model, "The", "--max-tokens", "12", "--temperature", "1")
    first = command(*arguments, "--seed", "3")
    assert first[0] == 0 and first[1].endswith("\n") and first == command(*arguments, "--seed", "3")
    assert first[1] != command(*arguments, "--seed", "4")[1]


def test_an_answer_is_that_of_the_library(command, model):
    code, out, _ = command("ask", model, "The", "--max-tokens=8", "--temperature=0")
    assert code == 0
    assert out == openbook.load(model, "cpu").ask("The", max_tokens=8, temperature=0) + "\n"


def test_prompts_come_from_anywhere(command, model, tmp_path):
    """As arguments, from a file, or from standard input: the same answers, each under its prompt."""
    (tmp_path / "prompts.txt").write_text("The\n\nA class\r\n", encoding="utf-8")
    settings = ("--max-tokens=5", "--temperature=0")
    given = command("ask", model, "The", "A class", *settings)
    one, other = openbook.load(model, "cpu").generate(["The", "A class"], max_tokens=5, temperature=0)
    assert given[:2] == (0, f"> The\n{one.text}\n\n> A class\n{other.text}\n")
    assert command("ask", model, "--file", "prompts.txt", *settings) == given
    assert command("ask", model, *settings, stdin=b"The\nA class") == given
    assert command("ask", model, "--file", "-", *settings, stdin=b"The\nA class") == given
    (tmp_path / "marked.txt").write_bytes(" The\u00ad \r\n\tA class".encode("utf-16"))
    cleaned = openbook.load(model, "cpu").generate([" Th\u00ade\n", "\ufeffA class "], max_tokens=5, temperature=0)
    assert [each.text for each in cleaned] == [one.text, other.text]
    _, out, _ = command("ask", model, "--file", "marked.txt", "--json", *settings)
    assert [json.loads(line)["answer"] for line in out.splitlines()] == [one.text, other.text]
    raw = openbook.load(model, "cpu")
    assert raw.prompt_tokens(" The ", raw=True) != raw.prompt_tokens(" The ") == raw.prompt_tokens("The", raw=True)


def test_json_answers_are_one_object_a_prompt(command, model):
    code, out, _ = command("ask", model, "The", "A", "--max-tokens=5", "--seed=1", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [answer["prompt"] for answer in answers] == ["The", "A"]
    for answer in answers:
        assert answer.keys() == {"prompt", "answer", "tokens", "finish_reason"}
        assert 1 <= len(answer["tokens"]) <= 5 and answer["finish_reason"] in ("length", "end")
        assert all(0 < token["probability"] <= 1 for token in answer["tokens"])
    opened = openbook.load(model, "cpu")
    expected = opened.generate(["The", "A"], max_tokens=5, seed=1, top_alternatives=4)
    assert [answer["answer"] for answer in answers] == [answer.text for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        for token, its in zip(answer["tokens"], other.tokens, strict=True):
            assert token["text"] == opened.tokenizer.token_text(its.token_id)
            assert token["log_probability"] == pytest.approx(math.log(its.probability))
            assert token["sampling_probability"] == its.sampling_probability != its.probability
            assert [each["id"] for each in token["alternatives"]] == [each.token_id for each in its.top_alternatives]


def test_the_tokens_of_a_text(command, model):
    code, out, _ = command("tokenize", model, "The café", "", "--json")
    facts, empty = map(json.loads, out.splitlines())
    assert code == 0 and empty == {
        "text": "", "tokens": [], "counts": {"tokens": 0, "characters": 0, "bytes": 0, "unknown": 0}
    }  # fmt: skip
    tokenizer = openbook.load(model, "cpu").tokenizer
    assert [token["id"] for token in facts["tokens"]] == tokenizer.encode("The café")
    assert bytes(byte for token in facts["tokens"] for byte in token["bytes"]) == "The café".encode()
    assert facts["tokens"][-1]["end"] == 8 and facts["tokens"][-2]["start"] == facts["tokens"][-1]["start"] == 7
    assert facts["counts"] == {"tokens": len(facts["tokens"]), "characters": 8, "bytes": 9, "unknown": 0}
    code, out, _ = command("tokenize", model, stdin=b"The\n")
    first, *_, last = out.splitlines()
    assert first.split() == ["index", "id", "characters", "token", "bytes"] and last.endswith("bytes per token")


def test_probabilities_show_each_token_and_the_runners_up(command, model):
    code, out, _ = command("ask", model, "The", "--show-probabilities", "--max-tokens=3", "--seed=1")
    lines = out.strip().splitlines()
    assert code == 0 and len(lines) == 4 and lines[0].split() == ["token", "model", "drawn", "others"]
    for line in lines[1:]:
        assert len([word for word in line.split() if word.startswith(("0.", "1."))]) == 6


def test_evaluate_and_inspect_in_json(command, model, book):
    code, out, _ = command("evaluate", model, "book.txt", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["bits_per_byte"] > 0 and facts["bytes"] > 15_000
    code, out, err = command("evaluate", model, "book.txt", "--stride=16")
    assert (code, err) == (0, "") and "bits per byte, perplexity" in out
    code, out, _ = command("inspect", model, "--json")
    assert code == 0 and json.loads(out)
    code, out, _ = command("inspect", model)
    assert code == 0 and "query" in out


def test_explain_prints_the_algorithm_in_sixty_lines(command, model):
    code, out, err = command("explain", model, "The", "--terminal", "--max-tokens", 3)
    lines = out.splitlines()
    assert (code, err) == (0, "") and 25 < len(lines) <= 60
    assert any("1 Tokenize" in line for line in lines) and any("all parts:" in line for line in lines)
    assert sum(line.startswith("then ") for line in lines) == 1
    code, out, _ = command("explain", model, "The", "--summary")
    assert code == 0 and out.count("token_embedding.weight") >= 1 and "self-attention" in out
    assert command("explain", model, "The")[1] == command("explain", model, "The", "--terminal")[1]  # no terminal here


def test_explain_writes_a_page(command, model, tmp_path):
    code, out, _ = command("explain", model, "The", "--html", "page.html", "--max-tokens", 2)
    assert code == 0 and out.startswith("page.html: ")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    told(command("explain", model, "The", "--html", "none/page.html"), "does not exist")
    told(command("explain", model, "The", "--html", "page.html", "--size", "big"), "must be a size")
    told(command("explain", model, "The", "--html", "page.html", "--terminal"), "text view")
    told(command("explain", model, "The", "--temperature", "-1"), "temperature")


# What goes wrong.


def told(result, *words):
    code, out, err = result
    assert code == 1, (out, err)
    assert err.startswith("openbook: ") and err.count("\n") == 1 and "Traceback" not in err, err
    assert all(word in err for word in words), err


@pytest.mark.parametrize("verb", ["ask", "explain", "inspect", "evaluate"])
def test_what_is_no_model_is_one_line(command, book, tmp_path, verb):
    more = [] if verb == "inspect" else ["book.txt"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.openbook").touch()
    for name in ("none.openbook", "folder", "empty.openbook", "book.txt"):
        told(command(verb, name, *more), name)


def test_bad_calls_are_one_line(command, model, book, tmp_path):
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))
    (tmp_path / "blank.txt").write_text("\n \n")
    told(command("ask", model, "A", "--device", "tpu"), "--device tpu", "cpu")
    told(command("ask", model, "A", "--file", "book.txt"), "not both")
    told(command("ask", model, "--file", "none.txt"), "none.txt", "No such file")
    told(command("ask", model, "--file", tmp_path), "cannot be read")
    told(command("ask", model, "--file", "latin.txt", "--encoding", "utf-8"), "latin.txt: line 1 is not readable")
    told(command("ask", model, "--file", "latin.txt", "--encoding", "none"), "encoding 'none': unknown")
    told(command("ask", model, "--file", "blank.txt"), "blank.txt: has no prompts")
    told(command("ask", model), "standard input: has no prompts")
    told(command("ask", model, stdin=b"A\n\xff"), "standard input: line 2 is not readable")
    told(command("ask", model, terminal=True), "there is no prompt")
    told(command("ask", model, "A", "--stop", ""), "stop")
    told(command("evaluate", model, "none.txt"), "none.txt")
    told(command("evaluate", model, "book.txt", "--device", "tpu"), "--device tpu")
    told(command("explain", model, ""), "the prompt has no tokens")
    told(command("train", "none.txt"), "none.txt")
    told(command("train", "book.txt", "--device", "tpu"), "--device tpu")
    told(command("train", "book.txt", "--config", "none.toml"), "none.toml")
    told(command("train", "book.txt", "--minutes", "1", "--steps", "5"), "not both")
    told(command("train", "book.txt", "--lora-rank", "8"), "--from")
    told(command("train", "book.txt", "--from", "book.txt", "-o", "a.openbook"), "book.txt")
    told(command("train", "book.txt", "--from", model, "--lora-rank", "8", "--lora-targets", "head", "-o", "a.openbook",
                 "--steps=2"), "--lora-targets head")  # fmt: skip
    told(command("train", "book.txt", "--validation-fraction", "0.9"), "--validation-fraction 0.9: must be")
    told(command("train", "book.txt", "--validation", "none.txt"), "none.txt")
    told(command("train", "book.txt", "-o", tmp_path), "is a folder")
    told(command("train", "book.txt", "-o", "none/a.openbook"), "does not exist")


def test_a_setting_is_named_as_it_was_given(command, book):
    """As an option, as a key of its file, or as a keyword of Python (see test_run)."""
    (book.parent / "odd.toml").write_text("head_width = 3\n")
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        told(
            command("train", "book.txt", "--head-width", "3", "--steps", "2"), "openbook: --head-width 3: must be even"
        )
        told(
            command("train", "book.txt", "--config", "odd.toml", "--steps", "2"),
            "openbook: odd.toml: head_width 3: must",
        )
        told(command("train", "book.txt", "--width", "31", "--position", "sinusoidal"), "--width 31: must be even")


def numbers_of(hint):
    """The kinds of number within an annotation: int, float, or none."""
    if hint in (int, float):
        return {hint}
    inside = get_args(hint) if get_origin(hint) or isinstance(hint, UnionType) else ()
    return set().union(*(numbers_of(each) for each in inside)) if inside else set()


def numeric_options():
    hints = get_type_hints(Recipe)
    return [name for name in FIELDS if numbers_of(hints[name])]


@pytest.mark.parametrize("name", numeric_options())
def test_a_choice_out_of_range_is_one_line_with_the_range(command, book, name):
    flag = f"--{name.replace('_', '-')}"
    for value in ("-1", "nan", "1e30") if numbers_of(get_type_hints(Recipe)[name]) == {float} else ("-1", str(2**90)):
        values = (value, value) if name == "adamw_betas" else (value,)
        told(command("train", "book.txt", flag, *values), f"openbook: {flag} ", ": give ", "number")


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--max-tokens", ["0", "-1"]),
        ("--temperature", ["-0.1", "nan", "inf", "101"]),
        ("--top-k", ["0", "-1"]),
        ("--top-p", ["-0.1", "1.1", "nan"]),
        ("--min-p", ["-0.1", "1.1", "nan"]),
        ("--repetition-penalty", ["0", "-1", "nan", "inf"]),
        ("--presence-penalty", ["101", "-101", "nan"]),
        ("--seed", ["-1", str(2**70)]),
    ],
)
def test_a_setting_out_of_range_is_one_line_with_the_range(command, model, flag, values):
    for value in values:
        told(command("ask", model, "A", flag, value), f"openbook: {flag} is ", " from ", " to ")


@pytest.mark.parametrize(
    "arguments", [("evaluate", "book.txt", "--context"), ("evaluate", "book.txt", "--stride"),
                  ("explain", "The", "--layer"), ("explain", "The", "--head"), ("explain", "The", "--token")]
)  # fmt: skip
def test_other_numbers_out_of_range_are_one_line(command, model, book, arguments):
    verb, *rest = arguments
    for value in ("-7", "1000000"):
        told(command(verb, model, *rest, value), value.lstrip("-"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prepare",), "FILES is missing (see openbook prepare --help)"),
        (("ask",), "MODEL is missing (see openbook ask --help)"),
        (("inspect", "a", "b"), "got unexpected extra argument (b) (see openbook inspect --help)"),
        (("trian",), "no such command 'trian'. Did you mean 'train'? (see openbook --help)"),
        (("train", "book.txt", "--layers", "many"), "--layers many: give a whole number (see openbook train --help)"),
        (("train", "book.txt", "--layer", "3"),
         "there is no option --layer; did you mean --layers? (see openbook train --help)"),
        (("train", "book.txt", "--adamw-betas", "0.9"), "option '--adamw-betas' requires 2 arguments"),
        (("train", "book.txt", "--tokenizer", "ink"), "--tokenizer ink: is not one of 'bpe', 'unigram', 'bytes'"),
        (("evaluate", "a"), "FILES is missing (see openbook evaluate --help)"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_understood_is_one_line(command, arguments, said):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "") and err.startswith(f"openbook: {said}") and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [("ask", "{}", "The"), ("ask", "{}"), ("inspect", "{}"), ("train", "{}", "-o", "a"),
     ("train", "a.txt", "--config", "{}"), ("ask", "a", "b", "--seed", "{}"),
     ("evaluate", "{}", "b"), ("import", "{}"), ("export", "{}", "-o", "a"), ("explain", "{}", "The"), ("{}",),
     ("ask", "--{}"), ("inspect", "a", "{}"), ("train", "--pairs", "{}")],
)  # fmt: skip
def test_no_error_gives_a_terminal_what_it_obeys(command, arguments):
    hostile = "\x1b]0;title\x07\x9b31m\u202e[bold]"
    code, out, err = command(*(each.format(hostile) for each in arguments))
    assert code in (1, 2) and "x1b]0;title" in err
    assert not set(out + err) & {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.mark.parametrize("what", ["long", "short"])
def test_a_reader_who_has_seen_enough_is_no_error(model, book, what):
    """`openbook inspect MODEL --json | head -c 1`, in real processes; what is short is written when all is over."""
    asked = ["inspect", str(model), "--json"] if what == "long" else ["--version"]
    command = [sys.executable, "-m", "openbook.cli.main", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors and "BrokenPipe" not in errors
    assert process.returncode in (1, 141)


def test_a_model_goes_out_and_comes_back(command, model, tmp_path):
    code, out, _ = command("export", model, "--to", "hf", "-o", "folder")
    assert code == 0 and "1 file of weights" in out
    assert (tmp_path / "folder" / "config.json").exists()
    code, out, _ = command("import", "folder", "-o", "again.openbook")
    assert code == 0 and "float32" in out
    asked = ["It is", "--temperature", "0", "--max-tokens", "8"]
    assert command("ask", "again.openbook", *asked)[1] == command("ask", model, *asked)[1]
    code, out, _ = command("import", "folder", "--dtype", "float16")
    assert code == 0 and "folder.openbook" in out and "float16" in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["import", "nowhere"], "no such file"),
        (["import", "."], "no config.json"),
        (["import", ".", "--dtype", "int8"], "no config.json"),
        (["export", "MODEL", "--to", "onnx", "-o", "out"], "--to onnx: must be one of hf, gguf"),
        (["export", "MODEL", "--dtype", "int8", "-o", "out"], "--dtype int8: must be one of"),
        (["export", "MODEL", "-o", "missing/out"], "does not exist; make it first"),
        (["export", "MODEL", "-o", "out", "--max-shard-size", "0GB"], "must be more than 0"),
        (["export", "MODEL", "-o", "out", "--max-shard-size", "5"], "must be a size such as 5GB"),
        (["export", "nothing.openbook", "-o", "out"], "no such file"),
    ],
)
def test_wrong_imports_and_exports_are_one_line(command, model, arguments, error):
    code, _, err = command(*(model if each == "MODEL" else each for each in arguments))
    assert code == 1 and error in err and len(err.splitlines()) == 1


def test_options_are_added_once():
    from openbook.cli.options import add_recipe_options

    add_recipe_options(cli.train)
    add_recipe_options(cli.train)
    names = [each.name for each in typer.main.get_command(cli.app).commands["train"].params]
    assert len(names) == len(set(names)) and set(FIELDS) <= set(names)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("openbook ins", {"inspect"}), ("openbook train --batch", {"--batch-tokens"}),
     ("openbook ask --top", {"--top-k", "--top-p"})],
)  # fmt: skip
def test_the_shell_completes_verbs_and_options(command, monkeypatch, words, expected):
    monkeypatch.setenv("_OPENBOOK_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    code, out, _ = command()
    assert code == 0 and expected == set(out.split())
    assert "_OPENBOOK_COMPLETE" in os.environ


def test_prepare_then_train(command, tmp_path):
    write_book(tmp_path / "book.txt")
    code, out, _ = command("prepare", "book.txt", "-o", "tokens", "--vocab-size", 300, "--processes", 1)
    assert code == 0
    assert "Read 1 file" in out
    assert out.endswith("openbook train --tokens tokens\n")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | {"steps": 2}).items()]
    code, out, err = command("train", "--tokens", "tokens", "--device", "cpu", *options)
    assert (code, err) == (0, "")
    assert (tmp_path / "tokens.openbook").exists()
    assert "shard" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train"], "nothing to train on: name files, or give --tokens"),
        (["train", "--tokens", "."], "index.json: No such file or directory"),
        (["train", "book.txt", "--tokens", "."], "--tokens: takes the place of files"),
        (["train", "--tokens", ".", "--vocab-size", "400"], "--vocab-size: was decided when"),
        (["prepare", "book.txt", "-o", "t", "--tokenizer", "bpx"], "--tokenizer bpx: must be one of bpe"),
        (["prepare", "book.txt", "-o", "."], ".: holds the input book.txt; give another -o"),
        (["prepare", "book.txt", "-o", "t", "--from", "m", "--vocab-size", "9"], "--from: brings its tokenizer"),
    ],
)
def test_preparing_and_its_tokens_refuse_in_one_line(command, book, arguments, complaint):
    code, _, err = command(*arguments)
    assert code == 1
    assert err.startswith("openbook: ") and err.count("\n") == 1
    assert complaint in err
