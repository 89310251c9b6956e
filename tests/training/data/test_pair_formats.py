"""Pairs among columns, keys and quotes that are none."""

import io
import json
import os

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.lines import LONGEST_LINE, InvalidLine
from openbook.training.data.pair_corpus import prepare_pairs
from openbook.training.data.pair_files import find_pair_files, open_pairs, read_all_pairs
from openbook.training.data.pair_formats import Pair, TableLayout, pair_of, read_json_array

PAIRS = [Pair(f"the {number} bird sings", f"der {number}. Vogel singt") for number in range(30)]


def opened(path):
    (file,) = find_pair_files([path])
    notes, _, pairs = open_pairs(file)
    return notes, [pair for _, pair in pairs]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("item", [dict, list])
def test_a_json_array_is_read_item_by_item(tmp_path, indent, item):
    items = [{"source": s, "target": t} if item is dict else [s, t] for s, t in PAIRS]
    (tmp_path / "a.json").write_text(json.dumps(items, indent=indent))
    assert opened(tmp_path / "a.json") == ([], PAIRS)
    corpus = prepare_pairs([tmp_path / "a.json"], tmp_path / "text")
    assert corpus.lines()[0].endswith("a.json: 30 pairs of 30 items")


def test_an_array_may_be_larger_than_what_is_read_at_once_and_a_damaged_item_is_named():
    items = json.dumps([[source, "x" * 1000] for source, _ in PAIRS] * 70)
    assert len(items) > 2 * LONGEST_LINE
    assert len(list(read_json_array("a.json", io.StringIO(items)))) == 2100
    with pytest.raises(OpenbookError, match=r"a\.json: item 2,100 of the array is not JSON"):
        list(read_json_array("a.json", io.StringIO(items[:-5])))


def test_a_header_names_the_columns(tmp_path):
    rows = "".join(f"{number}\t{target}\t{source}\n" for number, (source, target) in enumerate(PAIRS))
    (tmp_path / "a.tsv").write_text("id\ttarget\tsource\n" + rows)
    notes, pairs = opened(tmp_path / "a.tsv")
    assert notes == ["the first line names the columns; 3 and 2 are read"]
    assert pairs == PAIRS
    assert TableLayout.of(["en\tpt_BR", "Hi\tOi"]).header
    assert TableLayout.of(["Source\tTarget"]).header
    assert not TableLayout.of(["Hi\tOi", "Bye\tTchau"]).header


@pytest.mark.parametrize(
    "row",
    [
        "{n}\t{s}\t{t}",
        "{n}\t{s}\t{n}\t{t}",
        "{s}\t0.5\t{t}",
        "news-{n}:7\t{s}\t{t}",
        "{n}\teng\t{s}\t{n}\tdeu\t{t}",
        "en\t{s}\tde\t{t}",
        "https://example.org/{n}\t{s}\t{t}",
    ],
)
def test_columns_of_numbers_are_left_out(tmp_path, row):
    lines = (row.format(n=number, s=source, t=target) for number, (source, target) in enumerate(PAIRS))
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    notes, pairs = opened(tmp_path / "a.tsv")
    assert pairs == PAIRS and "others hold numbers or names" in notes[0]
    assert TableLayout.of(["1\teins", "2\tzwei"]) == TableLayout()
    assert TableLayout.of(["cat\tchat\tanimal", "dog\tchien\tanimal", "cow\tvache\tanimal"]) == TableLayout()


def test_the_quotes_of_a_spreadsheet_are_undone_and_those_of_people_kept(tmp_path):
    spoken = [Pair(f'{source} said "yes"', target) for source, target in PAIRS]
    quoted = ("\t".join('"' + side.replace('"', '""') + '"' for side in pair) for pair in spoken)
    (tmp_path / "a.tsv").write_text("\n".join(quoted))
    assert opened(tmp_path / "a.tsv") == (["the quotes of a spreadsheet are undone"], spoken)
    people = [Pair('"Yes," he said. "No."', '"Ja", sagte er.'), Pair('"Yes"', '"Ja"')]
    (tmp_path / "b.tsv").write_text("\n".join("\t".join(pair) for pair in people))
    assert opened(tmp_path / "b.tsv") == ([], people)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"id": "s0", "en": "a", "xx": "b"}, Pair("a", "b")),
        ({"lang": "en-xx", "text": "a", "n": 1}, InvalidLine.NO_PAIR),
        ({"id": 1, "translation": {"en": "a", "xx": "b"}, "score": 0.5}, Pair("a", "b")),
        ({"url": "u", "english": "a", "german": "b"}, Pair("a", "b")),
        ({"tgt": "b", "src": "a", "domain": "c"}, Pair("a", "b")),
        ({"source": "a", "target": None, "en": "x", "de": "y"}, InvalidLine.NO_PAIR),
    ],
)
def test_the_sides_of_an_object_are_told_from_what_is_beside_them(content, found):
    assert pair_of(content) == found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_a_pipe_among_pairs_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(OpenbookError, match=r"pipe.tsv: is not a plain file"):
        prepare_pairs([tmp_path / "pipe.tsv"], tmp_path / "text")
    with pytest.raises(OpenbookError, match=r"pipe.tsv: is not a plain file"):
        read_all_pairs([tmp_path / "pipe.tsv"])


def test_a_guessed_encoding_is_named(tmp_path):
    text = "".join(f"the bird {n} is over there\tder Vogel {n} ist über der größeren Brücke\n" for n in range(30))
    (tmp_path / "a.tsv").write_bytes(text.encode("cp1252"))
    note = "guessed the encoding: cp1252 (sure); --encoding settles it"
    corpus = prepare_pairs([tmp_path / "a.tsv"], tmp_path / "text")
    assert corpus.lines()[0].endswith(f"a.tsv: 30 pairs of 30 lines; {note}")
    pairs, skipped, notes = read_all_pairs([tmp_path / "a.tsv"])
    assert (pairs[3].target, skipped) == ("der Vogel 3 ist über der größeren Brücke", 0)
    assert notes == [f"{tmp_path / 'a.tsv'}: {note}"]
    assert read_all_pairs([tmp_path / "a.tsv"], "windows-1252")[2] == []


def test_pairs_to_score_are_cleaned_as_those_to_learn(tmp_path):
    (tmp_path / "a.tsv").write_text(" one \t\xa0eins\xa0\r\ntwo\tzwei\u2028drei\n \t \n")
    assert read_all_pairs([tmp_path / "a.tsv"])[:2] == ([Pair("one", "eins"), Pair("two", "zwei drei")], 1)
