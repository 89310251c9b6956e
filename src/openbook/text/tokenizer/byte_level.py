"""The byte-level alphabet: one visible character for each byte, and splitting text into words of such characters."""

from tokenizers import Regex, pre_tokenizers


def _byte_of_character() -> dict[str, int]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    itself = {character: ord(character) for character in alphabet if ord(character) < 256}
    left_over = sorted(set(range(256)) - set(itself.values()))
    return itself | dict(zip(alphabet[len(itself) :], left_over, strict=True))


BYTE_OF_CHARACTER = _byte_of_character()
"""Character → the byte that it stands for."""


def byte_level_pre_tokenizer(*patterns: str, add_prefix_space: bool = False) -> pre_tokenizers.PreTokenizer:
    """Splits text into words by each regular expression in turn, then turns words into byte-level characters."""
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    to_characters = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)
    return pre_tokenizers.Sequence([*steps, to_characters])
