from hypothesis import given
from hypothesis import strategies as st

from openbook.text.corpus import chunking
from openbook.text.corpus.chunking import paragraph_chunks, token_safe_chunks

TEXT = st.text(st.sampled_from("ab.\n \té猫"), max_size=300)


@given(st.lists(TEXT), st.integers(1, 50))
def test_whole_paragraphs_loses_nothing_and_cuts_after_blank_lines(parts: list[str], size: int) -> None:
    found = list(paragraph_chunks(parts, size))
    assert "".join(found) == "".join(parts)
    assert all(chunk.endswith("\n\n") for chunk in found[:-1])


def test_endless_paragraphs_are_cut() -> None:
    line = "word " * 199_999 + "\n"
    found = list(paragraph_chunks([line] * 10))
    assert "".join(found) == line * 10
    assert max(map(len, found)) <= chunking.MAXIMUM_PARAGRAPH + len(line)
    assert all(chunk.endswith("\n") for chunk in found)


@given(st.lists(TEXT), st.integers(1, 50))
def test_token_safe_loses_nothing(parts: list[str], size: int) -> None:
    assert "".join(token_safe_chunks(parts, size)) == "".join(parts)


def test_token_safe_cuts_before_words() -> None:
    found = list(token_safe_chunks(["some words. and more\n" * 50_000], 1000))
    assert len(found) > 900
    assert all(chunk[0] == " " and chunk[1] != " " for chunk in found[1:])
    assert max(len(chunk) for chunk in token_safe_chunks(["x" * 10**6], 1000)) <= 1000 + chunking.SEARCH_WINDOW
