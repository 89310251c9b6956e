"""The page in one file: one script, no address but its own, the numbers that fit and a word about the others."""

import base64
import gzip
import hashlib
import html
import json
import re

import pytest
from paged import paged
from safetensors.numpy import load

from openbook.errors import OpenbookError
from openbook.explanation.page.bundle import bundle
from openbook.explanation.page.html_file import page_html, page_iframe, write_page
from strategies import DEFAULT, ORIGINAL


def carried(content):
    """The JSON and the slices in a page."""
    parts = [re.search(rf'id="openbook-{name}">([^<]*)<', content)[1] for name in ("data", "slices")]
    data, slices = (gzip.decompress(base64.b64decode(part)) for part in parts)
    return json.loads(data), load(slices)


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_a_small_model_is_carried_whole(spec):
    page = paged(spec)
    content, left_out = page_html(page)
    assert len(content) < 2_000_000 and left_out == []
    data, slices = carried(content)
    entries = {(each.get("step"), each.get("path", each.get("weight"))): n for n, each in enumerate(data["slices"])}
    for step in range(3):
        for path, record in page.run.trace(step).items():
            assert (slices[str(entries[step, path])] == record.value.float().numpy()).all()
    for name, parameter in page.run.model.named_parameters():
        assert (slices[str(entries[None, name])] == parameter.detach().numpy()).all()
    assert data["manifest"]["door"] == "file" and data["manifest"]["carried"]["weights"]
    assert {"prompt", "file", "lens?step=0", "choice?step=2", "cache?step=1", "summary?step=0"} <= set(data["views"])


def test_nothing_is_loaded_from_elsewhere():
    content, _ = page_html(paged(DEFAULT, prompt=range(5)))
    frame = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", content, flags=re.S)
    assert not re.search(r'\b(src|href)="(?!data:)', frame)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', content)[1])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    script = re.search(r'<script type="module">(.*?)</script>', content, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert not re.search(r"^\s*(import|export)\b", script, re.M)
    assert content.count("</script>") == 3  # data, slices, code: no text of a token ends one


def test_what_does_not_fit_is_said_and_the_size_is_kept():
    page = paged(DEFAULT)
    whole = len(page_html(page)[0])
    limit = whole - 30_000
    content, left_out = page_html(page, limit)
    assert len(content) <= limit
    data, _ = carried(content)
    stated = data["manifest"]["carried"]
    assert stated["left_out"] == left_out and left_out and not stated["weights"]
    assert any("weights themselves" in line for line in left_out)


def test_a_size_for_nothing_is_refused_with_the_least():
    with pytest.raises(OpenbookError, match=r"size: without any number it takes \d+ KB"):
        page_html(paged(DEFAULT), 10_000)


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(OpenbookError, match="does not exist"):
        write_page(paged(DEFAULT), tmp_path / "none" / "page.html")
    file = tmp_path / "page.html"
    file.write_text("old")
    with pytest.raises(OpenbookError):
        write_page(paged(DEFAULT), file, 10_000)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"] and file.read_text() == "old"
    size, _ = write_page(paged(DEFAULT), file)
    assert file.stat().st_size == size


def test_a_notebook_gets_a_frame_that_holds_it_all():
    frame = page_iframe(paged(DEFAULT, prompt=range(5)))
    assert frame.count("<iframe") == 1 and frame.count(">") == 2 and 'sandbox="allow-scripts' in frame
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
    assert carried(inner)[0]["manifest"]["door"] == "notebook"


MODULES = {
    "main.js": 'import { a, b as c } from "./parts/one.js";\nexport function main() {\n  return a + c;\n}\n',
    "parts/one.js": 'import {\n  two,\n} from "../two.js";\nexport const a = two();\nexport const b = "</script>";\n',
    "two.js": "/** import { x } from nowhere */\nexport function two() {\n  return 2;\n}\n",
}


def modules(folder, **changed):
    for name, content in (MODULES | changed).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_modules_become_one_script(tmp_path):
    script = bundle("main.js", modules(tmp_path))
    order = [script.index(name) for name in ("const $two =", "const $parts_one =", "const $main =")]
    assert order == sorted(order)
    assert "const { a, b: c } = $parts_one;" in script and "return {a, b};" in script
    assert "</script" not in script


@pytest.mark.parametrize(
    "source", ['import x from "./two.js";', 'import * as x from "./two.js";', "export default 3;", "export let x = 1;"]
)
def test_what_the_bundle_does_not_know_is_a_defect(tmp_path, source):
    with pytest.raises(ValueError, match=r"^main\.js: "):
        bundle("main.js", modules(tmp_path, **{"main.js": source}))
