"""The page's modules as one script, for a page that lies in a file: a browser imports nothing from a disk.

Each module becomes a function that returns what it exports. So the modules keep to what this understands: named
imports from "./file.js" or "../file.js" at the beginning of a line, `export` before a function, a class or a constant,
no circles.
"""

import posixpath
import re
from graphlib import TopologicalSorter
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "web" / "page"
"""The page's own files."""

_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"(\.\.?/[\w./-]+\.js)";?[ \t]*$', re.M)
_EXPORT = re.compile(r"^export\s+((?:async\s+)?function\*?|class|const)\s+(\w+)", re.M)
_LEFT = re.compile(r"^\s*(?:import|export)\b.*$|\bimport\.meta\b|\bimport\s*\(", re.M)


def bundle(entry: str = "main.js", folder: Path = FOLDER) -> str:
    """The module `entry` and all that it imports, as one script in which no text ends a <script> element.

    Raises:
        ValueError: a module has an import or an export of another kind; a defect of the page.
        graphlib.CycleError: modules import each other.
    """
    sources: dict[str, str] = {}
    graph: dict[str, list[str]] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        if name in sources:
            continue
        sources[name] = (folder / name).read_text(encoding="utf-8")
        graph[name] = [_resolved(name, match[2]) for match in _IMPORT.finditer(sources[name])]
        wanted += graph[name]
    modules = [_as_function(name, sources[name]) for name in TopologicalSorter(graph).static_order()]
    return re.sub(r"<(?=/script|!--)", r"\\x3c", "\n".join(modules), flags=re.I)


def _as_function(name: str, source: str) -> str:
    exported = [match[2] for match in _EXPORT.finditer(source)]
    source = _IMPORT.sub(
        lambda match: f"const {{{_renamed(match[1])}}} = {_variable(_resolved(name, match[2]))};", source
    )
    source = _EXPORT.sub(r"\1 \2", source)
    if left := _LEFT.search(_without_comments(source)):
        raise ValueError(f"{name}: {left[0].strip()[:80]}: the bundle knows named imports and exports alone")
    return f"const {_variable(name)} = (() => {{\n{source}\nreturn {{{', '.join(exported)}}};\n}})();"


def _without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.S)


def _renamed(names: str) -> str:
    """`a, b as c` of an import as `a, b: c` of a destructuring."""
    return re.sub(r"\s+as\s+", ": ", names)


def _resolved(importer: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), name))


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))
