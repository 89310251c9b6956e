"""Files of pairs of every kind, whole and damaged: what is kept, what is left out and why, and what is refused."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.lines import LONGEST_LINE, InvalidLine
from openbook.training.data import pair_corpus as module
from openbook.training.data.pair_corpus import prepare_pairs
from openbook.training.data.pair_files import PairFile, clean_pair, find_pair_files, read_pairs
from openbook.training.data.pair_formats import Pair

MANY = [(f"the {number} bird sings", f"der {number}. Vogel singt") for number in range(200)]


def tsv(path, pairs):
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8", newline="")
    return path


def read(*paths):
    return [found for file in find_pair_files(paths) for _, found in read_pairs(file)]


def test_all_kinds_of_files_give_the_same_pairs(tmp_path):
    expected = [Pair("Good day", "Guten Tag"), Pair("Müller’s\u2028line", "größer")]
    (tmp_path / "a.tsv").write_text("".join(f"{s}\t{t}\tCC-BY someone\n" for s, t in expected), "utf-8", newline="")
    (tmp_path / "b.txt").write_text("\n".join(f"{s}\t{t}" for s, t in expected), "utf-8-sig", newline="\r\n")
    (tmp_path / "c.en").write_text("".join(s + "\n" for s, _ in expected), "utf-16")
    (tmp_path / "c.de").write_text("".join(t + "\n" for _, t in expected), "utf-8")
    objects = [{"target": expected[0].target, "source": expected[0].source, "id": "7"}, list(expected[1])]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, objects)))
    nested = [{"translation": {"en": s, "de": t}, "id": 3} for s, t in expected]
    (tmp_path / "e.json").write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in nested), "utf-8")
    for names in (["a.tsv"], ["b.txt"], ["c.en", "c.de"], ["d.jsonl"], ["e.json"]):
        assert read(*(tmp_path / name for name in names)) == expected, names
    kinds = [file.kind for file in find_pair_files([tmp_path / n for n in ("c.en", "c.de", "a.tsv", "d.jsonl")])]
    assert kinds == ["aligned", "tabs", "json"]


def test_lines_of_another_encoding_are_read_and_broken_ones_passed_over(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("schön\tbeautiful\ngrün\tgreen\n".encode() + "größer\tbigger\n".encode("cp1252"))
    assert [pair.source for pair in read(path)[:2]] == ["schön", "grün"]
    path.write_bytes("übermäßig öde Äcker, größere Öfen\tx\n".encode() * 40 + b"a\xff\xfe\tb\n" + "ü\tü\n".encode())
    found = read(path)
    assert found[40] is InvalidLine.UNREADABLE and found[41] == Pair("ü", "ü")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{not json", InvalidLine.UNREADABLE),
        ("[" * 100_000, InvalidLine.UNREADABLE),
        ('"text"', InvalidLine.NO_PAIR),
        ('["a", "b", "c"]', InvalidLine.NO_PAIR),
        ('["a", 1]', InvalidLine.NO_PAIR),
        ('{"source": "a", "target": null}', InvalidLine.NO_PAIR),
        (r'["\ud800", "b"]', InvalidLine.UNREADABLE),
        ("", Pair("", "")),
    ],
)
def test_every_damaged_json_line_is_told_apart(tmp_path, line, fault):
    (tmp_path / "a.jsonl").write_text(f'{line}\n["good", "gut"]\n')
    assert read(tmp_path / "a.jsonl") == [fault, Pair("good", "gut")]


def test_endless_lines_are_not_held_in_memory(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n" + "x" * (3 * LONGEST_LINE) + "\nc\td\n")
    assert read(path) == [Pair("a", "b"), InvalidLine.TOO_LONG, Pair("c", "d")]
    path.write_text("a\tb\n" + "x" * (2 * LONGEST_LINE) + "\nc\td\n", "utf-16")
    assert read(path) == [Pair("a", "b"), InvalidLine.TOO_LONG, Pair("c", "d")]


def test_files_that_cannot_be_pairs_are_named(tmp_path):
    (tmp_path / "a.en").write_text("one\ntwo\nthree\n")
    (tmp_path / "a.de").write_text("eins\nzwei\n")
    with pytest.raises(OpenbookError, match=r"a\.en: has 3 lines and .*a\.de has 2"):
        read(tmp_path / "a.en", tmp_path / "a.de")
    with pytest.raises(OpenbookError, match=r"a\.en has 3|a\.de: has 2 lines and .*a\.en has 3"):
        read(tmp_path / "a.de", tmp_path / "a.en")
    with pytest.raises(OpenbookError, match=r"a\.en: has no tabs.*name the other"):
        read(tmp_path / "a.en")
    (tmp_path / "a.tsv").write_bytes(gzip.compress(b"a\tb\n" * 100))
    with pytest.raises(OpenbookError, match=r"a\.tsv: binary"):
        read(tmp_path / "a.tsv")
    for path in (tmp_path / "none.tsv", tmp_path / "none"):
        with pytest.raises(OpenbookError, match=r"none.*cannot be read"):
            read(path)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (Pair(" \t", ""), "blank"),
        (Pair("a", " "), "one-sided"),
        (Pair("", "b"), "one-sided"),
        (Pair("a" * 61, "b"), "very unequal"),
        (Pair("b", "ä" * 30), "very unequal"),
        (Pair("a" * 10_001, "b" * 10_001), "over-long"),
        (InvalidLine.NO_PAIR, "no two texts"),
        (Pair("a" * 55, "b"), Pair("a" * 55, "b")),
        (Pair(" a\tb\n", "\ufeffc\r\nd\xa0"), Pair("a b", "c d")),
    ],
)
def test_what_is_not_fit_is_dropped_for_its_reason(pair, reason):
    assert clean_pair(pair) == reason


@given(st.text(), st.text())
def test_a_pair_that_is_fit_stays_fit_and_is_a_line_of_a_file(source, target):
    try:
        (source + target).encode()
    except UnicodeEncodeError:
        return
    found = clean_pair(Pair(source, target))
    if isinstance(found, Pair):
        assert clean_pair(found) == found
        assert not set("\t\r\n") & set(found.source + found.target)


def test_a_report_says_what_was_dropped_and_where(tmp_path):
    lines = [("Hi", "Hallo"), ("", ""), ("Hi", "Hallo"), ("one", ""), ("x" * 400, "y"), ("Bye", "Tschüs")]
    corpus = prepare_pairs([tsv(tmp_path / "a.tsv", lines)], tmp_path / "text")
    assert len(corpus.train) == len(corpus.validation) == 1
    said = corpus.lines()[0]
    assert said.endswith("a.tsv: 2 pairs of 6 lines; left out 1 blank (first: line 2), 1 one-sided (first: line 4), "
                         "1 very unequal (first: line 5), 1 duplicate (first: line 3)")  # fmt: skip
    both = prepare_pairs([tmp_path / "a.tsv"], tmp_path / "text", keep_duplicates=True)
    assert len(both.train) + len(both.validation) == 3


def test_no_source_is_on_both_sides_whatever_the_order(tmp_path):
    pairs = MANY + [(source, target + "!") for source, target in MANY]
    corpus = prepare_pairs([tsv(tmp_path / "a.tsv", pairs)], tmp_path / "a")
    train, held_out = list(corpus.train.pairs()), list(corpus.validation.pairs())
    assert sorted(train + held_out) == sorted(Pair(*each) for each in pairs)
    assert len(held_out) == 40 and not {p.source for p in train} & {p.source for p in held_out}
    other = prepare_pairs([tsv(tmp_path / "b.tsv", pairs[::-1])], tmp_path / "b")
    assert set(other.validation.pairs()) == set(held_out)
    assert corpus.train.source_bytes == sum(len(p.source.encode()) for p in train)
    assert list(corpus.train.pairs(3, 5)) == train[3:5]
    half = prepare_pairs([tmp_path / "a.tsv"], tmp_path / "a", validation_fraction=0.5)
    assert len(half.validation) == 200


def test_files_to_validate_with_stay_whole_and_leave_the_training_pairs(tmp_path):
    held_out = [*MANY[:3], MANY[0]]
    tsv(tmp_path / "train.tsv", [*MANY, (MANY[1][0], "anders")]), tsv(tmp_path / "valid.tsv", held_out)
    corpus = prepare_pairs([tmp_path / "train.tsv"], tmp_path / "text", validation=[tmp_path / "valid.tsv"])
    assert [tuple(pair) for pair in corpus.validation.pairs()] == held_out
    assert [tuple(pair) for pair in corpus.train.pairs()] == MANY[3:]
    assert "3 duplicate (first: line 1), 1 also held out (first: line 201)" in corpus.lines()[1]


def test_what_is_prepared_is_found_again_and_made_again_when_it_changes(tmp_path, monkeypatch):
    path = tsv(tmp_path / "a.tsv", MANY)
    first = prepare_pairs([path], tmp_path / "text")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", None)
        assert prepare_pairs([path], tmp_path / "text").fingerprint == first.fingerprint
    (tmp_path / "text" / "pairs.tsv").write_text("damaged")
    assert list(prepare_pairs([path], tmp_path / "text").train.pairs()) == list(first.train.pairs())
    tsv(path, MANY[:100])
    assert len(prepare_pairs([path], tmp_path / "text").train) == 90
    assert {each.name for each in (tmp_path / "text").iterdir()} == {
        "pairs.tsv", "pairs.json", "train.npy", "validation.npy"}  # fmt: skip


def test_what_was_read_before_an_interruption_is_not_read_again(tmp_path, monkeypatch):
    paths = [tsv(tmp_path / f"{name}.tsv", [(f"{name} {s}", t) for s, t in MANY]) for name in "abc"]
    whole = prepare_pairs(paths, tmp_path / "whole")
    real, read_names = module._read, []

    def interrupted(task, advance):
        if task.file.name.endswith("c.tsv") and len(read_names) == 2:
            raise KeyboardInterrupt
        read_names.append(task.file.name[-5:])
        real(task, advance)

    monkeypatch.setattr(module, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_pairs(paths, tmp_path / "text")
    read_names.append("")
    again = prepare_pairs(paths, tmp_path / "text")
    assert read_names == ["a.tsv", "b.tsv", "", "c.tsv"]
    assert list(again.train.pairs()) == list(whole.train.pairs())
    assert again.reports == whole.reports


def test_many_cores_give_the_same(tmp_path):
    paths = [tsv(tmp_path / f"{name}.tsv", [(f"{name} {s}", t) for s, t in MANY]) for name in "ab"]
    one = prepare_pairs(paths, tmp_path / "one")
    two = prepare_pairs(paths, tmp_path / "two", processes=2)
    assert list(one.train.pairs()) == list(two.train.pairs())


@pytest.mark.parametrize(
    ("pairs", "words"),
    [([("a", "")], "no pairs to train on .*1 one-sided"), ([("a", "b")], "no pairs to validate with")],
)
def test_too_few_pairs_are_told(tmp_path, pairs, words):
    with pytest.raises(OpenbookError, match=words):
        prepare_pairs([tsv(tmp_path / "a.tsv", pairs)], tmp_path / "text")
    with pytest.raises(OpenbookError, match=r"validation_fraction 0\.9"):
        prepare_pairs([tmp_path / "a.tsv"], tmp_path / "text", validation_fraction=0.9)


def test_nothing_needs_to_be_held_out(tmp_path):
    corpus = prepare_pairs(
        [tsv(tmp_path / "a.tsv", [("a", "b"), ("c", "d")])], tmp_path / "text", validation_fraction=0
    )
    assert (len(corpus.train), len(corpus.validation)) == (2, 0)
    assert corpus.lines()[-1] == "2 pairs to learn from (4 bytes), none held out"


def test_expectations_are_honest(tmp_path):
    corpus = prepare_pairs([tsv(tmp_path / "a.tsv", MANY)], tmp_path / "text")
    assert corpus.expectations().startswith("180 training pairs: enough to try things out")


def test_a_pair_file_says_its_names(tmp_path):
    assert PairFile((tmp_path / "a.en", tmp_path / "a.de"), "aligned").name == f"{tmp_path}/a.en and {tmp_path}/a.de"
