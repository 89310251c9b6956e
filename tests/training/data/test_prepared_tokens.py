"""Tokens in shards: the same whatever the shards and processes, found again, refused by name where damaged."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

import openbook
from openbook.errors import OpenbookError
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.prepare import prepare
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.data import book_tokens, prepared_tokens, token_shards
from openbook.training.data.book_tokens import TokenizedSplit, tokenize_books
from openbook.training.data.prepared_tokens import open_prepared, prepare_tokens
from openbook.training.data.token_shards import JoinedArray, describe_file
from text.text_examples import prose
from training.training_examples import TINY


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(3):
        chapters = "".join(f"Chapter {i}\n\n“{prose(12, 10 * number + i)}”\n\n\n  é ☃!\n\n\n" for i in range(1, 5))
        (folder / f"{number}.txt").write_text(chapters)
    return folder


@pytest.fixture
def corpus(books: Path, tmp_path: Path) -> Corpus:
    return prepare([books], tmp_path / "corpus", validation_fraction=0.2)


def as_lists(split: TokenizedSplit) -> tuple[object, ...]:
    return split.ids[:].tolist(), split.documents.tolist(), split.chapters.tolist(), split.text_bytes, split.unknown


def small_shards(monkeypatch: pytest.MonkeyPatch, size: int = 1500) -> None:
    monkeypatch.setattr(book_tokens, "SMALLEST_SHARD", size)
    monkeypatch.setattr(book_tokens, "LARGEST_SHARD", size)
    monkeypatch.setattr(book_tokens, "SEARCH_BYTES", 40)


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@pytest.mark.parametrize("processes", [1, 2])
def test_shards_together_are_the_tokens_of_the_whole(
    corpus: Corpus, tmp_path: Path, kind: Any, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = train_tokenizer(corpus.train.sample(10**9), kind, 400)
    whole = tokenize_books(corpus, tokenizer, tmp_path / "whole")
    assert isinstance(whole.train.ids, np.memmap)
    small_shards(monkeypatch)
    parts = tokenize_books(corpus, tokenizer, tmp_path / "parts", processes=processes)
    assert isinstance(parts.train.ids, JoinedArray)
    assert len(list((tmp_path / "parts").glob("train-*.tokens"))) > 10
    assert as_lists(parts.train) == as_lists(whole.train)
    assert as_lists(parts.validation) == as_lists(whole.validation)
    small_shards(monkeypatch, 4000)
    other = tokenize_books(corpus, train_tokenizer([], "bytes", 257), tmp_path / "parts")
    assert len(other.train.ids) == corpus.train.bytes + len(corpus.train.documents)
    assert len(list((tmp_path / "parts").glob("*.tokens"))) < 15  # those of before are gone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.data())
def test_a_joined_array_is_read_like_one(tmp_path: Path, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    whole: NDArray[np.uint16] = np.random.default_rng(sum(lengths)).integers(0, 1 << 16, sum(lengths), np.uint16)
    paths = [tmp_path / f"{number}" for number in range(len(lengths))]
    for path, part in zip(paths, np.split(whole, np.cumsum(lengths)[:-1]), strict=True):
        part.tofile(path)
    joined = JoinedArray(paths, lengths, np.uint16)
    assert len(joined) == len(whole)
    start, stop = data.draw(st.integers(-60, 60)), data.draw(st.integers(-60, 60))
    assert joined[start:stop].tolist() == whole[start:stop].tolist()
    shape = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    indices = np.random.default_rng(stop + 60).integers(0, len(whole), shape)
    assert joined[indices].tolist() == whole[indices].tolist()
    with pytest.raises(IndexError):
        joined[np.array([0, len(whole)])]


def index_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "index.json").read_text())


def content(folder: Path) -> dict[str, bytes]:
    names = {path.name for path in folder.iterdir()} - {"index.json"}
    index = {key: value for key, value in index_of(folder).items() if key != "made_from"}
    return {name: (folder / name).read_bytes() for name in names} | {"index": json.dumps(index).encode()}


def test_prepared_once_it_is_found(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    first = prepare_tokens([books], tmp_path / "tokens", vocab_size=300)
    assert {path.name.partition("-")[0] for path in (tmp_path / "tokens").iterdir()} == {
        *("index.json", "tokenizer.json", "report.json", "train", "validation")
    }
    assert len(first.report().files) == 3
    with monkeypatch.context() as patch:
        patch.setattr(prepared_tokens, "prepare", None)
        assert prepare_tokens([books], tmp_path / "tokens", vocab_size=300).index == first.index
    assert prepare_tokens([books], tmp_path / "tokens", vocab_size=400).index.vocab_size == 400
    (books / "0.txt").write_text(prose(9))
    assert prepare_tokens([books], tmp_path / "tokens", vocab_size=400).index.identity != first.index.identity


def test_interrupted_anywhere_it_goes_on(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rename and every JSON file is a place to stop; what comes out is the same to the byte."""
    small_shards(monkeypatch, 6000)
    prepare_tokens([books], tmp_path / "whole", vocab_size=300)
    replace, calls, allowed = Path.replace, 0, 0

    def stopping(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise KeyboardInterrupt
        return replace(path, target)

    runs = 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        while True:
            calls, allowed, runs = 0, 1 + runs % 4, runs + 1
            try:
                prepare_tokens([books], tmp_path / "stopped", vocab_size=300)
                break
            except KeyboardInterrupt:
                pass
    assert runs > 5
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_the_number_of_processes_changes_nothing(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch, 6000)
    for processes in (1, 2):
        prepare_tokens([books], tmp_path / f"{processes}", vocab_size=300, processes=processes)
    assert content(tmp_path / "1") == content(tmp_path / "2")


def write_index(folder: Path, change: Any) -> None:
    index = index_of(folder)
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


def overwrite(path: Path, place: int, new: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(new)


def foreign_token(folder: Path) -> None:
    """With a checksum that is right."""
    overwrite(folder / "train-00001.tokens", 10, b"\xff\xff")
    write_index(folder, lambda index: index["train"][1].update(tokens=describe_file(folder / "train-00001.tokens")))


def disorder(folder: Path) -> None:
    path = folder / "train-00000.chapters"
    np.array([7, 3], "<i8").tofile(path)
    write_index(folder, lambda index: index["train"][0].update(chapters=describe_file(path)))


def linked(folder: Path) -> None:
    path = folder / "train-00000.tokens"
    outside = folder.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


DAMAGES = {
    r"train-00001\.tokens: has \d+ bytes, and the index says": lambda f: os.truncate(f / "train-00001.tokens", 20),
    r"train-00001\.tokens: is not what the index says": lambda f: overwrite(f / "train-00001.tokens", 10, b"\1\1"),
    r"train-00001\.tokens: has a token that is not in the vocabulary of 300": foreign_token,
    r"train-00000\.chapters: has places in disorder": disorder,
    r"train-00000\.tokens: No such file": lambda f: (f / "train-00000.tokens").unlink(),
    r"train-00000\.tokens: is a link out of its folder": linked,
    r"tokenizer\.json: is not what the index says": lambda f: overwrite(f / "tokenizer.json", 30, b"~"),
    r"index\.json: No such file": lambda f: (f / "index.json").unlink(),
    r"index\.json is not JSON": lambda f: os.truncate(f / "index.json", 100),
    r"field train\.0\.name": lambda f: write_index(f, lambda i: i["train"][0].update(name="../train-00000")),
    r"names a shard twice": lambda f: write_index(f, lambda i: i["train"].append(i["train"][0])),
    r"field vocab_size": lambda f: write_index(f, lambda i: i.update(vocab_size=1 << 30)),
    r"tokenizer\.json: does not fit": lambda f: write_index(f, lambda i: i.update(vocab_size=301)),
    r"field dtype": lambda f: write_index(f, lambda i: i.update(dtype="object")),
    r"no tokens to learn from": lambda f: write_index(f, lambda i: i.update(train=[])),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_refused_by_name(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    small_shards(monkeypatch, 6000)
    folder = tmp_path / "tokens"
    prepare_tokens([books], folder, vocab_size=300)
    (tmp_path / "run").mkdir()
    DAMAGES[message](folder)
    with pytest.raises(OpenbookError, match=message):
        open_prepared(folder, tmp_path / "run")


def test_a_run_checks_the_tokens_once(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_tokens([books], tmp_path / "tokens", vocab_size=300)
    open_prepared(tmp_path / "tokens", tmp_path)
    monkeypatch.setattr(prepared_tokens, "_check_shard", None)
    open_prepared(tmp_path / "tokens", tmp_path)
    os.utime(tmp_path / "tokens/train-00000.tokens", ns=(0, 0))
    with pytest.raises(TypeError):
        open_prepared(tmp_path / "tokens", tmp_path)


@pytest.mark.parametrize("mmaps", [2, 256])
def test_training_on_prepared_tokens_is_training_on_the_files(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmaps: int
) -> None:
    choices = TINY | {"document_mask": True, "steps": 4}
    openbook.train(books, tmp_path / "files.openbook", device="cpu", validation_fraction=0.1, vocab_size=300, **choices)
    small_shards(monkeypatch)
    monkeypatch.setattr(token_shards, "OPEN_SHARDS", mmaps)
    prepare_tokens([books], tmp_path / "tokens", vocab_size=300, validation_fraction=0.1)
    model = openbook.train(tokens=tmp_path / "tokens", output=tmp_path / "it.openbook", device="cpu", **choices)
    assert model.metadata.training["data"][0]["name"] == "tokens"
    first, second = (load_file(tmp_path / f"{name}.openbook") for name in ("files", "it"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_was_decided_before_is_refused(books: Path, tmp_path: Path) -> None:
    prepare_tokens([books], tmp_path / "tokens", vocab_size=300)

    def refused(message: str, **options: Any) -> None:
        with pytest.raises(OpenbookError, match=message):
            openbook.train(tokens=tmp_path / "tokens", output=tmp_path / "it.openbook", **options)

    refused("vocab_size: was decided", vocab_size=500)
    refused("validation_fraction: was decided", validation_fraction=0.1)
    refused("one of these", inputs=books)
    refused("leave out pairs, conversations and tiny", tiny=True)
    other = openbook.train(books, tmp_path / "other.openbook", device="cpu", vocab_size=310, **TINY)
    refused("its tokens are not those of", base_model=tmp_path / "other.openbook")
    prepare_tokens([books], tmp_path / "like", base=other.metadata)
    tuned = openbook.train(
        tokens=tmp_path / "like", output=tmp_path / "tuned.openbook", base_model=tmp_path / "other.openbook",
        device="cpu", steps=2, batch_tokens=64, context=16,
    )  # fmt: skip
    assert tuned.tokenizer.fingerprint == other.tokenizer.fingerprint


def test_a_folder_with_other_files_is_left_alone(books: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(OpenbookError, match="has files that are no tokens"):
        prepare_tokens([books], tmp_path / "mine")
    with pytest.raises(OpenbookError, match=r"holds the input .*0\.txt"):
        prepare_tokens([books], books)
    with pytest.raises(OpenbookError, match="cannot be made"):
        prepare_tokens([books], tmp_path / "no/such")
    with pytest.raises(OpenbookError, match="processes 0"):
        prepare_tokens([books], tmp_path / "new", processes=0)
    assert (tmp_path / "mine/thesis.txt").read_text() == "mine"
