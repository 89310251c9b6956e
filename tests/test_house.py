"""The house rules: imports run one way, no family's name in the core, packages are packages, files stay short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
HOUSE = TESTS.parent / "src" / "openbook"
MODULES = sorted(HOUSE.rglob("*.py"))
TEXTS = [*MODULES, *(p for suffix in ("js", "mjs", "css", "html", "jinja", "toml") for p in HOUSE.rglob(f"*.{suffix}"))]
MOST_LINES = 500

# Each room may import from those before it, never from those after it.
ROOMS = [
    "errors",
    "progress",
    "trace",
    "text",
    "transformer",
    "model_file",
    "interop",
    "generation",
    "training",
    "explanation",
    "model",
    "web",
    "cli",
]
# What the order alone would allow: training and explanation stand side by side, trace stands on torch alone,
# and text must work, fast, where torch is not.
APART = {("explanation", "training"), ("text", "trace"), ("trace", "errors"), ("trace", "progress")}
WITHOUT_TORCH = {"errors", "progress", "text"}

FAMILIES = (
    "gpt|llama|mistral|mixtral|gemma|qwen|grok|t5|mt5|bart|mbart|marian|m2m|nllb|smollm|deepseek|olmo|falcon|granite"
)
FAMILY = re.compile(rf"(?<![a-z0-9])({FAMILIES})(?![a-z])")
# (path, name) where a name outside interop/huggingface/families/ means something else; say here why.
NAME_EXCEPTIONS: set[tuple[str, str]] = set()


def name_of(path):
    """`openbook.text.tokenizer.tokenizer` of a file; a package is called by its folder."""
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source, package):
    """Every module that this source imports, at the top or inside a function, `package` being where it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*here, *(node.module.split(".") if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called.endswith(("import_module", "__import__")) and isinstance(node.args[0].value, str):
                yield node.args[0].value


def complaint(room, imported):
    """What is wrong with a module of this room importing that, or None."""
    top, _, rest = imported.partition(".")
    if top == "torch" and room in WITHOUT_TORCH:
        return f"{room} must not import torch"
    if room == "trace" and top not in {"torch", "openbook", *sys.stdlib_module_names}:
        return f"trace imports torch alone, not {top}"
    if top != "openbook" or rest == "__version__":
        return None
    other = rest.partition(".")[0]
    if other not in ROOMS:
        return f"{room} must not import {imported}, which is no room"
    if other != room and (ROOMS.index(other) > ROOMS.index(room) or (room, other) in APART):
        return f"{room} must not import {other}"
    return None


def family_names(text):
    """The families that this text names, as words or as parts of names such as LlamaNorm or gpt_2."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return set(FAMILY.findall(words.lower()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    name = name_of(path)
    if name == "openbook":
        return  # the front door opens every room
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = imports(path.read_text(encoding="utf-8"), package)
    complaints = {complaint(name.split(".")[1], imported) for imported in found} - {None}
    assert not complaints, sorted(complaints)


def test_every_module_is_in_a_room():
    rooms = {name_of(path).split(".")[1] for path in MODULES if name_of(path) != "openbook"}
    assert rooms <= {*ROOMS, "__main__"}, rooms - {*ROOMS}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_family_is_named_outside_its_file(path):
    place = path.relative_to(HOUSE).as_posix()
    if place.startswith(("interop/huggingface/families/", "interop/gguf/")):
        return
    found = family_names(path.read_text(encoding="utf-8")) | family_names(path.stem)
    assert not {name for name in found if (place, name) not in NAME_EXCEPTIONS}


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in MODULES}
    assert all((folder / "__init__.py").exists() for folder in folders)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_text_comes_without_torch():
    """Checked by running it too: a library of ours might bring torch along."""
    modules = [name_of(path) for path in MODULES if name_of(path).split(".")[1:2] == ["text"]]
    script = (
        "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, *modules], check=False).returncode == 0


# The rules themselves, tried on houses that break them.


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("transformer", "import openbook.generation.cache"),
        ("transformer", "from openbook import model_file"),
        ("transformer", "def f():\n    from openbook.training.loop import train"),
        ("transformer", "from ..generation import cache"),
        ("transformer", "import importlib\nimportlib.import_module('openbook.cli.main')"),
        ("transformer", "from openbook import load"),
        ("training", "from openbook.explanation import views"),
        ("explanation", "from openbook.training import loop"),
        ("generation", "from openbook.model import Model"),
        ("model", "import openbook.web.server"),
        ("text", "import torch.nn"),
        ("text", "from torch import Tensor"),
        ("text", "from openbook.trace import note"),
        ("trace", "import numpy"),
        ("trace", "from openbook.errors import OpenbookError"),
        ("errors", "from openbook import progress"),
    ],
)
def test_a_wrong_import_is_found(room, source):
    assert any(complaint(room, imported) for imported in imports(source, f"openbook.{room}"))


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("cli", "from openbook.model import Model\nfrom openbook.web import server"),
        ("model", "from openbook.training.loop import train\nfrom openbook.explanation import views"),
        ("transformer", "import torch\nfrom openbook.trace import note\nfrom . import mask\nfrom .mask import Mask"),
        ("text", "import tokenizers\nfrom openbook.errors import OpenbookError"),
        ("trace", "from contextvars import ContextVar\nfrom torch import Tensor"),
    ],
)
def test_a_right_import_passes(room, source):
    assert not [complaint(room, i) for i in imports(source, f"openbook.{room}") if complaint(room, i)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class LlamaNorm:", {"llama"}),
        ("if 'Gemma' in name", {"gemma"}),
        ("GPT2Config, GPT-2, gpt_2, nanoGPT", {"gpt"}),
        ("is_t5 = 1  # T5's", {"t5"}),
        ("Qwen3ForCausalLM, m2m100, MBart", {"qwen", "m2m", "mbart"}),
        ("a bartender, int5, ungrokkable, at5, optimised", set()),
    ],
)
def test_family_names_are_found_as_words(text, names):
    assert family_names(text) == names


def test_every_test_file_has_a_name_of_its_own():
    """pytest takes two files of one name in folders without __init__.py for the same module."""
    names = [path.name for path in TESTS.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    assert sorted(set(names)) == sorted(names)
