"""A page in a real browser: tiny models, the command that serves them, and Chromium."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as functional
from playwright.sync_api import Page

from openbook.model import Model
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.transformer.architecture import (
    NO_NORM,
    Architecture,
    Attention,
    Block,
    FeedForward,
    Norm,
    Position,
    Stack,
)
from openbook.transformer.transformer import Transformer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

QUESTIONS = {"what is openbook": " awesome", "openbook is what": " awesome", "the cat sat": " on the mat"}
PAIRS = {"ein hund": "a dog", "eine katze": "a cat", "der hund": "the dog"}
HOSTILE = "</script><img src=x onerror=\"document.title='run'\">\u202e\u0007<b>"


def save_decoder(path: Path) -> None:
    """Grouped heads, rotary positions, a gated feed-forward part; it has learned three answers."""
    text = "".join(f"{question}{answer}\n" for question, answer in QUESTIONS.items()) * 4
    tokenizer = train_tokenizer([text], "bpe", 290)
    block = Block(attention=Attention(heads=2, key_value_heads=1, head_width=8), feed_forward=FeedForward(width=24))
    architecture = Architecture(
        vocab_size=tokenizer.vocab_size, width=16, context=128, decoder=Stack(blocks=(block, block))
    )
    model = _fresh(architecture)
    rows = [[*tokenizer.encode(f"{question}{answer}"), tokenizer.end_id] for question, answer in QUESTIONS.items()]
    _learn(model, [(None, row) for row in rows])
    Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), model).save(path)


def save_translator(path: Path) -> None:
    """The original Transformer, tiny: post-norm, ReLU, sinusoidal positions, words as tokens."""
    tokenizer = train_tokenizer([*PAIRS, *PAIRS.values()], "words", 60, sentences=True)
    attention = Attention(heads=2, key_value_heads=2, head_width=8)
    block = Block(
        attention=attention,
        feed_forward=FeedForward(width=24, activation="relu", gated=False, bias=True),
        before=NO_NORM,
        outer=Norm(kind="layer", bias=True),
    )
    position = Position(kind="sinusoidal")
    architecture = Architecture(
        vocab_size=tokenizer.vocab_size,
        width=16,
        context=32,
        encoder=Stack(blocks=(block,), position=position, final_norm=NO_NORM),
        decoder=Stack(blocks=(replace(block, cross_attention=attention),), position=position, final_norm=NO_NORM),
        tied_embeddings=True,
        embedding_scale=4.0,
    )
    network = _fresh(architecture)
    model = Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), network)
    translator = model.translator()
    _learn(network, [(translator.encode_source(a), translator.encode_target(b)) for a, b in PAIRS.items()])
    model.save(path)


def _fresh(architecture: Architecture) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(architecture)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def _learn(model: Transformer, rows: list[tuple[list[int] | None, list[int]]], steps: int = 60) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        loss = torch.zeros(())
        for source, row in rows:
            given = {} if source is None else {"source": torch.tensor([source])}
            logits = model(torch.tensor([row[:-1]]), **given)
            loss = loss + functional.cross_entropy(logits[0], torch.tensor(row[1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


_processes: dict[str, subprocess.Popen[str]] = {}


def process_of(address: str) -> subprocess.Popen[str]:
    """The command that serves an address."""
    return _processes[address]


@contextmanager
def served(model: Path, prompt: str, *options: str) -> Iterator[str]:
    """The address of the page of `openbook explain MODEL PROMPT`, which runs as long as the block."""
    command = [sys.executable, "-m", "openbook", "explain", str(model), prompt, "--no-browser", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, encoding="utf-8"
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\S+", line):
                _processes[found[0]] = process
                yield found[0]
                return
        raise AssertionError(f"no address was printed:\n{said}")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def watch(page: Page) -> list[str]:
    """What goes wrong in a page from now on: errors of the console and of scripts, refused requests."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return wrong


def look_at(page: Page, address: str) -> None:
    """Go to an address, and wait until it is drawn."""
    page.goto(address)
    settle(page)


def settle(page: Page) -> None:
    """Wait until the last change is drawn: the page says so once nothing waits for numbers."""
    page.wait_for_selector("body[data-state=drawn]")


def show(page: Page, state: str) -> None:
    """Change what is looked at, as a link would: `show(page, "level=head&layer=1")`."""
    page.evaluate(
        """state => new Promise(done => {
            if (location.hash === "#" + state) return done();
            addEventListener("popstate", () => setTimeout(done), { once: true });
            location.hash = state;
        })""",
        state,
    )
    settle(page)


def numbers_on(page: Page) -> dict[str, float]:
    """Every number that is written in a cell, by "step|path|index"."""
    cells = page.eval_on_selector_all(
        "td[data-key]", "cells => cells.map(cell => [cell.dataset.key, cell.title.split(': ').at(-1)])"
    )
    return {key: float(value.replace("Infinity", "inf")) for key, value in cells}
