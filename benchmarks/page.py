"""The page of a real model: how long until it opens, how long a click takes, how much memory it needs, how large a
file it makes; and a full trace beside an untraced pass and TransformerLens' `run_with_cache`.

    openbook import SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.openbook     # docs/assistant.md has it
    python benchmarks/page.py smollm2.openbook [--tokens 256] [--rounds 3] [--lens-python PYTHON]

`--lens-python` is an interpreter with openbook, transformers and transformer-lens; without it that row is left out.
TransformerLens gets the same weights, and its logits are compared. Needs Chromium and Playwright
(`pip install '.[test]'`); Linux only.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READING = 2.0
"""Seconds between the first picture and the first click; meanwhile the page fetches what is most likely next."""
TEXT = Path(__file__).parents[1] / "docs" / "explain.md"

# What is clicked, each from where the click before it led: a name, a selector, and where in it.
Click = tuple[str, str, float, float]
MIDDLE = (0.5, 0.5)
DEEPER: tuple[Click, ...] = (
    ("answer → model", "button.link", *MIDDLE),
    ("model → layer", "[data-focus='lens {row} 15']", *MIDDLE),
    ("layer → head", ".multiple", *MIDDLE),
    ("head → number", ".card[data-path$='.weights'] .heat", 0.1, 0.9),
    ("number → operand", ".number button.value", *MIDDLE),
    ("a step of the algorithm", "[data-focus='outline logits']", *MIDDLE),
)
PANELS = ("choice", "tokenizer", "positions", "cache", "file", "summary")
LAYERS = (2, 14, 27)
WRITTEN = 8
"""Tokens that `openbook explain` writes after a prompt."""

CLICK = """
([selector, x, y]) => new Promise((done, fail) => {
    const target = document.querySelector(selector);
    if (!target) return fail(new Error("nothing to click: " + selector));
    const box = target.getBoundingClientRect();
    const at = { bubbles: true, clientX: box.left + x * box.width, clientY: box.top + y * box.height };
    const started = performance.now();
    const look = () => document.body.dataset.state === "drawn"
        ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)))
        : requestAnimationFrame(look);
    target.dispatchEvent(new MouseEvent("click", at));
    requestAnimationFrame(look);
})
"""
"""Milliseconds from a click until what it asks for is painted: a task behind the frame after it is drawn."""


def a_prompt(tokenizer: Any, tokens: int) -> str:
    """The beginning of a text that has so many tokens, or one or two more."""
    words = TEXT.read_text(encoding="utf-8").split() * 8
    low, high = 1, len(words)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(tokenizer.encode(" ".join(words[:middle]))) >= tokens else (middle + 1, high)
    return " ".join(words[:low])


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, model: Path, prompt: str) -> Iterator[tuple[Any, dict[str, float]]]:
    """The page of `openbook explain`, and the seconds from Enter to its address and to its first picture."""
    command = [sys.executable, "-m", "openbook", "explain", str(model), prompt, "--raw", "--no-browser"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    try:
        assert process.stdout is not None
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://127\S+", line)))
        seconds = {"address": time.perf_counter() - started}
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-state=drawn]")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        seconds["picture"] = time.perf_counter() - started
        page.wait_for_timeout(1000 * READING)
        yield page, seconds
    finally:
        context.close()
        process.terminate()
        process.wait(30)


def clicks(page: Any) -> dict[str, float]:
    """Milliseconds of each click, the first time each."""
    took: dict[str, float] = {}

    def click(name: str, selector: str, x: float, y: float) -> None:
        took[name] = max(took.get(name, 0), page.evaluate(CLICK, [selector, x, y]))

    for layer in LAYERS:
        for name, selector, x, y in DEEPER:
            click(name, selector.format(row=layer + 1), x, y)
        click("back to the answer", "#crumb button", *MIDDLE)
    for panel in PANELS:
        click(f"panel: {panel}", f"[data-focus='panel {panel}']", *MIDDLE)
    click("the walk: next", "[data-focus='walk']", *MIDDLE)
    return took


def tab_megabytes(browser: Any) -> float:
    """Resident memory of the largest renderer process."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = []
    for each in processes:
        if each["type"] == "renderer":
            status = Path(f"/proc/{each['id']}/status").read_text()
            sizes.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000)  # type: ignore[index]
    return max(sizes)


def html_megabytes(model: Path, prompt: str, folder: Path) -> tuple[float, str]:
    """Size of the offline file, and what the command says that it leaves out."""
    target = folder / f"{model.stem}.html"
    command = [sys.executable, "-m", "openbook", "explain", str(model), prompt, "--html", str(target)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    return target.stat().st_size / 1e6, "; ".join(line.strip() for line in said)


def best_of(work: Callable[[], Any], times: int = 5) -> float:
    """The least seconds."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def own_trace(model: Path, tokens: list[int]) -> dict[str, Any]:
    """Seconds of an untraced pass and of one with every number recorded."""
    import torch

    import openbook
    from openbook.generation.engines.torch_engine import TorchEngine
    from openbook.generation.generate import generate
    from openbook.generation.settings import Sampling
    from openbook.trace import trace

    transformer = openbook.load(model, "cpu").transformer.eval()
    ids = torch.tensor([tokens])

    def traced() -> int:
        with trace(transformer) as recorded:
            transformer(ids)
        return len(recorded)

    def answered() -> None:
        list(generate(TorchEngine(transformer), [tokens], Sampling(temperature=0.0, max_tokens=WRITTEN)))

    with torch.no_grad():
        last = transformer(ids)[0, -1]
        seconds = {"pass": best_of(lambda: transformer(ids)), "traced": best_of(traced)}
        seconds["answer"] = best_of(answered, 3)
        return seconds | {"recorded": traced(), "logits": last[:64].tolist()}


def lens_trace(folder: Path, tokens: list[int]) -> dict[str, Any]:
    """The same of TransformerLens, with the same weights."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model = TransformerBridge.boot_transformers(
        str(folder), hf_model=hf, tokenizer=AutoTokenizer.from_pretrained(folder)
    )
    ids = torch.tensor([tokens])
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids)
        seconds = {"pass": best_of(lambda: model(ids)), "traced": best_of(lambda: model.run_with_cache(ids))}
        return seconds | {"recorded": len(cache), "logits": logits[0, -1, :64].tolist()}


def alone(python: str, kind: str, path: Path, tokens: list[int]) -> dict[str, Any]:
    """One of the two in a process of its own."""
    command = [python, __file__, str(path), "--alone", kind, "--ids", json.dumps(tokens)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report_traces(
    model: Path, tokens: list[int], lens_python: str | None, rounds: int, folder: Path
) -> tuple[float, float]:
    """Print the seconds of passes and traces, taken in turns; return those of our untraced pass, and of an answer."""
    kinds = {"openbook": (sys.executable, "own", model)}
    if lens_python is not None:
        exported = folder / "hf"
        command = [sys.executable, "-m", "openbook", "export", str(model), "--to", "hf", "-o", str(exported)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        kinds["TransformerLens"] = (lens_python, "lens", exported)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (python, kind, path) in kinds.items():
            found[name].append(alone(python, kind, path, tokens))
    print("| | a pass, s | the same traced, s | ratio | recorded tensors |\n|" + " --- |" * 5)
    for name, runs in found.items():
        plain, traced = (min(run[which] for run in runs) for which in ("pass", "traced"))
        print(f"| {name} | {plain:.2f} | {traced:.2f} | {traced / plain:.2f} | {runs[0]['recorded']:,} |")
    if lens_python is not None:
        one, other = (found[name][0]["logits"] for name in found)
        difference = max(abs(a - b) for a, b in zip(one, other, strict=True))
        print(f"\nGreatest difference of the logits: {difference:.1e}")
    plain, answer = (float(min(run[which] for run in found["openbook"])) for which in ("pass", "answer"))
    print(f"\nReading the prompt and writing {WRITTEN} tokens, untraced: {answer:.2f} s")
    return plain, answer


def main() -> None:
    """Measure, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a decoder-only model file, float32")
    parser.add_argument("--tokens", type=int, default=256, help="of the prompt; 256 by default")
    parser.add_argument("--rounds", type=int, default=3, help="3 by default")
    parser.add_argument("--lens-python", help="an interpreter with transformer-lens")
    parser.add_argument("--alone", choices=("own", "lens"), help=argparse.SUPPRESS)
    parser.add_argument("--ids", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps((own_trace if asked.alone == "own" else lens_trace)(asked.model, asked.ids)))
        return
    import openbook
    from openbook.examples import EXAMPLES, make_example

    tokenizer = openbook.load(asked.model, "cpu").tokenizer
    prompt = a_prompt(tokenizer, asked.tokens)
    ids = tokenizer.encode(prompt)
    print(f"{asked.model.name}, a prompt of {len(ids)} tokens\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain, answer = report_traces(asked.model, ids, asked.lens_python, asked.rounds, folder)
        heads = ("Enter to the address, s", "to the first picture, s", "beyond a pass, s", "beyond the answer, s")
        print(f"\n| {' | '.join(heads)} |\n|" + " --- |" * len(heads))
        took: list[dict[str, float]] = []
        for _ in range(asked.rounds):
            with chromium() as browser, opened(browser, asked.model, prompt) as (page, seconds):
                beyond = f"{seconds['picture'] - plain:.2f} | {seconds['picture'] - answer:.2f}"
                print(f"| {seconds['address']:.2f} | {seconds['picture']:.2f} | {beyond} |")
                took.append(clicks(page))
                memory = tab_megabytes(browser)
        print("\n| click to painted, the first time | median, ms | worst, ms |\n|" + " --- |" * 3)
        for name in took[0]:
            each = [run[name] for run in took]
            print(f"| {name} | {statistics.median(each):.0f} | {max(each):.0f} |")
        print(f"\nMemory of the tab after all that: {memory:.0f} MB")
        print("\n| file | MB | not in it |\n|" + " --- |" * 3)
        files = {asked.model: a_prompt(tokenizer, 16)}
        for name, example in EXAMPLES.items():
            make_example(name, folder / f"{name}.openbook")
            files[folder / f"{name}.openbook"] = example.prompt
        for path, text in files.items():
            size, left_out = html_megabytes(path, text, folder)
            print(f"| {path.stem} | {size:.2f} | {left_out or 'nothing'} |")


if __name__ == "__main__":
    main()
