"""Completes the site: the Markdown files outside docs/, a reference of the command line, links to the source."""

import posixpath
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from openbook.cli.main import app
from openbook.cli.options import add_recipe_options
from openbook.cli.train import train

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files of the repository, and the pages of the site that they become."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    files.append(File.generated(config, "command-line.md", content="\n".join(command_line())))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point each link at the page it becomes on the site, or at the file in the repository."""
    uri = page.file.src_uri
    source = next((path for path, name in PAGES.items() if name == uri), f"docs/{uri}")

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if path in PAGES or path.startswith("docs/"):
            return posixpath.relpath(PAGES.get(path, path.removeprefix("docs/")), posixpath.dirname(uri) or ".")
        return f"{config.repo_url}/blob/main/{path}"

    return LINK.sub(target, markdown)


def command_line() -> Iterator[str]:
    """The page of all commands and options, as `--help` has them."""
    add_recipe_options(train)
    yield "# Command line\n"
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        help_text = re.sub(r"\[/?bold\]", "", command.help)
        lines = [line.strip() for line in help_text.replace("Examples", "").splitlines()]
        examples = [line for line in lines if line.startswith("openbook ")]
        description = "\n".join(line for line in lines if line not in examples)
        yield f"## openbook {name}\n\n{description.strip()}\n"
        if examples:
            yield "\n".join(["```text", *examples, "```\n"])
        options = [each for each in command.params if each.name != "help"]
        for panel, group in groupby(options, key=lambda each: getattr(each, "rich_help_panel", None)):
            yield f"{panel or 'Arguments and options'}:\n\n| | |\n| --- | --- |"
            yield from (f"| {_names(each)} | {(each.help or '').replace('|', '&#124;')} |" for each in group)
            yield ""


def _names(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"`{(parameter.metavar or parameter.name).upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
