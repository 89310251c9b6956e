"""The page of a run in one file: it opens from a disk, asks nothing of any network, and works in a notebook."""

import base64
import hashlib
import html
import re
from pathlib import Path

from openbook.explanation.page.bundle import FOLDER, bundle
from openbook.explanation.page.carried import carry
from openbook.explanation.page.page_run import PageRun
from openbook.model_file.atomic import atomic_write

DEFAULT_BYTES = 20_000_000
NOTEBOOK_BYTES = 4_000_000
_STYLE = re.compile(r'[ \t]*<link rel="stylesheet" href="([\w.-]+\.css)">\n?')
_SCRIPT = re.compile(r'[ \t]*<script type="module" src="([\w.-]+\.js)"></script>\n?')


def page_html(page: PageRun, limit: int = DEFAULT_BYTES, door: str = "file") -> tuple[str, list[str]]:
    """The page with everything that it needs, as HTML of at most `limit` bytes; and in words what it leaves out.

    Raises:
        OpenbookError: it does not fit.
    """
    frame = (FOLDER / "index.html").read_text(encoding="utf-8")
    style = "\n".join((FOLDER / match[1]).read_text(encoding="utf-8") for match in _STYLE.finditer(frame))
    entry = _SCRIPT.search(frame)
    assert entry is not None, "index.html loads its module"
    script = f"\n{bundle(entry[1])}\n"
    data, slices, left_out = carry(page, limit, door, len(style.encode()) + len(script.encode()) + 4096)
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data: blob:"
    head = (
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">\n"
        f"<style>{style}</style>\n"
    )
    body = (
        f'<script type="text/plain" id="openbook-data">{data}</script>\n'
        f'<script type="text/plain" id="openbook-slices">{slices}</script>\n'
        f'<script type="module">{script}</script>\n'
    )
    frame = _SCRIPT.sub("", _STYLE.sub("", frame))
    frame = frame.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{head}', 1)
    return frame.replace("</body>", f"{body}</body>", 1), left_out


def write_page(page: PageRun, path: Path, limit: int = DEFAULT_BYTES) -> tuple[int, list[str]]:
    """Write the page to a file, whole or not at all; return its size, and in words what it leaves out.

    Raises:
        OpenbookError: it does not fit, or the file cannot be written.
    """
    content, left_out = page_html(page, limit)
    with atomic_write(path) as file:
        file.write(content.encode())
    return len(content.encode()), left_out


def page_iframe(page: PageRun, limit: int = NOTEBOOK_BYTES) -> str:
    """The page as a frame in a notebook: it holds its data, so it needs no kernel."""
    content = html.escape(page_html(page, limit, door="notebook")[0])
    return (
        '<iframe sandbox="allow-scripts allow-downloads" style="width:100%;height:760px;border:1px solid #8884" '
        f'title="A model, opened up" srcdoc="{content}"></iframe>'
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
