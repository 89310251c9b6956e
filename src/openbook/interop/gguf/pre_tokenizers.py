"""How byte-level tokenizers of GGUF files split text into words: the patterns that llama.cpp knows by name."""

from dataclasses import dataclass

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _by_case(contraction: str, digits: str) -> str:
    """A pattern that splits words by upper and lower case too."""
    start = r"[^\r\n\p{L}\p{N}]?"
    words = f"{start}{_UPPER}*{_LOWER}+{contraction}|{start}{_UPPER}+{_LOWER}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class PreTokenizer:
    """How a byte-level tokenizer splits text, and what else goes with its name.

    Attributes:
        patterns: regular expressions, applied one after the other.
        ignore_merges: words that are in the vocabulary are one token, whatever the merges.
        add_bos: prompts begin with the beginning token where the file does not say.
        unicode_form: "NFC" where text is normalized first.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    unicode_form: str | None = None


PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "gpt-2": PreTokenizer((GPT2_PATTERN,)),
    "smollm": PreTokenizer((r"\p{N}", GPT2_PATTERN)),
    "llama-bpe": PreTokenizer(
        (rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}",), ignore_merges=True, add_bos=True
    ),
    "qwen2": PreTokenizer((rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_REST}",), unicode_form="NFC"),
    "tekken": PreTokenizer((_by_case("", r"\p{N}"),), ignore_merges=True, add_bos=True),
    "gpt-4o": PreTokenizer((_by_case(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"),), ignore_merges=True),
}
"""By the value of tokenizer.ggml.pre."""

ALIASES = {
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "pixtral"), "llama-bpe"),
    **dict.fromkeys(("deepseek-r1-qwen", "kormo"), "qwen2"),
    **dict.fromkeys(("phi-2", "gigachat"), "gpt-2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), "smollm"),
    "llama4": "gpt-4o",
}
"""Other values that mean the same to llama.cpp."""

PRE_TOKENIZER_OF = {"gpt2": "gpt-2"}
"""For files that do not name it: by the value of general.architecture."""
