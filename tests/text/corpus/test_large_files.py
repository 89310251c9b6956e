"""A large file read in pieces gives what it gives in one: text, chapters, duplicates and report."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.text.corpus import pieces
from openbook.text.corpus import prepare as prepare_module
from openbook.text.corpus.cleaning.gutenberg import GutenbergStripper, strip_gutenberg
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.extraction import FileBatch
from openbook.text.corpus.prepare import prepare
from openbook.text.corpus.readers.document import RawDocument
from openbook.text.corpus.readers.encodings import Encoding
from text.text_examples import prose, words

START = "*** START OF THE PROJECT GUTENBERG EBOOK {0} ***\n\n"
END = "\n\n*** END OF THE PROJECT GUTENBERG EBOOK {0} ***\n\nLicence {0}.\n\n"


def content(corpus: Corpus) -> tuple[object, ...]:
    texts = tuple("".join(split.chunks()) for split in (corpus.train, corpus.validation))
    return texts, corpus.train.documents, corpus.validation.documents, corpus.report


def in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> list[int]:
    """Make pieces small; gives how many each file had, once it is read."""
    counts: list[int] = []
    join = pieces.join_pieces

    def counting(file: pieces.FileInPieces, advance: object) -> None:
        counts.append(len(file.pieces()))
        join(file, advance)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare_module, "TASK_BYTES", size)
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    monkeypatch.setattr(prepare_module, "join_pieces", counting)
    return counts


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1252"])
def test_pieces_give_the_same_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str, encoding: str
) -> None:
    book = "".join(f"Chapter {number}\n\n{prose(20, number)}\n\ncafé “déjà”\n\n" for number in range(1, 12))
    book += f"{prose(20, 3)}\n\nThe end."  # a chapter again
    text = f"A file of books\n\n{START.format(1)}{book}{END.format(1)}{START.format(2)}{prose(40, 77)}{END.format(2)}"
    (tmp_path / "a.txt").write_bytes(text.replace("\n", newline).encode(encoding))
    (tmp_path / "b.txt").write_text(prose(10, 5))  # a copy
    whole = prepare([tmp_path / "*.txt"], tmp_path / "whole")
    assert whole.report.exact_passages > 10
    for size in (1000, 3001, 10_000):
        counts = in_pieces(monkeypatch, size)
        assert content(prepare([tmp_path / "*.txt"], tmp_path / str(size))) == content(whole)
        assert counts and max(counts) > 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([*"abé", "\n", "\n\n", "\n \n", START, END, "gutenberg"]), max_size=80), st.integers(1, 50)
)
def test_any_text_and_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[str], size: int) -> None:
    book = tmp_path / "a.txt"
    book.write_text(f"{START}{words(40)}{END}{START}{''.join(parts)}{START}{words(40, 2)}")
    with monkeypatch.context() as patch:
        whole = prepare([book], tmp_path / "whole", validation_fraction=0)
        in_pieces(patch, size)
        cut = prepare([book], tmp_path / "cut", validation_fraction=0)
    assert "".join(cut.train.chunks()) == "".join(whole.train.chunks())
    (tmp_path / "whole/corpus.json").unlink()
    (tmp_path / "cut/corpus.json").unlink()


def test_a_stripper_goes_on_where_another_stopped() -> None:
    lines = (prose(2, 1) + END.format(1) + "between\n" + START.format(2) + prose(2, 2)).splitlines(keepends=True)
    whole = "".join(strip_gutenberg(iter(lines)))
    for cut in range(len(lines) + 1):
        first = GutenbergStripper()
        before = "".join(first.strip(lines[:cut]))
        assert before + "".join(GutenbergStripper(first.inside).strip(lines[cut:], beginning=False)) == whole


def test_what_cannot_be_cut_is_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wide.txt").write_text(prose(30), encoding="utf-16")
    (tmp_path / "endless.txt").write_text(words(3000, 5))
    counts = in_pieces(monkeypatch, 5000)
    corpus = prepare([tmp_path / "*.txt"], tmp_path / "corpus", validation_fraction=0)
    assert counts == []
    assert "".join(corpus.train.chunks()) == words(3000, 5) + prose(30)


def test_damage_is_found_as_in_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(prose(30))
    damaged = prose(30, 2).encode() + b"\n\n" + 100 * b"\0 a" + b"\n\n" + prose(60, 3).encode()
    (tmp_path / "b.txt").write_bytes(damaged)
    (tmp_path / "c.txt").write_text("\n \n" * 5000)
    (tmp_path / "d.txt").write_bytes(b"\0\1\n\n" * 5000)
    whole = prepare([tmp_path / "*.txt"], tmp_path / "whole")
    in_pieces(monkeypatch, 2000)
    assert content(prepare([tmp_path / "*.txt"], tmp_path / "cut")) == content(whole)
    assert whole.report.files[1].replaced_characters == 100
    assert ["no text" in whole.report.problems[0], "binary" in whole.report.problems[1]] == [True, True]


def test_an_error_in_one_piece_leaves_the_file_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(prose(30))
    (tmp_path / "b.txt").write_text(prose(60, 2))
    in_pieces(monkeypatch, 4000)
    read = pieces.read_piece

    def failing(path: Path, encoding: Encoding, span: tuple[int, int]) -> RawDocument:
        if path.name == "b.txt" and span[0] > 8000:
            raise OpenbookError(f"{path}: Input/output error; check the file and its permissions")
        return read(path, encoding, span)

    monkeypatch.setattr(pieces, "read_piece", failing)
    corpus = prepare([tmp_path / "*.txt"], tmp_path / "corpus", validation_fraction=0)
    assert "".join(corpus.train.chunks()) == prose(30)
    assert [problem.rpartition("/")[2] for problem in corpus.report.problems] == [
        "output error; check the file and its permissions"
    ]


def test_interrupted_at_any_task_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(prose(60, number) + prose(5, 0))
    in_pieces(monkeypatch, 4000)
    whole = prepare([tmp_path / "*.txt"], tmp_path / "whole")
    for name in ("find_pieces", "_extract_part", "join_pieces", "fingerprint_section"):
        real, done = getattr(prepare_module, name), 0

        def stopping(*arguments: object) -> None:
            nonlocal done
            done += 1
            if done == 3:
                raise KeyboardInterrupt
            real(*arguments)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(prepare_module, name, stopping)
            with pytest.raises(KeyboardInterrupt):
                prepare([tmp_path / "*.txt"], tmp_path / name)
        again = prepare([tmp_path / "*.txt"], tmp_path / name)
        assert content(again) == content(whole)


def test_a_large_file_is_not_read_with_its_neighbours(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", prepare_module.TASK_BYTES), ("c", 10), ("d", 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    paths = [tmp_path / name for name in "abcd"]
    batches: list[FileBatch] = list(prepare_module._batches(paths, tmp_path, "training", None))
    assert [[path.name for path in batch.paths] for batch in batches] == [["a"], ["b"], ["c", "d"]]
