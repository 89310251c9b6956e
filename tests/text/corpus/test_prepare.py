import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus import extraction, process_pool
from openbook.text.corpus import prepare as prepare_module
from openbook.text.corpus import write_corpus as write_module
from openbook.text.corpus.corpus import Corpus, Split
from openbook.text.corpus.prepare import prepare
from openbook.text.corpus.splitting import choose_validation_fraction
from text.text_examples import make_epub, make_pdf, prose, words


def text_of(split: Split) -> str:
    text = split.path.read_bytes().decode()
    assert "".join(split.chunks()) == text
    assert len(text.encode()) == split.bytes
    return text


def texts(corpus: Corpus) -> tuple[str, str]:
    check_index(corpus.train)
    check_index(corpus.validation)
    return text_of(corpus.train), text_of(corpus.validation)


def check_index(split: Split) -> None:
    """Documents lie end to end, chapters too."""
    place = 0
    for document in split.documents:
        assert document.start == place < document.end
        starts = [chapter.start for chapter in document.chapters]
        assert starts[0] == document.start
        assert starts == sorted(set(starts))
        assert starts[-1] < document.end
        place = document.end
    assert place == split.bytes


def test_the_tail_of_each_document_is_held_out(tmp_path: Path) -> None:
    first, second = prose(100, 1), prose(50, 2)
    (tmp_path / "a.txt").write_text(first)
    (tmp_path / "b.txt").write_text(second)
    corpus = prepare([tmp_path], tmp_path / "corpus", validation_fraction=0.1)
    train, validation = texts(corpus)
    ends = [document.end for document in corpus.train.documents]
    starts = [document.start for document in corpus.validation.documents]
    assert train[: ends[0]] + validation[: starts[1]] == first
    assert train[ends[0] :] + validation[starts[1] :] == second
    assert 0.08 < len(validation) / len(train + validation) <= 0.1
    assert validation[: starts[1]].endswith("\n")
    assert train.endswith("\n\n")  # whole paragraphs
    assert [Path(document.source).name for document in corpus.validation.documents] == ["a.txt", "b.txt"]


def test_many_short_documents_give_the_right_share_together(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.txt").write_text(prose(5, number))
    corpus = prepare([tmp_path], tmp_path / "corpus", validation_fraction=0.1)
    texts(corpus)
    assert 0.09 < corpus.validation.bytes / corpus.bytes <= 0.1


@pytest.mark.parametrize("text", [words(5000).replace(" ", "\n"), words(5000)])
def test_text_without_paragraphs_is_split_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    corpus = prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation_fraction=0.1)
    train, validation = texts(corpus)
    assert train + validation == text
    assert 0.09 < len(validation) / len(text) < 0.11


def test_no_share(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(20))
    corpus = prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation_fraction=0)
    assert texts(corpus) == (prose(20), "")
    with pytest.raises(OpenbookError, match=r"from 0 to 0\.5"):
        prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation_fraction=0.6)
    assert choose_validation_fraction(10**5) == 0.1
    assert choose_validation_fraction(10**10) == 0.001


def test_given_validation_files_stay_byte_for_byte(tmp_path: Path) -> None:
    shared, end = words(50, 77), "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\n"
    held_out = f"{prose(5, 1)}\n\n{shared}\n\n{shared}\n\n{end}  odd   spaces\t\n\n\n"
    (tmp_path / "train.txt").write_text(f"{prose(30, 2)}\n{shared}\n\nlast words")
    (tmp_path / "held out.txt").write_text(held_out)
    corpus = prepare([tmp_path / "train.txt"], tmp_path / "corpus", validation=[tmp_path / "held out.txt"])
    train, validation = texts(corpus)
    assert validation == held_out
    assert train == f"{prose(30, 2)}\nlast words"
    assert corpus.report.exact_passages == 1


def test_duplicates_are_removed_before_the_split_and_reported(tmp_path: Path) -> None:
    once, twice = prose(40, 1), words(60, 99)
    (tmp_path / "a.txt").write_text(f'{once}\n{twice}\n\n"Yes."\n\n"Yes."\n')
    (tmp_path / "b.txt").write_text(f"{twice}\n\n{prose(40, 2)}")
    corpus = prepare([tmp_path], tmp_path / "corpus")
    assert "".join(texts(corpus)).count(twice) == 1
    assert "".join(texts(corpus)).count('"Yes."') == 2
    assert corpus.report.exact_passages == 1
    assert corpus.report.exact_bytes == len(twice) + 2
    assert any("Removed 1 passage" in line for line in corpus.report.lines())
    kept = prepare([tmp_path / "*.txt"], tmp_path / "corpus", keep_duplicates=True)
    assert "".join(texts(kept)).count(twice) == 2


def test_a_copy_of_a_book_is_left_out_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(40, 1) + '\n"Yes."\n')
    (tmp_path / "b.txt").write_text(prose(40, 1) + '\n"Yes."\n')
    corpus = prepare([tmp_path], tmp_path / "corpus", validation_fraction=0)
    assert texts(corpus)[0].count('"Yes."') == 1
    assert "b.txt: every passage of it occurs in other files" in corpus.report.problems[0]


def test_all_formats_and_problems_in_one_folder(tmp_path: Path) -> None:
    books = tmp_path / "books"
    books.mkdir()
    chapter = "<h1>Chapter {0}</h1>" + "".join(f"<p>{words(60, 900 + i)}</p>" for i in range(20))
    make_epub(books / "a.epub", {"1.xhtml": chapter.format(1), "2.xhtml": chapter.format(2).replace("e ", "y ")})
    make_pdf(books / "b.pdf", ["A page with enough text to be worth a mention.", "Another one."])
    (books / "c.html").write_text(f"<h2>Loomings</h2><p>{words(80, 5)}</p>")
    (books / "d.md").write_text(f"# Whales\n\n{words(80, 6)}\n")
    header = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n"
    (books / "e.unknown").write_text(f"Project Gutenberg\n\n{header}{prose(5, 7)}")
    (books / "f.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\0")
    (books / "g.txt").touch()
    (books / "h.txt").write_text("short")
    (books / "i.txt").write_text(" \n" * 100)
    (books / "j.txt").symlink_to(books / "j.txt")
    corpus = prepare([books], tmp_path / "corpus")
    texts(corpus)
    report = json.loads((tmp_path / "corpus/report.json").read_text())
    assert [Path(file["source"]).name[0] for file in report["files"]] == list("abcdeh")
    assert [file["encoding"] for file in report["files"]] == ["epub", "pdf", "utf-8", "utf-8", "utf-8", "utf-8"]
    assert report["files"][4]["gutenberg_characters"] > 50
    titles = [chapter.title for chapter in corpus.train.documents[0].chapters]
    assert titles == ["Chapter 1", "Chapter 2"]
    assert [Path(line.partition(":")[0]).name for line in corpus.report.problems] == [
        "f.jpg",
        "g.txt",
        "i.txt",
        "j.txt",
    ]
    assert "\0" not in "".join(texts(corpus))


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(OpenbookError, match=r"no text to train on \(.*empty\.txt: empty"):
        prepare([tmp_path / "empty.txt"], tmp_path / "corpus")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(OpenbookError, match="name some books"):
        prepare([tmp_path / "nothing"], tmp_path / "corpus")
    (tmp_path / "a.txt").write_text(prose(3))
    with pytest.raises(OpenbookError, match="no text to validate with"):
        prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation=[tmp_path / "empty.txt"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(prose(30))
    (tmp_path / "file").touch()
    with pytest.raises(OpenbookError, match=r"file: .*choose another folder"):
        prepare([tmp_path / "a.txt"], tmp_path / "file")
    if Path("/dev/full").exists():

        def full(path: Path, content: object) -> None:
            with Path("/dev/full").open("w") as file:
                file.write("x")

        monkeypatch.setattr(write_module, "write_json", full)
        with pytest.raises(OpenbookError, match=r"corpus: No space left on device; make room"):
            prepare([tmp_path / "a.txt"], tmp_path / "corpus")


def test_finished_work_is_found_and_changes_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = tmp_path / "a.txt"
    book.write_text(prose(30))
    first = prepare([book], tmp_path / "corpus")
    assert not list((tmp_path / "corpus").glob("work-*"))
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "run_tasks", None)  # nothing is run
        assert prepare([book], tmp_path / "corpus") == first
    assert prepare([book], tmp_path / "corpus", validation_fraction=0.2).validation.bytes > first.validation.bytes
    book.write_text(prose(31))
    assert prepare([book], tmp_path / "corpus").bytes > first.bytes
    (tmp_path / "corpus/train.txt").write_text("cut")
    assert prepare([book], tmp_path / "corpus").bytes == len(prose(31))


def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "TASK_BYTES", 20_000)
    monkeypatch.setattr(extraction, "paragraph_chunks", lambda chunks: paragraph_lines(chunks))


def paragraph_lines(chunks):
    from openbook.text.corpus.chunking import paragraph_chunks

    return paragraph_chunks((line for chunk in chunks for line in chunk.splitlines(keepends=True)), 5_000)


def make_library(folder: Path) -> None:
    folder.mkdir()
    for number in range(6):
        repeated = "\n\n".join(words(60, 7_000 + seed) for seed in range(3))
        (folder / f"{number}.txt").write_text(f"Chapter 1\n\n{prose(40 * (number + 1), number)}\n{repeated}\n\nend.\n")


def test_an_interrupted_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_library(tmp_path / "books")
    whole = prepare([tmp_path / "books"], tmp_path / "whole")
    assert whole.report.exact_passages == 15
    small_tasks(monkeypatch)
    assert texts(prepare([tmp_path / "books"], tmp_path / "units")) == texts(whole)

    class StoppedError(Exception):
        pass

    done: list[str] = []
    runs = 0

    def stopping(function, allowed):
        def call(task, advance):
            if len(done) >= allowed:
                raise StoppedError
            assert str(task.result) not in done
            function(task, advance)
            done.append(str(task.result))

        return call

    real_run = process_pool.run_tasks
    while True:
        runs += 1
        allowed = len(done) + 3
        run = lambda function, *rest, allowed=allowed: real_run(stopping(function, allowed), *rest)  # noqa: E731
        monkeypatch.setattr(prepare_module, "run_tasks", run)
        try:
            corpus = prepare([tmp_path / "books"], tmp_path / "stopped")
            break
        except StoppedError:
            pass
    assert runs > 4
    assert texts(corpus) == texts(whole)
    assert corpus.report == whole.report


def test_worker_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_library(tmp_path / "books")
    whole = prepare([tmp_path / "books"], tmp_path / "whole")
    monkeypatch.setattr(prepare_module, "TASK_BYTES", 100_000)
    total, advanced = 0, 0

    @contextmanager
    def track(description, amount):
        nonlocal total
        total += amount

        def advance(step):
            nonlocal advanced
            advanced += step

        yield advance

    corpus = prepare([tmp_path / "books"], tmp_path / "parallel", processes=2, track=track)
    assert texts(corpus) == texts(whole)
    assert advanced == total


@pytest.mark.parametrize("seconds", [0.25, 0.6])
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    make_library(tmp_path / "books")
    monkeypatch.setattr(prepare_module, "TASK_BYTES", 20_000)  # as in the script
    script = (
        "import sys; from openbook.text.corpus import prepare as p; p.TASK_BYTES = 20_000; from pathlib import Path\n"
        "while True:\n  p.prepare([sys.argv[1]], Path(sys.argv[2])); (Path(sys.argv[2]) / 'corpus.json').unlink()"
    )
    killed = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "books"), str(tmp_path / "corpus")])
    time.sleep(seconds + random.random() / 10)
    killed.kill()
    killed.wait()
    assert texts(prepare([tmp_path / "books"], tmp_path / "corpus")) == texts(
        prepare([tmp_path / "books"], tmp_path / "whole")
    )


def test_sample_is_bounded_and_spread(tmp_path: Path) -> None:
    text = "".join(f"é{number:07}\n" for number in range(500_000))
    path = tmp_path / "a.txt"
    path.write_text(text)
    split = Split(path, path.stat().st_size, ())
    assert "".join(split.sample(10**9)) == text
    sample = list(split.sample(3 << 20))
    assert sum(len(piece.encode()) for piece in sample) <= 3 << 20
    assert all(piece in text for piece in sample)
    assert [int(piece.split("\n")[1][1:]) // 100_000 for piece in sample] == [0, 1, 2]


def test_expectations(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(70))
    sentence = prepare([tmp_path / "a.txt"], tmp_path / "corpus", validation_fraction=0).expectations()
    assert sentence is not None
    assert sentence.startswith("27 KB of training text: enough to learn spelling and a few phrases, not to")
    large = Corpus(tmp_path, "", Split(tmp_path, 10**8, ()), Split(tmp_path, 0, ()), None)
    assert large.expectations() is None


MEMORY = """
import resource, sys, time
from pathlib import Path
from openbook.text.corpus.prepare import prepare
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.data.book_tokens import tokenize_books
folder, start = Path(sys.argv[1]), time.monotonic()
corpus = prepare([folder / "big.txt"], folder / "corpus", processes=1)
prepared = time.monotonic()
tokens = tokenize_books(corpus, train_tokenizer(corpus.train.sample(1 << 20)), folder / "tokens")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(peak, corpus.bytes, len(tokens.train.ids), prepared - start, time.monotonic() - prepared)
"""


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    generator = random.Random(1)
    vocabulary = words(20_000).split() + [f"word{number}" for number in range(20_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    with (tmp_path / "big.txt").open("w") as file:
        while file.tell() < 110_000_000:
            paragraph = generator.choices(vocabulary, cum_weights=weights, k=10_000)
            file.writelines(" ".join(paragraph[i : i + 100]) + "\n\n" for i in range(0, 10_000, 100))
    output = subprocess.check_output([sys.executable, "-c", MEMORY, str(tmp_path)], text=True)
    print(output)
    peak, size, *_ = output.split()
    assert int(size) == (tmp_path / "big.txt").stat().st_size
    assert int(peak) < 500
