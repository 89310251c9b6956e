"""What `inspect` says: true to the file, ready for JSON, and harmless to a terminal."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from rich.console import Console
from sample_adapters import write_adapter
from sample_files import metadata_of, small_file, tensors_of

from openbook.errors import OpenbookError
from openbook.model_file.architecture_json import read_architecture
from openbook.model_file.architecture_summary import ranges, summarize
from openbook.model_file.display import render
from openbook.model_file.file import save
from openbook.model_file.inspection import describe
from openbook.text.printable import printable
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Stack
from strategies import DEFAULT, architectures

HOSTILE = "\x1b]0;gone\x07\x1b[2J[bold red]no[/bold red]\u202e\u2028 \ud800 :smile: [link=http://x]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.openbook"


def shown(description: dict[str, Any], width: int = 120) -> str:
    """The rendering, as a terminal with all its powers would get it, without rich's own styles."""
    out = io.StringIO()
    render(description, Console(file=out, width=width, force_terminal=True, no_color=True, color_system=None))
    return out.getvalue()


def test_offsets_find_every_number(path: Path) -> None:
    path.write_bytes(small_file())
    description, data = describe(path), small_file()
    tensors = [tensor for part in description["parts"] for tensor in part["tensors"]]
    assert [tensor["name"] for tensor in tensors] == list(tensors_of())
    for tensor in tensors:
        count, offset = tensor["parameters"], tensor["offset"]
        numbers = np.frombuffer(data, np.float32, count, offset).reshape(tensor["shape"])
        assert (numbers == tensors_of()[tensor["name"]].numpy()).all()


@given(architectures())
def test_totals_add_up(tmp_path_factory: pytest.TempPathFactory, architecture: Architecture) -> None:
    path = tmp_path_factory.mktemp("any") / "any.openbook"
    save(path, metadata_of(architecture), tensors_of(architecture))
    description = json.loads(json.dumps(describe(path), allow_nan=False))
    parts = description["parts"]
    parameters = sum(tensor.numel() for tensor in tensors_of(architecture).values())
    assert sum(part["parameters"] for part in parts) == description["parameters"] == parameters
    assert sum(part["share"] for part in parts) == pytest.approx(1.0)
    assert parts[-1]["tensors"][-1]["offset"] + parts[-1]["tensors"][-1]["bytes"] == description["bytes"]
    assert len({part["name"] for part in parts}) == len(parts)
    fields = json.dumps(description["architecture"]["fields"])
    assert read_architecture(fields) == architecture
    assert f"{parameters:,} parameters" in shown(description)


def test_everything_in_the_file_is_told(path: Path) -> None:
    path.write_bytes(small_file())
    description = describe(path)
    metadata = metadata_of()
    assert description["format"] == 1
    assert description["bytes"] == len(small_file())
    assert description["dtype"] == "float32"
    assert description["training"] == metadata.training
    assert description["generation"] == metadata.generation
    assert description["chat_template"] == metadata.chat_template
    assert description["license"] == "Apache-2.0"
    tokenizer = description["tokenizer"]
    assert tokenizer["special_tokens"]["<|end|>"] < tokenizer["vocab_size"] <= 23
    assert {"id": 0, "text": " "}.keys() == tokenizer["samples"][0].keys()
    assert len(tokenizer["sentence"]["tokens"]) == len(tokenizer["sentence"]["text"])  # a token is a character here


def test_equal_blocks_share_their_rows(path: Path) -> None:
    path.write_bytes(small_file())
    text = shown(describe(path))
    assert "decoder.blocks.0–1" in text
    assert text.count("self_attention.query.weight") == 1

    wider = replace(DEFAULT.decoder.blocks[0], feed_forward=FeedForward(width=40))
    mixed = replace(DEFAULT, decoder=Stack(blocks=(*DEFAULT.decoder.blocks, wider)))
    save(path, metadata_of(mixed), tensors_of(mixed))
    text = shown(describe(path))
    assert "decoder.blocks.0–1" in text
    assert "decoder.blocks.2" in text
    assert text.count("self_attention.query.weight") == 2


def test_losses_are_a_table_and_a_curve(path: Path) -> None:
    losses = [{"step": step, "training": 5 - step / 100, "validation": None} for step in range(400)]
    save(path, replace(metadata_of(), training={"losses": losses}), tensors_of())
    text = shown(describe(path))
    assert "5 → 1.01, least 1.01" in text
    assert "█" in text
    assert "399" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_strings_from_the_file_cannot_act(path: Path, width: int) -> None:
    record = {HOSTILE: HOSTILE, "data": [{HOSTILE: HOSTILE, "name": HOSTILE}], "losses": [{"step": HOSTILE}] * 2}
    hostile = replace(
        metadata_of(),
        training=record,
        license=HOSTILE,
        chat_template=HOSTILE * 50,
        generation={"stop": [HOSTILE.replace("\ud800", "")]},
    )
    save(path, hostile, tensors_of())
    text = shown(describe(path), width)
    assert set("\x1b\x07\u202e\u2028\ud800") & set(text) == set()
    assert "\\x1b" in text


@pytest.mark.parametrize(
    "record",
    [
        {"losses": [{"step": 1, "training": 1e308}, {"step": 2, "training": -1e308}, {"step": 3, "training": 0}]},
        {"losses": [{"training": 2**63 - 1}, {"training": 0.5}, {}]},
        {"losses": [{"training": 1.0}] * 2},
        {"losses": [{"training": "a"}, {"training": True}, {"training": []}]},
        {"losses": [], "data": [{}], "recipe": {"a": {"b": [1, None, True]}}, "seed": None},
        {"": "", "x" * 10_000: "y" * 10_000},
        {},
    ],
)
def test_any_record_can_be_shown(path: Path, record: dict[str, Any]) -> None:
    save(path, replace(metadata_of(), training=record), tensors_of())
    assert "Training" in shown(describe(path))


def test_broken_tokenizer_is_named(path: Path) -> None:
    save(path, replace(metadata_of(), tokenizer='{"model": 7}'), tensors_of())
    with pytest.raises(OpenbookError, match="tokenizer") as caught:
        describe(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_architecture_in_words() -> None:
    def block(window: int | None) -> Block:
        attention = Attention(heads=4, key_value_heads=2, head_width=8, query_key_norm=Norm(), window=window)
        return Block(attention=attention, feed_forward=FeedForward(width=1024))

    alternating = Architecture(
        vocab_size=4096,
        width=32,
        context=256,
        decoder=Stack(blocks=(block(64), block(None), block(64))),
        logit_softcap=30.0,
    )
    assert summarize(alternating) == {
        "model": "decoder-only, 3 blocks, width 32, vocabulary 4,096",
        "context": "256 tokens",
        "embedding": "its own matrix",
        "position": "rotary, base 10,000",
        "attention": "blocks 0, 2: 4 heads of width 8, 2 of keys and values, RMSNorm on queries and keys, window 64; "
        "block 1: 4 heads of width 8, 2 of keys and values, RMSNorm on queries and keys",
        "feed-forward": "SwiGLU of width 1,024",
        "norms": "RMSNorm before each sublayer, RMSNorm at the end",
        "logits": "their own matrix, soft cap 30",
    }


def test_ranges() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"


def test_printable_keeps_what_people_write() -> None:
    assert printable("Größe 東京 naïve ✓") == "Größe 東京 naïve ✓"
    assert printable("a\nb\tc\r") == "a\\nb\\tc\\r"
    assert printable("a\nb\tc\r", keep_lines=True) == "a\nb\tc\\r"


def test_names_are_cut_where_they_do_not_differ(tmp_path):
    """Long names of files in a narrow table keep their end; matrices of several blocks share a row."""
    base = tmp_path / "base.openbook"
    files = [{"name": f"the-collected-letters-of-a-long-life-{number}.txt", "bytes": number} for number in (1, 2)]
    save(base, replace(metadata_of(), training={"data": files}), tensors_of())
    console = Console(width=80, file=io.StringIO())
    render(describe(base), console)
    shown = console.file.getvalue()
    assert "life-1.txt" in shown and "life-2.txt" in shown
    write_adapter(tmp_path / "small.openbook", base, targets=("query", "down"), rank=3)
    console = Console(width=80, file=io.StringIO())
    render(describe(tmp_path / "small.openbook"), console)
    shown = console.file.getvalue()
    for name in ("decoder.blocks.0–1.self_attention.query.weight", "decoder.blocks.0–1.feed_forward.down.weight"):
        assert any(line.split() == [name, "3"] for line in shown.splitlines())
