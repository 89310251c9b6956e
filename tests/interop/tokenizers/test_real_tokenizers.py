"""Real tokenizer files of other programs, on much more text; see ../fetch_tokenizers.sh."""

import base64
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tokenizer_examples import LETTERS, TEXT

from openbook.interop.tokenizers import LegacyLayout, read_tokenizer, write_tokenizer
from openbook.interop.tokenizers.split_patterns import TIKTOKEN_ENCODINGS
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer

pytestmark = pytest.mark.slow

Encode = Callable[[str], list[int]]


def folder(name: str) -> Path:
    place = os.environ.get("OPENBOOK_TOKENIZERS")
    if place is None:
        pytest.skip("OPENBOOK_TOKENIZERS names no folder; make one with tests/interop/tokenizers/fetch_tokenizers.sh")
    return Path(place, name)


def fuzz(count: int, names: list[str]) -> Iterator[str]:
    """Random characters from all of Unicode, from a nasty few, and prose; now and then the name of a special token."""
    chance = random.Random(7)
    ranges = [range(0x20, 0x250), range(0x250, 0xD800), range(0xE000, 0x110000)]
    for _ in range(count):
        length, kind = chance.randrange(60), chance.randrange(3)
        if kind == 0:
            text = "".join(chr(chance.choice(chance.choice(ranges))) for _ in range(length))
        elif kind == 1:
            text = "".join(chance.choice(LETTERS) for _ in range(length))
        else:
            start = chance.randrange(len(TEXT))
            text = TEXT[start : start + 5 * length]
        yield text[:20] + chance.choice(names) + text[20:] if names and chance.random() < 0.1 else text


def check(tokenizer: Tokenizer, reference: Encode, lossless: bool = True, names: bool = True) -> None:
    special = set(tokenizer.special_ids.values()) - {tokenizer.special.unknown}
    for text in fuzz(4000, list(tokenizer.special_ids)[:50] if names else []):
        ids = tokenizer.encode(text)
        assert ids == reference(text), repr(text)
        assert not special & set(ids)
        if lossless and "▁" not in text:
            assert tokenizer.decode(ids) == text
            stream = StreamDecoder(tokenizer, beginning=True)
            assert "".join(stream.feed([number]) for number in ids) + stream.flush() == text


def read(name: str, layout: LegacyLayout | None = None) -> Tokenizer:
    found = read_tokenizer(folder(name), layout or LegacyLayout())
    return Tokenizer.from_json(found.tokenizer, found.special_tokens)


def test_merges(tmp_path: Path) -> None:
    from transformers import GPT2TokenizerFast

    (tmp_path / "vocab.json").write_bytes((folder("merges") / "encoder.json").read_bytes())
    (tmp_path / "merges.txt").write_bytes((folder("merges") / "vocab.bpe").read_bytes())
    reference = GPT2TokenizerFast.from_pretrained(tmp_path)
    check(read("merges"), lambda text: reference(text, split_special_tokens=True)["input_ids"])


@pytest.mark.parametrize("name", ["json-llama2", "json-llama3"])
def test_tokenizer_json(name: str) -> None:
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(tokenizer_file=str(folder(name) / "tokenizer.json"))
    tokenizer = read(name)
    options = {"add_special_tokens": False, "split_special_tokens": True}
    check(tokenizer, lambda text: reference(text, **options)["input_ids"])
    for text in fuzz(500, list(tokenizer.special_ids)):
        assert tokenizer.encode(text, allow_special=True) == reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v7"])
def test_pieces(version: str) -> None:
    from sentencepiece import SentencePieceProcessor

    path = folder(f"pieces-{version}")
    reference = SentencePieceProcessor(model_file=str(path / "tokenizer.model"))
    check(read(path.name), reference.encode)


@pytest.mark.parametrize("name", sorted(TIKTOKEN_ENCODINGS))
def test_ranks(name: str) -> None:
    import tiktoken
    import tiktoken_ext.openai_public as known

    lines = (folder(f"ranks-{name}") / f"{name}.tiktoken").read_text().split("\n")
    table = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    loader, known.load_tiktoken_bpe = known.load_tiktoken_bpe, lambda *_, **__: table
    try:
        definition = getattr(known, name)()
    finally:
        known.load_tiktoken_bpe = loader
    definition.pop("explicit_n_vocab", None)
    reference = tiktoken.Encoding(**definition)
    tokenizer = read(f"ranks-{name}")
    check(tokenizer, lambda text: reference.encode(text, disallowed_special=()))
    for text in fuzz(500, list(tokenizer.special_ids)):
        assert tokenizer.encode(text, allow_special=True) == reference.encode(text, allowed_special="all")


def test_ranked() -> None:
    tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken", reason="mistral-common is not installed")
    reference = tekken.Tekkenizer.from_file(folder("ranked") / "tekken.json")
    check(read("ranked"), lambda text: reference.encode(text, bos=False, eos=False))


def test_unigram() -> None:
    from transformers import T5Tokenizer

    reference = T5Tokenizer.from_pretrained(folder("unigram"))
    layout = LegacyLayout(last=tuple(f"<extra_id_{number}>" for number in range(99, -1, -1)))
    tokenizer = read("unigram", layout)

    def encode(text: str) -> list[int]:
        if any(each in text for each in ("\x85", "<s>", "</s>")):  # no space here; found in text there
            return tokenizer.encode(text)
        return reference(text, add_special_tokens=False)["input_ids"]

    check(tokenizer, encode, lossless=False, names=False)


@pytest.mark.parametrize(
    "name", ["merges", "json-llama2", "json-llama3", "pieces-v1", "pieces-v3", "ranked", "ranks-cl100k_base"]
)
def test_what_is_written_is_loaded_by_transformers(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    found = read_tokenizer(folder(name))
    special = found.special_tokens
    write_tokenizer(tmp_path, found.tokenizer, special, found.chat_template)
    assert read_tokenizer(tmp_path) == found
    reference, tokenizer = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.from_json(found.tokenizer, special)
    for text in fuzz(1000, list(tokenizer.special_ids)[:50]):
        ids = tokenizer.encode(text, allow_special=True)
        assert reference(text)["input_ids"] == [*special.prefix, *ids, *special.suffix]
