import json
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from openbook.errors import OpenbookError
from openbook.interop.gguf.pre_tokenizers import PRE_TOKENIZERS
from openbook.text.corpus.chunking import token_safe_chunks
from openbook.text.tokenizer.special_tokens import END, UNKNOWN, SpecialTokens
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer
from openbook.text.tokenizer.training import BPE_PATTERN, TokenizerType, choose_vocab_size, train_tokenizer
from openbook.text.tokenizer.unknown import UnknownCounter
from openbook.text.tokenizer.word_encoder import WordEncoder
from text.text_examples import prose

TEXT = prose(60, 3) + "Don’t stop: 123 “quotes” — naïve café, 猫 and  two\tspaces.\n\n\nEnd!\n" * 20
KINDS: tuple[TokenizerType, ...] = ("bpe", "bytes", "characters", "words")
TOKENIZERS = {kind: train_tokenizer([TEXT], kind, 600) for kind in KINDS}
LOSSLESS = [TOKENIZERS["bpe"], TOKENIZERS["bytes"]]

any_text = st.text(st.characters(exclude_categories=["Cs"]))
nasty_text = st.text(
    st.sampled_from("ab <|end|>\n\r\t \x00\x1c\x1f\x85\u2028\u00a0'sé\u0301猫😀\u200d.\"!12"), max_size=60
)


@given(any_text | nasty_text)
@example("")
@example("\0\r\n \ufeff<|end|><|unknown|>\U0010ffff")
def test_any_text_round_trips(text: str) -> None:
    for tokenizer in LOSSLESS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
        assert tokenizer.end_id not in ids
        assert UnknownCounter(tokenizer).count(text, tokenizer.encode(text)) == (0, 0)


@given(st.lists(any_text, max_size=5))
def test_a_batch_is_each_by_itself(texts: list[str]) -> None:
    for tokenizer in TOKENIZERS.values():
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@given(st.integers(0, 100), st.integers(1, 5), st.booleans())
def test_streamed_text_is_the_whole_and_never_splits_a_character(start: int, step: int, skip: bool) -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = [*tokenizer.encode("naïve 猫😀 e\u0301\n")[start % 10 :], tokenizer.end_id, 0xE7, 0x8C]
    stream = StreamDecoder(tokenizer, skip_special=skip)
    parts = [stream.feed(ids[i : i + step]) for i in range(0, len(ids), step)]
    assert "".join(parts) + stream.flush() == tokenizer.decode(ids, skip_special=skip)
    assert stream.flush() == ""
    assert not "".join(parts).endswith("\ufffd")


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_round_trips_in_every_kind(kind: TokenizerType) -> None:
    tokenizer = train_tokenizer([TEXT], kind, 5000)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert UnknownCounter(tokenizer).count(TEXT, tokenizer.encode(TEXT)) == (0, 0)
    assert "".join(tokenizer.token_text(token) for token in tokenizer.encode(prose(60, 3))) == prose(60, 3)


def test_unknown_characters_and_words_are_counted() -> None:
    characters, words = TOKENIZERS["characters"], train_tokenizer(["one two three, four"], "words", 100)

    def count(tokenizer, text):
        return UnknownCounter(tokenizer).count(text, tokenizer.encode(text))

    assert count(characters, "ab☃c☂") == (2, 6)
    assert characters.decode(characters.encode("a☃b")) == f"a{UNKNOWN}b"
    assert count(words, "one two five, six four") == (2, len(" five six"))
    assert count(words, UNKNOWN).tokens > 1  # its name is text like any other


def test_special_tokens_are_text_unless_allowed() -> None:
    text = "before<|end|>after"
    for kind, tokenizer in TOKENIZERS.items():
        plain, parsed = tokenizer.encode(text), tokenizer.encode(text, allow_special=True)
        assert tokenizer.end_id not in plain
        assert parsed.count(tokenizer.end_id) == 1
        if kind != "words":
            assert tokenizer.decode(parsed, skip_special=True) == "beforeafter"
        assert tokenizer.encode(text) == plain  # asking once does not open the door for good
        assert tokenizer.token_bytes(tokenizer.end_id) == END.encode()


def test_special_tokens_come_last_and_the_first_of_them_ends() -> None:
    tokenizer = train_tokenizer([TEXT], "bpe", 300, ["<stop>", "<user>"])
    assert tokenizer.vocab_size == 300
    assert tokenizer.special_ids == {"<stop>": 298, "<user>": 299}
    assert tokenizer.end_id == 298
    assert TOKENIZERS["bytes"].end_id == 256


def test_bytes_are_their_own_ids() -> None:
    assert TOKENIZERS["bytes"].encode("é\n") == [0xC3, 0xA9, 0x0A]
    assert [TOKENIZERS["bytes"].token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert TOKENIZERS["bytes"].token_text(0xC3) == "\\xc3"


def test_bpe_has_all_bytes_and_the_size_asked_for() -> None:
    tokenizer = TOKENIZERS["bpe"]
    assert tokenizer.vocab_size == 600
    every = [tokenizer.token_bytes(token) for token in range(600)]
    assert {bytes([value]) for value in range(256)} <= set(every)
    assert len(set(every)) == 600
    assert len(tokenizer.encode(TEXT)) < 0.7 * len(TEXT.encode())


def test_training_is_repeatable() -> None:
    pieces = [TEXT[i : i + 997] for i in range(0, len(TEXT), 997)]
    for kind in KINDS:
        again = train_tokenizer(pieces, kind, 600)
        assert again.to_json() == TOKENIZERS[kind].to_json()
        assert again.fingerprint == TOKENIZERS[kind].fingerprint
    assert len({tokenizer.fingerprint for tokenizer in TOKENIZERS.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trips(kind: TokenizerType) -> None:
    tokenizer = TOKENIZERS[kind]
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(TEXT) == tokenizer.encode(TEXT)
    assert (again.end_id, again.unknown_id) == (tokenizer.end_id, tokenizer.unknown_id)


def test_padding_and_truncation_in_a_file_are_ignored() -> None:
    backend = Backend.from_str(TOKENIZERS["bpe"].to_json())
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    assert Tokenizer.from_json(backend.to_str()).encode("some more text") == TOKENIZERS["bpe"].encode("some more text")


def test_threads_share_a_tokenizer() -> None:
    tokenizer = TOKENIZERS["bpe"]
    expected = {allow: tokenizer.encode("a<|end|>b", allow_special=allow) for allow in (True, False)}
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: (i % 2 == 0, tokenizer.encode("a<|end|>b", allow_special=i % 2 == 0)), range(400))
    assert all(ids == expected[allow] for allow, ids in found)


def bad_jsons() -> list[str]:
    good = json.loads(TOKENIZERS["bpe"].to_json())
    model, precompiled = good["model"], {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    huge = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 2**32 - 1}, "merges": []}}
    return [
        "",
        "{}",
        "null",
        "\ud800",
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps({**good, "model": {**model, "merges": [["a", "zzz"]]}}),
        json.dumps({**good, "normalizer": precompiled}),  # a Rust panic
        json.dumps({**good, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}),
        json.dumps(huge),
        TOKENIZERS["bpe"].to_json()[:-100],
    ]


@pytest.mark.parametrize("number", range(11))
def test_hostile_json_is_one_clear_error(number: int) -> None:
    with pytest.raises(OpenbookError, match="tokenizer: "):
        Tokenizer.from_json(bad_jsons()[number])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_json_never_crashes(data: st.DataObject) -> None:
    content = train_tokenizer([TEXT], "bpe", 262).to_json()
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:place] + data.draw(st.text(max_size=3)) + content[place + data.draw(st.integers(0, 30)) :]
    try:
        tokenizer = Tokenizer.from_json(damaged)
        [tokenizer.token_bytes(token) for token in tokenizer.encode("some text")]
    except OpenbookError:
        pass


def test_what_a_tokenizer_lacks_is_named() -> None:
    with pytest.raises(OpenbookError, match=r"no end token '<\|end\|>'"):
        Tokenizer.from_json(Backend(models.BPE({"a": 0}, [])).to_str())
    with pytest.raises(OpenbookError, match="no end token '<eos>'"):
        SpecialTokens.from_names(Backend.from_str(TOKENIZERS["bpe"].to_json()).token_to_id, "<eos>")
    backend = Backend(models.BPE({"a": 0, END: 1}, []))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(OpenbookError, match="decoder WordPiece is not supported"):
        Tokenizer(backend).decode([0])
    for missing in (600, -1):
        with pytest.raises(OpenbookError, match=f"token {missing}: not in the vocabulary of 600"):
            TOKENIZERS["bpe"].decode([missing])


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(OpenbookError, match="vocabulary 256: a tokenizer of bpe needs at least 257"):
        train_tokenizer([TEXT], "bpe", 256)
    with pytest.raises(OpenbookError, match="must be one of bpe, unigram, bytes, characters, words"):
        train_tokenizer([TEXT], "letters")  # type: ignore[arg-type]
    for kind in ("characters", "words"):
        with pytest.raises(OpenbookError, match="no text to find"):
            train_tokenizer([], kind, 100)
    assert train_tokenizer([], "bpe", 1000).vocab_size == 257


def test_vocabulary_grows_with_the_text() -> None:
    sizes = [choose_vocab_size(10**power) for power in range(4, 12)]
    assert sizes == sorted(sizes)
    assert (choose_vocab_size(1_000_000), choose_vocab_size(4_000_000), sizes[0], sizes[-1]) == (4096, 8192, 512, 32768)
    assert choose_vocab_size(10**6, "bytes") == 257
    for kind in KINDS:
        train_tokenizer([TEXT], kind, choose_vocab_size(10, kind))


@settings(deadline=None)
@given(nasty_text | any_text, st.integers(1, 20))
def test_cut_text_has_the_tokens_of_the_whole(text: str, size: int) -> None:
    text = (text.replace("\r", "\n") + " and\n") * 3
    for tokenizer in TOKENIZERS.values():
        parts = tokenizer.encode_batch(list(token_safe_chunks([text], size)))
        assert list(chain.from_iterable(parts)) == tokenizer.encode(text)


@settings(deadline=None)
@given(st.lists(nasty_text | any_text, min_size=1, max_size=4))
def test_word_by_word_gives_the_tokens_of_the_whole(texts: list[str]) -> None:
    for tokenizer in TOKENIZERS.values():
        encoder = WordEncoder(tokenizer)
        assert as_lists(encoder._encode_words(texts)) == tokenizer.encode_batch(texts)
        assert as_lists(encoder.encode_batch(texts)) == tokenizer.encode_batch(texts)


def as_lists(arrays: list[NDArray[Any]]) -> list[list[int]]:
    return [each.tolist() for each in arrays]


def test_word_by_word_is_not_used_where_it_changes_tokens() -> None:
    backend = Backend(models.BPE({" ": 0, "a": 1, "b": 2, "a b": 3, " b": 4, END: 5}, [(" ", "b"), ("a", " b")]))
    backend.decoder = decoders.Fuse()
    tokenizer = Tokenizer(backend)
    encoder = WordEncoder(tokenizer)
    assert as_lists(encoder._encode_words(["a b"])) == [[1, 4]]
    assert as_lists(encoder.encode_batch(["a b"])) == tokenizer.encode_batch(["a b"]) == [[3]]


def test_words_of_sentences_are_the_same_at_the_beginning() -> None:
    tokenizer = train_tokenizer(["the cat, the dog", "a cat"], "words", 50, sentences=True)
    the, cat = tokenizer.encode("the cat")
    assert tokenizer.encode("cat the") == [cat, the] and tokenizer.token_text(the) == " the"
    assert tokenizer.decode(tokenizer.encode("the dog, a cat")) == "the dog, a cat"
    assert as_lists(WordEncoder(tokenizer).encode_batch(["the", "the cat"])) == [[the], [the, cat]]


@pytest.mark.parametrize("text", ["a\udcff", "\ud83d"])
def test_half_characters_are_refused(text: str) -> None:
    with pytest.raises(OpenbookError, match="surrogate"):
        TOKENIZERS["bpe"].encode(text)


def test_unicode_forms_stay() -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    assert TOKENIZERS["bpe"].decode(TOKENIZERS["bpe"].encode(decomposed)) == decomposed


@pytest.mark.parametrize(
    "text",
    [
        "जब जहाज़ घाट पर पहुँचा तो पूरा परिवार इंतज़ार कर रहा था",
        "เมื่อเรือมาถึงท่า ทั้งครอบครัวก็รออยู่แล้ว",
        "கப்பல் துறைமுகத்தை அடைந்தபோது முழுக் குடும்பமும் காத்திருந்தது",
        "בְּרֵאשִׁית הָיָה הַיָּם שָׁקֵט וְהַיֶּלֶד יָשַׁב עַל הַחוֹף",
        "When the boat came in, the boy's family was waiting",
    ],
)
def test_marks_stay_with_their_letters(text: str) -> None:
    tokenizer = train_tokenizer([f"{text}\n" * 50], "bpe", 2048)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) <= len(text.split()) + 1 + text.count(",") + text.count("'")


def test_the_pattern_is_one_that_other_programs_know() -> None:
    assert PRE_TOKENIZERS["gpt-4o"].patterns == (BPE_PATTERN,)
    assert PRE_TOKENIZERS["gpt-4o"].ignore_merges
