"""What tokenizer files older than `tokenizer.json` leave unsaid, and a family of models knows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LegacyLayout:
    """How to read tokenizer files without a `tokenizer.json`. The defaults read them as they are.

    Attributes:
        first: special tokens that come first, in place of the first `skipped` pieces of a SentencePiece model.
        skipped: how many pieces those replace.
        last: special tokens that come after all pieces or merges (language codes, masks).
        prefix: names of the tokens before every prompt or source; None: the beginning token of a decoder-only model
            with a SentencePiece vocabulary, else nothing.
        suffix: names of the tokens after every source; None: the end token of an encoder-decoder.
        pattern: the regular expression that splits text into words for byte-level BPE; None: `R50K_PATTERN`, or the one
            that goes with the name of the ranks file.
        unicode_form: "NFC" where text is normalized to that form first.
    """

    first: tuple[str, ...] = ()
    skipped: int = 0
    last: tuple[str, ...] = ()
    prefix: tuple[str, ...] | None = None
    suffix: tuple[str, ...] | None = None
    pattern: str | None = None
    unicode_form: str | None = None
