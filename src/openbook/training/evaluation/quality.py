"""BLEU and chrF of translations, by sacrebleu (Post 2018)."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from openbook.errors import SettingError

BLEU_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")
EXTRAS = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
"""What a tokenizer needs besides sacrebleu."""

SAMPLE = 20_000
"""Letters that tell the script."""
KANA_SHARE = 0.1
"""Of Japanese text; Chinese has none."""
WITHOUT_SPACES = frozenset(["THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"])
"""Scripts that put no spaces between words, and that have no tokenizer of their own."""


@dataclass(frozen=True)
class TranslationQuality:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015), with sacrebleu's signatures.

    Attributes:
        bleu: None where no reference has four words, so that there are no 4-grams to count.
        note: what has to be known about BLEU, for people; "" if nothing.
    """

    bleu: float | None
    chrf: float
    bleu_signature: str
    chrf_signature: str
    note: str = ""


def translation_quality(
    translations: Sequence[str], references: Sequence[str], tokenizer: str | None = None
) -> TranslationQuality:
    """Corpus BLEU (cased) and chrF2.

    Args:
        translations: of each source.
        references: one for each.
        tokenizer: of BLEU; None: the one for the script of the references.

    Raises:
        OpenbookError: there is no such tokenizer, or it is not installed.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    name, note = _installed(tokenizer, references)
    bleu, chrf = BLEU(tokenize=name, force=True), CHRF()
    given, expected = list(translations), list(references)
    score: float | None = bleu.corpus_score(given, [expected]).score
    chrf_score = chrf.corpus_score(given, [expected]).score
    if not score and not bleu.corpus_score(expected, [expected]).totals[-1]:
        score = None
        note = "BLEU is undefined: no reference has four words in a row; go by chrF" + (f". {note}" if note else "")
    signatures = str(bleu.get_signature()), str(chrf.get_signature())
    return TranslationQuality(score, chrf_score, *signatures, note)


def tokenizer_for(references: Sequence[str]) -> str:
    """sacrebleu's tokenizer for the script that most letters of these texts are in."""
    scripts: Counter[str] = Counter()
    for text in references:
        scripts.update(map(_script, filter(str.isalpha, text)))
        if scripts.total() > SAMPLE:
            break
    east = scripts["KANA"] + scripts["CJK"]
    if 2 * east > scripts.total():
        return "ja-mecab" if scripts["KANA"] > KANA_SHARE * east else "zh"
    script = max(scripts, key=scripts.__getitem__, default="")
    return "ko-mecab" if script == "HANGUL" else "char" if script in WITHOUT_SPACES else "13a"


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return "KANA" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name


def _installed(given: str | None, references: Sequence[str]) -> tuple[str, str]:
    """The tokenizer to use, and a note where it is not the one for the script."""
    from sacrebleu.metrics.bleu import BLEU

    if given is not None and given not in BLEU_TOKENIZERS:
        raise SettingError(f"`bleu_tokenizer` {given}: must be one of {', '.join(BLEU_TOKENIZERS)}")
    name = given or tokenizer_for(references)
    try:
        BLEU(tokenize=name)
    except (ImportError, RuntimeError):
        missing = f"pip install '{EXTRAS.get(name, 'sacrebleu')}'"
        if given is not None:
            raise SettingError(f"`bleu_tokenizer` {name}: is not installed; run {missing}, or leave it out") from None
        return "char", f"BLEU counts characters, since {name} is not installed: {missing}"
    return name, ""
