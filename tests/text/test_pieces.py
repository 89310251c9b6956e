from hypothesis import given
from hypothesis import strategies as st

from openbook.text.corpus import chunking as pieces
from openbook.text.corpus.chunking import token_safe, whole_paragraphs

TEXT = st.text(st.sampled_from("ab.\n \té猫"), max_size=300)


@given(st.lists(TEXT), st.integers(1, 50))
def test_whole_paragraphs_loses_nothing_and_cuts_after_blank_lines(parts: list[str], size: int) -> None:
    found = list(whole_paragraphs(parts, size))
    assert "".join(found) == "".join(parts)
    assert all(piece.endswith("\n\n") for piece in found[:-1])


def test_endless_paragraphs_are_cut() -> None:
    line = "word " * 199_999 + "\n"
    found = list(whole_paragraphs([line] * 10))
    assert "".join(found) == line * 10
    assert max(map(len, found)) <= pieces.LONGEST_PARAGRAPH + len(line)
    assert all(piece.endswith("\n") for piece in found)


@given(st.lists(TEXT), st.integers(1, 50))
def test_token_safe_loses_nothing(parts: list[str], size: int) -> None:
    assert "".join(token_safe(parts, size)) == "".join(parts)


def test_token_safe_cuts_before_words() -> None:
    found = list(token_safe(["some words. and more\n" * 50_000], 1000))
    assert len(found) > 900
    assert all(piece[0] == " " and piece[1] != " " for piece in found[1:])
    assert max(len(piece) for piece in token_safe(["x" * 10**6], 1000)) <= 1000 + pieces.REACH
