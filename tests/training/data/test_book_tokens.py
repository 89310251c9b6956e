import json
from pathlib import Path

import numpy as np
import pytest

from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.prepare import prepare
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import TokenizerType, train_tokenizer
from openbook.text.tokenizer.unknown import UnknownCounter
from openbook.training.data import book_tokens, token_files
from openbook.training.data.book_tokens import TokenizedBooks, TokenizedSplit, tokenize_books
from text.text_examples import prose


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for number in range(3):
        chapters = "".join(f"    Chapter {i}\n\n“{prose(12, 10 * number + i)}”\n\n\n  é ☃!\n\n\n" for i in range(1, 5))
        (tmp_path / f"{number}.txt").write_text(chapters)
    return prepare([tmp_path / "*.txt"], tmp_path / "corpus", validation_fraction=0.2)


def as_lists(split: TokenizedSplit) -> tuple[object, ...]:
    return split.ids[:].tolist(), split.documents.tolist(), split.chapters.tolist(), split.text_bytes, split.unknown


def equal(first: TokenizedBooks, second: TokenizedBooks) -> bool:
    return as_lists(first.train) == as_lists(second.train) and as_lists(first.validation) == as_lists(second.validation)


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_tokens, "CHUNK_CHARACTERS", 50)
    monkeypatch.setattr(book_tokens, "PART_CHARACTERS", 2000)
    monkeypatch.setattr("openbook.text.corpus.chunking.SEARCH_WINDOW", 50)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters", "words"])
@pytest.mark.parametrize("small", [False, True])
def test_tokens_are_those_of_each_document_whole(
    corpus: Corpus, tmp_path: Path, kind: TokenizerType, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = train_tokenizer(corpus.train.sample(10**9), kind, 400)
    if small:
        small_parts(monkeypatch)
    tokens = tokenize_books(corpus, tokenizer, tmp_path / "tokens")
    for split, found in ((corpus.train, tokens.train), (corpus.validation, tokens.validation)):
        assert found.text_bytes == split.bytes
        assert len(found.documents) == len(split.documents) + 1
        assert found.documents[-1] == len(found.ids)
        chapter_starts = iter(found.chapters.tolist())
        for document, start, end in zip(split.documents, found.documents, found.documents[1:], strict=False):
            text = "".join(split.chunks(document.start, document.end))
            assert found.ids[start:end].tolist() == [*tokenizer.encode(text), tokenizer.end_id]
            for chapter in document.chapters:
                before = "".join(split.chunks(document.start, chapter.start))
                assert next(chapter_starts) == start + len(tokenizer.encode(before))
        assert next(chapter_starts, None) is None
        text = "".join(split.chunks())
        assert found.unknown == UnknownCounter(tokenizer).count(text, tokenizer.encode(text))
        assert (found.unknown.tokens > 0) <= (kind in ("characters", "words"))
    assert kind != "words" or tokens.validation.unknown.bytes > tokens.validation.unknown.tokens > 0


def test_token_files_are_small_and_mapped(corpus: Corpus, tmp_path: Path) -> None:
    tokens = tokenize_books(corpus, train_tokenizer([], "bytes", 257), tmp_path / "tokens")
    assert isinstance(tokens.train.ids, np.memmap)
    assert tokens.train.ids.dtype == np.uint16
    assert (tmp_path / "tokens/train-00000.tokens").stat().st_size == 2 * len(tokens.train.ids)
    assert len(tokens.train.ids) == corpus.train.bytes + len(corpus.train.documents)


def test_large_vocabularies_take_four_bytes(corpus: Corpus, tmp_path: Path) -> None:
    content = json.loads(train_tokenizer([], "bytes", 257).to_json())
    content["model"]["vocab"] |= {f"spare{number}": number for number in range(300, 70_000)}
    content["added_tokens"][0]["id"] = 299
    content["model"]["vocab"]["<|end|>"] = 299
    tokenizer = Tokenizer.from_json(json.dumps(content))
    assert tokenizer.vocab_size == 70_000
    assert tokenize_books(corpus, tokenizer, tmp_path / "tokens").train.ids.dtype == np.uint32


def test_an_empty_split_has_no_tokens(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(3))
    corpus = prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation_fraction=0)
    tokens = tokenize_books(corpus, train_tokenizer([], "bytes", 257), tmp_path / "tokens")
    assert as_lists(tokens.validation) == ([], [0], [], 0, (0, 0))
    assert as_lists(tokenize_books(corpus, train_tokenizer([], "bytes", 257), tmp_path / "tokens").validation)[0] == []


def test_interrupted_anywhere_it_goes_on(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_tokenizer(corpus.train.sample(10**9), "bpe", 300)
    whole = tokenize_books(corpus, tokenizer, tmp_path / "whole")
    small_parts(monkeypatch)
    save, parts = token_files.write_json, 0

    def stopping(path: Path, content: object) -> None:
        nonlocal parts
        parts += 1
        if parts % 2:  # after the tokens were written, before that was noted
            raise KeyboardInterrupt
        save(path, content)

    monkeypatch.setattr(token_files, "write_json", stopping)
    for _ in range(1000):
        try:
            tokens = tokenize_books(corpus, tokenizer, tmp_path / "stopped")
            break
        except KeyboardInterrupt:
            pass
    assert parts > 10
    assert equal(tokens, whole)

    monkeypatch.setattr(book_tokens.WordEncoder, "encode_batch", None)  # all is found done
    assert equal(tokenize_books(corpus, tokenizer, tmp_path / "stopped"), whole)


def test_other_text_or_another_tokenizer_starts_anew(corpus: Corpus, tmp_path: Path) -> None:
    first, second = (train_tokenizer(corpus.train.sample(10**9), "bpe", size) for size in (300, 400))
    tokenize_books(corpus, first, tmp_path / "tokens")
    again = tokenize_books(corpus, second, tmp_path / "tokens")
    fresh = tokenize_books(corpus, second, tmp_path / "fresh")
    assert equal(again, fresh)
    (tmp_path / "tokens/train-00000.tokens").write_bytes(b"xx")  # cut short
    assert equal(tokenize_books(corpus, second, tmp_path / "tokens"), fresh)
