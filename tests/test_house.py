"""The house rules: imports run one way, no family's name in the core, packages are packages, files stay short."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
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
    "examples",
    "web",
    "cli",
]
# What the order alone would allow: training and explanation stand side by side, trace stands on torch alone,
# and text must work, fast, where torch is not.
APART = {("explanation", "training"), ("text", "trace"), ("trace", "errors"), ("trace", "progress")}
WITHOUT_TORCH = {"errors", "progress", "text", "interop.tokenizers"}

# The same rule inside a folder: each of its files and folders may import from those before it.
SUB_ROOMS = {
    "interop": ["tokenizers", "huggingface", "gguf", "importing", "exporting"],
    "interop.huggingface": [
        *("fields", "tensor_mapping", "mxfp4", "weights", "family", "families"),
        *("resolve", "score_scale", "conversion", "generation_config", "extra_metadata", "importing", "exporting"),
    ],
    "interop.gguf": [
        *("header", "fields", "tensor_names", "weights", "rotary", "config", "architectures"),
        *("pre_tokenizers", "tokenizer_import", "tokenizer_export", "importing", "exporting"),
    ],
}
# Folders whose files and sub-folders still import each other in a circle. Only ever take names out of here.
CIRCLES_LEFT: set[str] = set()

# Who prints past these, or uses rich's console itself, lets a terminal obey the control characters of a stranger.
PRINTING = {"text.output", "text.terminal"}
PRINTING_CONSTANTS = {"progress"}  # the names of its bars

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
    """Every module that this source imports when it runs, at the top or in a function; `package` is where it stands."""
    for node in _running(ast.parse(source)):
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


def _running(tree):
    """All nodes but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _running(node)


def import_graph(names):
    """Of modules given as name → source: each module's name → those of them that it imports, by name.

    A package's `__init__.py` is a module named `package.__init__`.
    """
    graph = {}
    for name, source in names.items():
        found = set()
        for imported in imports(source, name.rpartition(".")[0]):
            while imported and imported not in names and f"{imported}.__init__" not in names:
                imported = imported.rpartition(".")[0]
            if imported and imported != "openbook":  # from openbook import __version__
                found.add(imported if imported in names else f"{imported}.__init__")
        graph[name] = found - {name}
    return graph


def by_folder(graph):
    """Folder → its files and sub-folders, each → those of its neighbours that something in it imports."""
    folders = defaultdict(lambda: defaultdict(set))
    for importer, found in graph.items():
        for imported in found:
            one, other = importer.split("."), imported.split(".")
            depth = next(i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
            folders[".".join(one[:depth])][one[depth]].add(other[depth])
    return folders


def circle(graph):
    """Names that import each other in a circle, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def misplaced(order, graph):
    """Imports against this order, as texts."""
    place = {name: number for number, name in enumerate(order)}
    return [
        f"{one} imports {other}"
        for one, found in graph.items()
        for other in found
        if one in place and other in place and place[other] > place[one]
    ]


def complaint(importer, imported):
    """What is wrong with a room, or a module of it such as `text.tokenizer`, importing that, or None."""
    top, _, rest = imported.partition(".")
    room = importer.partition(".")[0]
    if top == "torch" and any(f"{importer}.".startswith(f"{each}.") for each in WITHOUT_TORCH):
        return f"{importer} must not import torch"
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
    if name in ("openbook", "openbook.__main__"):
        return  # the front doors open every room
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = imports(path.read_text(encoding="utf-8"), package)
    complaints = {complaint(name.removeprefix("openbook."), imported) for imported in found} - {None}
    assert not complaints, sorted(complaints)


@pytest.fixture(scope="module")
def modules():
    """Each module of the house and those of it that it imports."""
    sources = {}
    for path in MODULES:
        name = name_of(path) + (".__init__" if path.name == "__init__.py" else "")
        sources[name] = path.read_text(encoding="utf-8")
    return import_graph(sources)


def test_no_modules_import_each_other(modules):
    assert circle(modules) is None


def test_no_neighbours_in_a_folder_import_each_other(modules):
    circles = {name.removeprefix("openbook").lstrip("."): circle(graph) for name, graph in by_folder(modules).items()}
    found = {name: names for name, names in circles.items() if names is not None}
    assert not {name: names for name, names in found.items() if name not in CIRCLES_LEFT}
    assert found.keys() >= CIRCLES_LEFT, f"no circle is left in {CIRCLES_LEFT - found.keys()}: take it out of the list"


@pytest.mark.parametrize("folder", SUB_ROOMS)
def test_sub_rooms_are_in_order(folder, modules):
    assert not misplaced(SUB_ROOMS[folder], by_folder(modules)[f"openbook.{folder}"])


def test_every_module_is_in_a_room():
    rooms = {name_of(path).split(".")[1] for path in MODULES if name_of(path) != "openbook"}
    assert rooms <= {*ROOMS, "__main__"}, rooms - {*ROOMS}


def prints(source):
    """Whether this source calls print, or names rich's console when it runs."""
    calls = {ast.unparse(node.func) for node in _running(ast.parse(source)) if isinstance(node, ast.Call)}
    return not calls.isdisjoint({"print", "Console", "typer.echo"})


def test_all_printing_goes_through_one_place():
    names = {name_of(path).removeprefix("openbook.") for path in MODULES if prints(path.read_text(encoding="utf-8"))}
    assert names - PRINTING - PRINTING_CONSTANTS == set()


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


@pytest.mark.parametrize("room", sorted(WITHOUT_TORCH))
def test_some_rooms_come_without_torch(room):
    """Checked by running them too: a library of ours might bring torch along."""
    modules = [name_of(path) for path in MODULES if f"{name_of(path)}.".startswith(f"openbook.{room}.")]
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
        ("interop.tokenizers.files", "import torch"),
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


TWO_ROOMS = {"openbook.a.one": "", "openbook.a.two": "", "openbook.b.__init__": "", "openbook.b.three": ""}


@pytest.mark.parametrize(
    ("sources", "modules", "folder"),
    [
        ({"openbook.a.one": "from openbook.a.two import f", "openbook.a.two": "from . import one"}, True, "openbook.a"),
        ({"openbook.a.one": "import openbook.b.three", "openbook.b.three": "import openbook.a.two"}, False, "openbook"),
        ({"openbook.b.three": "from openbook.b import f", "openbook.b.__init__": "from .three import f"}, True, None),
        ({"openbook.a.one": "def f():\n    import openbook.b", "openbook.b.three": "import openbook.a.two"}, False, ""),
    ],
)
def test_circles_are_found(sources, modules, folder):
    graph = import_graph(TWO_ROOMS | sources)
    assert (circle(graph) is not None) == modules
    assert circle(by_folder(graph)[folder or ("openbook.b" if modules else "openbook")])


@pytest.mark.parametrize(
    "sources",
    [
        {
            "openbook.a.one": "import openbook.b.three\nfrom openbook import __version__",
            "openbook.a.two": "import json",
        },
        {
            "openbook.a.one": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from openbook.a import two",
            "openbook.a.two": "from openbook.a.one import f",
        },
    ],
)
def test_where_there_is_no_circle_none_is_found(sources):
    graph = import_graph(TWO_ROOMS | sources)
    assert circle(graph) is None
    assert not any(map(circle, by_folder(graph).values()))


def test_an_import_against_the_order_is_found():
    graph = {"huggingface": {"gguf", "tokenizers"}, "gguf": set(), "other": {"gguf"}}
    assert misplaced(["tokenizers", "huggingface", "gguf"], graph) == ["huggingface imports gguf"]


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
