"""Byte-level BPE: `vocab.json` with `merges.txt`, ranks in base 64, and `tekken.json`."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.bounded_files import read_ids, read_object, read_text
from openbook.text.tokenizer.byte_level import BYTE_OF_CHARACTER, byte_level_pre_tokenizer
from openbook.text.tokenizer.pattern_check import check_pattern

MAXIMUM_VOCABULARY = 1 << 22
MAXIMUM_TOKEN_BYTES = 4096
"""The longest in use have a few hundred."""
MAXIMUM_WORK = 100_000_000
"""Sum of the squares of the tokens' lengths; the largest vocabularies in use have a tenth of that."""

CHARACTER_OF_BYTE = {byte: character for character, byte in BYTE_OF_CHARACTER.items()}


def read_vocabulary_and_merges(vocabulary: Path, merges: Path, prefix_space: bool = False) -> Backend:
    """The backend for a table of ids and a list of merges; it splits text by `R50K_PATTERN`.

    Raises:
        OpenbookError: a file is damaged; the message names it.
    """
    ids = read_ids(vocabulary)
    pairs = []
    for number, line in enumerate(read_text(merges).split("\n"), start=1):
        if line and not (number == 1 and line.startswith("#version")):
            left, space, right = line.partition(" ")
            if not space or not left or not right or " " in right or left + right not in ids:
                raise OpenbookError(
                    f"{merges}: line {number:,} is not a merge of two tokens; copy or download it again"
                )
            pairs.append((left, right))
    return build_byte_level_bpe(ids, pairs, pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=True))


def read_ranks(path: Path, pattern: str, special: Mapping[str, int]) -> Backend:
    """The backend for a file with a token in base 64 and its rank on each line.

    Args:
        path: the file.
        pattern: the regular expression that splits text into words, which the file lacks.
        special: name → id of the special tokens, which the file lacks too.

    Raises:
        OpenbookError: the file is damaged.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line:
            token, _, rank = line.partition(" ")
            if not rank.isascii() or not rank.isdigit() or len(rank) > 8:
                raise OpenbookError(f"{path}: line {number:,} is not a token with its rank; copy or download it again")
            _add_rank(ranks, _decode_token(path, token), int(rank), path)
    return _from_ranks(ranks, pattern, special, path)


def read_ranked_json(path: Path) -> Backend:
    """The backend for a file like `tekken.json`, in which special tokens have the first ids.

    Raises:
        OpenbookError: the file is damaged.
    """
    content = read_object(path)
    try:
        config: dict[str, Any] = content["config"]
        count, size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        pattern = str(config["pattern"])
        if not 0 <= count < size <= MAXIMUM_VOCABULARY:
            raise ValueError
        entries = content["vocab"][: size - count]
        ranks: dict[bytes, int] = {}
        for entry in entries:
            _add_rank(ranks, _decode_token(path, entry["token_bytes"]), int(entry["rank"]), path)
        names = {int(each["rank"]): str(each["token_str"]) for each in content.get("special_tokens") or ()}
    except (KeyError, TypeError, ValueError):
        raise OpenbookError(f"{path}: config, vocab or special_tokens is malformed; copy it again") from None
    special = [names.get(number, f"<SPECIAL_{number}>") for number in range(count)]
    if not names:
        special[: len(_TEKKEN_NAMES)] = _TEKKEN_NAMES[:count]
    check_pattern(pattern)
    return _from_ranks(ranks, pattern, {name: number for number, name in enumerate(special)}, path)


# Names of the first tokens in files of early versions, which lack them.
_TEKKEN_NAMES = [
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
]  # fmt: skip


def _from_ranks(ranks: Mapping[bytes, int], pattern: str, special: Mapping[str, int], path: Path) -> Backend:
    """The backend for tokens as bytes, of which those of lower rank are merged first.

    Ids are the ranks, plus the number of special tokens where those come first.
    """
    special_come_first = min(special.values(), default=-1) == 0
    shift = len(special) if special_come_first else 0
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise OpenbookError(f"{path}: has no token for the byte {byte}; copy or download it again")
    if sum(len(token) ** 2 for token in ranks) > MAXIMUM_WORK:
        raise OpenbookError(f"{path}: has too many long tokens; no tokenizer needs as many")
    ids = {_to_characters(token): rank + shift for token, rank in ranks.items()}
    pairs = [
        (_to_characters(left), _to_characters(right))
        for token, _ in sorted(ranks.items(), key=lambda item: item[1])
        for left, right in _last_merge(token, ranks)
    ]
    taken = set(ids.values())
    for name, token_id in special.items():
        if name in ids or token_id in taken:
            raise OpenbookError(f"{path}: the special token {name!r} or its id {token_id:,} occurs twice")
        ids[name] = token_id
    backend = build_byte_level_bpe(ids, pairs, byte_level_pre_tokenizer(pattern), ignore_merges=True)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in sorted(special, key=special.get)])  # type: ignore[arg-type]
    return backend


def build_byte_level_bpe(
    ids: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    ignore_merges: bool = False,
) -> Backend:
    """A byte-level BPE backend.

    Args:
        ids: token → id.
        merges: pairs of tokens in the order in which they are merged.
        pre_tokenizer: splits text into words.
        ignore_merges: a word that is a token is encoded as that token, whatever the merges say.

    Raises:
        OpenbookError: ids and merges do not fit each other.
    """
    try:
        backend = Backend(models.BPE(dict(ids), list(merges), ignore_merges=ignore_merges))
        backend.pre_tokenizer = pre_tokenizer
        backend.decoder = decoders.ByteLevel()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's Rust panics are not Exceptions
        raise OpenbookError(f"tokenizer: ids and merges do not fit each other ({str(error)[:100]})") from None
    return backend


def _last_merge(token: bytes, ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair whose merge makes this token when its bytes are merged by rank; nothing for a single byte.

    Also nothing where its bytes do not merge into it: such a token is only found as a whole word.
    """
    parts = [bytes([byte]) for byte in token]
    if len(parts) < 2:
        return []
    bound = ranks[token]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], bound))
        if ranks.get(parts[best] + parts[best + 1], bound) >= bound:
            return []
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return [(parts[0], parts[1])]


def _to_characters(token: bytes) -> str:
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def _decode_token(path: Path, text: str) -> bytes:
    try:
        token = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise OpenbookError(f"{path}: a token is not in base 64; copy or download it again") from None
    if not 1 <= len(token) <= MAXIMUM_TOKEN_BYTES:
        raise OpenbookError(f"{path}: a token has {len(token):,} bytes; 1 to {MAXIMUM_TOKEN_BYTES:,} are allowed")
    return token


def _add_rank(ranks: dict[bytes, int], token: bytes, rank: int, path: Path) -> None:
    if token in ranks or not 0 <= rank < MAXIMUM_VOCABULARY:
        raise OpenbookError(f"{path}: a token occurs twice, or its rank {rank:,} is invalid; copy or download it again")
    ranks[token] = rank
