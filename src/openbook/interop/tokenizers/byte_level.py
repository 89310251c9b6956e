"""Byte-level byte-pair vocabularies: `vocab.json` with `merges.txt`, ranks in base 64, and JSON with a pattern."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.files import read_object, read_text
from openbook.interop.tokenizers.patterns import check_patterns
from openbook.text.tokenizer.byte_decoder import BYTE_OF_CHARACTER

MAXIMUM_TOKENS = 1 << 22
LONGEST_TOKEN = 4096
"""Bytes; the longest in use have some hundred."""
MOST_WORK = 100_000_000
"""Squares of the tokens' lengths, summed up; the largest vocabularies in use need a tenth."""

CHARACTER_OF_BYTE = {byte: character for character, byte in BYTE_OF_CHARACTER.items()}


def read_vocabulary_and_merges(vocabulary: Path, merges: Path, prefix_space: bool = False) -> Backend:
    """The tokenizer of a table of ids and a list of merges, split as the first such vocabulary was.

    Raises OpenbookError naming the file and what is wrong.
    """
    ids = read_object(vocabulary)
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in ids.values()):
        raise OpenbookError(f"{vocabulary}: should map each token to its number; copy or download it again")
    pairs = []
    for number, line in enumerate(read_text(merges).split("\n"), start=1):
        if line and not (number == 1 and line.startswith("#version")):
            left, space, right = line.partition(" ")
            if not space or not left or not right or " " in right or left + right not in ids:
                raise OpenbookError(f"{merges}: line {number:,} is no merge of two tokens; copy or download it again")
            pairs.append((left, right))
    with_words = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=True)
    return byte_pairs(ids, pairs, with_words)


def read_ranks(path: Path, pattern: str, special: Mapping[str, int]) -> Backend:
    """The tokenizer of a file with a token in base 64 and its rank on each line.

    Args:
        path: the file.
        pattern: the regular expression that finds words; such files do not hold it.
        special: the special tokens' names and ids; such files do not hold them either.

    Raises:
        OpenbookError: naming the file and what is wrong.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line:
            token, _, rank = line.partition(" ")
            if not rank.isascii() or not rank.isdigit() or len(rank) > 8:
                raise OpenbookError(f"{path}: line {number:,} is no token with its rank; copy or download it again")
            _put(ranks, _decoded(path, token), int(rank), path)
    return from_ranks(ranks, pattern, special, path)


def read_ranked_json(path: Path) -> Backend:
    """The tokenizer of a file like `tekken.json`, in which the ids of special tokens come first.

    Raises OpenbookError naming the file and what is wrong.
    """
    content = read_object(path)
    try:
        config: dict[str, Any] = content["config"]
        count, size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        pattern = str(config["pattern"])
        if not 0 <= count < size <= MAXIMUM_TOKENS:
            raise ValueError
        entries = content["vocab"][: size - count]
        ranks: dict[bytes, int] = {}
        for entry in entries:
            _put(ranks, _decoded(path, entry["token_bytes"]), int(entry["rank"]), path)
        names = {int(each["rank"]): str(each["token_str"]) for each in content.get("special_tokens") or ()}
    except (KeyError, TypeError, ValueError):
        raise OpenbookError(f"{path}: config, vocab or special_tokens is not as it should be; copy it again") from None
    special = [names.get(number, f"<SPECIAL_{number}>") for number in range(count)]
    if not names:
        special[: len(_FIRST_NAMES)] = _FIRST_NAMES[:count]
    check_patterns({"Regex": pattern})
    return from_ranks(ranks, pattern, {name: number for number, name in enumerate(special)}, path)


# What the first tokens are called where the file, of an early version, does not say.
_FIRST_NAMES = [
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
]  # fmt: skip


def from_ranks(ranks: Mapping[bytes, int], pattern: str, special: Mapping[str, int], path: Path) -> Backend:
    """The tokenizer of tokens as bytes, of which those of lower rank are merged first.

    Ids are the ranks, moved up by the number of special tokens where those come first.
    """
    first = min(special.values(), default=-1) == 0
    moved = len(special) if first else 0
    for value in range(256):
        if bytes([value]) not in ranks:
            raise OpenbookError(f"{path}: has no token for the byte {value}; copy or download it again")
    if sum(len(token) ** 2 for token in ranks) > MOST_WORK:
        raise OpenbookError(f"{path}: has too many long tokens; no tokenizer needs as many")
    ids = {_spelled(token): rank + moved for token, rank in ranks.items()}
    pairs = [
        (_spelled(left), _spelled(right))
        for token, _ in sorted(ranks.items(), key=lambda item: item[1])
        if (parts := _parts(token, ranks)) is not None
        for left, right in [parts]
    ]
    taken = set(ids.values())
    for name, number in special.items():
        if name in ids or number in taken:
            raise OpenbookError(f"{path}: the special token {name!r} or its id {number:,} is there twice")
        ids[name] = number
    words = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend = byte_pairs(ids, pairs, words, whole_words=True)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in sorted(special, key=special.get)])  # type: ignore[arg-type]
    return backend


def byte_pairs(
    ids: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    words: pre_tokenizers.PreTokenizer,
    whole_words: bool = False,
) -> Backend:
    """A byte-level tokenizer. `whole_words`: a word that is a token is taken as it is, whatever the merges say.

    Raises OpenbookError where ids and merges do not fit each other.
    """
    try:
        backend = Backend(models.BPE(dict(ids), list(merges), ignore_merges=whole_words))
        backend.pre_tokenizer = words
        backend.decoder = decoders.ByteLevel()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's Rust panics are no Exception
        raise OpenbookError(f"tokenizer: ids and merges do not fit each other ({str(error)[:100]})") from None
    return backend


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens that are merged into this one last, when its bytes are merged by rank; None for a single byte.

    Also None where they are not merged into one: such a token is only found as a whole word.
    """
    parts = [bytes([byte]) for byte in token]
    if len(parts) < 2:
        return None
    bound = ranks[token]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], bound))
        if ranks.get(parts[best] + parts[best + 1], bound) >= bound:
            return None
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def _spelled(token: bytes) -> str:
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def _decoded(path: Path, text: str) -> bytes:
    try:
        token = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise OpenbookError(f"{path}: a token is not in base 64; copy or download it again") from None
    if not 1 <= len(token) <= LONGEST_TOKEN:
        raise OpenbookError(f"{path}: a token has {len(token):,} bytes; 1 to {LONGEST_TOKEN:,} are allowed")
    return token


def _put(ranks: dict[bytes, int], token: bytes, rank: int, path: Path) -> None:
    if token in ranks or not 0 <= rank < MAXIMUM_TOKENS:
        raise OpenbookError(f"{path}: a token is there twice, or its rank {rank:,} is none; copy or download it again")
    ranks[token] = rank
