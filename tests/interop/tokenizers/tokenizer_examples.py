"""Small tokenizers in the files of other programs, learned from made-up text by the libraries that define them."""

import base64
import json
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
from hypothesis import strategies as st

from openbook.text.tokenizer.byte_level import BYTE_OF_CHARACTER
from openbook.text.tokenizer.training import train_tokenizer
from text.text_examples import prose

TEXT = prose(40, 5) + "It’s 12 o’clock: naïve café, 猫 and  two\tspaces.\n\n\nThe End! </s> <s>\n" * 20

LETTERS = "ab the\u2581 <s></s>\n\r\t \x00\x1c\x85\u2028\u00a0\u3000'’sé\u0301ﬁ猫😀\u200d.\"!12<0x41>"
any_text = st.text(st.characters(exclude_categories=["Cs"]))
nasty_text = st.text(st.sampled_from(LETTERS), max_size=60)
plain_text = st.lists(st.sampled_from([*TEXT.split(" "), "\n", "  ", "12", "é"]), max_size=30).map(" ".join)
texts = any_text | nasty_text | plain_text


def without_names(text: str) -> str:
    """The text without what looks like the name of a special token: references find those in text, we do not.

    Hypothesis also tries strings that stand in the code, so such names do come.
    """
    while (shorter := re.sub(r"</?[a-z_0-9]+>", "", text)) != text:
        text = shorter
    return text


nameless_texts = texts.map(without_names)


@cache
def pieces(**options: Any) -> bytes:
    """A SentencePiece model."""
    model = BytesIO()
    settings = {"model_type": "unigram", "vocab_size": 420, "minloglevel": 2} | dict(options)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n")), model_writer=model, hard_vocab_limit=False, **settings
    )
    return model.getvalue()


@cache
def byte_level() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and merges of a byte-level vocabulary."""
    content = json.loads(train_tokenizer([TEXT], "bpe", 500, ["<|endoftext|>"]).to_json())["model"]
    return content["vocab"] | {"<|endoftext|>": len(content["vocab"])}, [tuple(pair) for pair in content["merges"]]


def ranks() -> dict[bytes, int]:
    """The same vocabulary as bytes with their ranks."""
    ids, _ = byte_level()
    return {bytes(BYTE_OF_CHARACTER[c] for c in token): number for token, number in ids.items() if token[:2] != "<|"}


def write_ranks(path: Path) -> None:
    """The ranks as lines of base 64."""
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks().items()))


def write_json(path: Path, value: object) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_merges(folder: Path, names: tuple[str, str] = ("vocab.json", "merges.txt")) -> None:
    """Ids and merges in two files."""
    ids, merges = byte_level()
    write_json(folder / names[0], ids)
    lines = "".join(f"{left} {right}\n" for left, right in merges)
    (folder / names[1]).write_text(f"#version: 0.2\n{lines}", encoding="utf-8")
