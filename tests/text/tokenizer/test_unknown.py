"""What tokens do not spell is counted in bytes and named, whatever the kind of vocabulary."""

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers

from openbook.text.tokenizer.special_tokens import END, UNKNOWN, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.text.tokenizer.unknown import UnknownCounter, token_lengths

ENGLISH = "The keeper counted the boats, and the boats were blue. "
RUSSIAN = "Смотритель считал лодки."


def counted(tokenizer, text):
    counter = UnknownCounter(tokenizer)
    return counter.count(text, tokenizer.encode(text)), counter


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_foreign_text_is_unknown_but_for_what_is_shared(kind):
    tokenizer = train_tokenizer([ENGLISH * 3], kind, 400)
    unknown, counter = counted(tokenizer, RUSSIAN)
    letters = sum(not character.isascii() for character in RUSSIAN)
    if kind == "characters":
        assert unknown == (letters, 2 * letters)
    else:
        assert unknown == (3, 2 * letters + 2)  # with the blanks before two of the words
        assert "'Смотритель' 1" in counter.most_common()
    assert counted(tokenizer, ENGLISH)[0] == (0, 0)


def test_bytes_know_everything():
    for kind in ("bpe", "bytes", "unigram"):
        assert counted(train_tokenizer([ENGLISH], kind, 600), RUSSIAN)[0] == (0, 0)


def sentencepiece_like(**options):
    """Pieces with a mark for blanks and one token for any run of what is missing, as imported tokenizers may have."""
    pieces = [
        (UNKNOWN, 0.0),
        (END, 0.0),
        ("▁the", -1.0),
        ("▁", -2.0),
        ("b", -3.0),
        ("o", -3.0),
        ("a", -3.0),
        ("t", -3.0),
    ]
    backend = Backend(models.Unigram(pieces, unk_id=0, **options))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens([UNKNOWN, END])
    return Tokenizer(backend, SpecialTokens(end=(1,), unknown=0))


def test_a_run_of_unknown_characters_counts_all_its_bytes():
    tokenizer = sentencepiece_like()
    assert counted(tokenizer, "the boat")[0] == (0, 0)
    unknown, counter = counted(tokenizer, "The лодка boat")
    assert unknown.bytes == len("лодка".encode()) and unknown.tokens >= 1
    assert "лодка" in counter.most_common()


def test_characters_that_are_left_out_silently_count_too():
    backend = Backend(models.BPE({"a": 0, "b": 1, END: 2}, []))  # no token for what is missing
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([END])
    tokenizer = Tokenizer(backend, SpecialTokens(end=(2,)))
    assert tokenizer.encode("aжb") == [0, 1]
    assert counted(tokenizer, "aжb")[0] == (0, 2)
    assert token_lengths(tokenizer).tolist() == [1, 1, 0]
