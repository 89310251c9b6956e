"""What the documentation says is true: its commands and Python blocks run; links, files and options exist."""

import importlib
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import openbook
from docs_examples import shrink, train, write_files
from openbook.cli.main import app
from openbook.cli.options import add_recipe_options
from openbook.cli.train import train as train_command
from openbook.training.recipe import read_toml

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "openbook"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "console", "python", "toml", "json", "text"}

add_recipe_options(train_command)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
SCRIPTS = "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
OTHER_PROGRAMS = {"curl", "pip", "unzip", "cat", "tail", "cd", "git", "sh"}
"""Programs on the pages that are not run here."""


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks in these languages."""
    found = FENCE.findall(page.read_text("utf-8"))
    return (text for language, text in found if language in languages)


def prose_of(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of the page in words; those of a pipe apart, without what they redirect."""
    for language, text in FENCE.findall(page.read_text("utf-8")):
        if language not in ("sh", "console"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue  # output
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&>")
            lexer.whitespace_split = True
            words: list[str] = []  # without variables of the environment before a program
            for word in [*lexer, "|"]:
                if word in ("|", "&&"):
                    if words:
                        yield words[: words.index(">")] if ">" in words else words
                    words = []
                elif words or not re.match(r"[A-Z_0-9]+=", word):
                    words.append(word)


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


def run(words: list[str]) -> str | None:
    """Run an `openbook` command within this process; what went wrong, or None."""
    if {"onnx", "--processes", "compare", "serve"} & set(words):  # slow, or endless; tests of their own run them
        COMMANDS[words[0]].make_context(words[0], words[1:])
        return None
    result = CliRunner().invoke(app, shrink(words), input="Click the icon.\n")
    return None if result.exit_code == 0 else f"{result.output}\n{result.exception!r}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write_files(folder)
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, as the working directory."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "sh", "console"))], ids=by_name)
def test_commands_run(page, folder):
    for block in blocks(page, "toml"):
        (folder / block.splitlines()[0].removeprefix("# ")).write_text(block)
    for program, *words in commands(page):
        command = shlex.join([program, *words])
        if program == "openbook" and words[0] in COMMANDS:
            assert not (problem := run(words)), f"{command}\n{problem}"
        elif program == "make":
            assert set(words) <= TARGETS, command
        elif program in ("python", "pytest"):
            unknown = [each for each in options_of(words) if f'"{each}"' not in SCRIPTS and program == "python"]
            missing = [each for each in words if "/" in each and each.endswith(".py") and not (ROOT / each).exists()]
            assert not unknown + missing, command
        else:
            assert program in OTHER_PROGRAMS or words == ["--version"], f"{command}: unknown to this test"


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=by_name)
def test_python_runs(page, folder, monkeypatch):
    monkeypatch.setattr(openbook, "train", train, raising=False)
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page, "python"):
        exec(compile(block, by_name(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "toml"))], ids=by_name)
def test_toml_is_a_recipe(page, tmp_path):
    for number, block in enumerate(blocks(page, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        assert read_toml(path)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_blocks_say_their_language(page):
    assert {language for language, _ in FENCE.findall(page.read_text("utf-8"))} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_lines_are_at_most_120_wide(page):
    lines = prose_of(page).splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|") and " " in line.strip("- ")]


def anchors(page: Path) -> set[str]:
    """What GitHub and the site call the headings."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_files_that_are_named_exist(page):
    """Paths of code in backticks, as seen from the repository, the package, one of its folders, or the tests."""
    everywhere = {path.name for path in SOURCE.rglob("*.py")} | {path.name for path in (ROOT / "tests").rglob("*.py")}
    text = prose_of(page)
    scripts = re.findall(r"python (benchmarks/\w+\.py)", text)
    for name in [*re.findall(r"`([\w./-]+(?:\.py|/))`", text), *scripts]:
        places = [base / name for base in (ROOT, SOURCE, page.parent, SOURCE / "interop")]
        assert any(place.exists() for place in places) or ("/" not in name and name in everywhere), name


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_functions_that_are_named_exist(page):
    """In the rows of a table that end with a file and the functions or classes in it."""
    for path, names in re.findall(r"\| `([\w/]+\.py)` \| ((?:`\w+`(?:, )?)+) \|$", prose_of(page), re.MULTILINE):
        code = (SOURCE / path).read_text("utf-8")
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b(def|class) {name}\b", code), f"{path}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_options_that_are_named_exist(page):
    known = {option for each in COMMANDS.values() for p in each.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version"}
    for code in re.findall(r"`([^`\n]+)`", prose_of(page)):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in known or f'"{option}"' in SCRIPTS or "pip " in code or "pytest " in code, code


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_extras_that_are_named_exist(page):
    assert set(re.findall(r"openbook\[(\w+)\]", page.read_text("utf-8"))) <= set(EXTRAS)


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_options_that_benchmarks_give_exist(script):
    """Those of the command, or of the script itself; nanoGPT's are written --name=value."""
    code = script.read_text("utf-8")
    known = {option for each in COMMANDS.values() for p in each.params for option in (*p.opts, *p.secondary_opts)}
    known |= set(re.findall(r"\"(--[a-z-]+)\"", SCRIPTS)) | {f"--{name}" for name in re.findall(r'"([a-z-]+)":', code)}
    given = set(re.findall(r"(?<![\w-])(--[a-z][\w-]*)(?![\w=-])", code))
    assert given <= known, given - known


def test_the_fast_tests_exist():
    """Those that `make test-fast` runs."""
    listed = re.search(r"^FAST := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert listed and not [each for each in listed[1].replace("\\", "").split() if not (ROOT / each).exists()]


def test_decisions_are_two_lines_at_most():
    entries = re.split(r"^(?=- |#)", (ROOT / "docs" / "decisions.md").read_text("utf-8"), flags=re.MULTILINE)
    assert not [each for each in entries if each.startswith("- ") and len(each.strip().splitlines()) > 2]


def test_api_pages_name_what_there_is():
    for name in re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE):
        for depth in range(len(parts := name.split(".")), 0, -1):
            try:
                value = importlib.import_module(".".join(parts[:depth]))
            except ModuleNotFoundError:
                continue
            for part in parts[depth:]:
                value = getattr(value, part)
            break
