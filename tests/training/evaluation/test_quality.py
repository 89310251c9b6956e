"""BLEU by the script of the references, and what has to be known about it."""

import pytest
from sacrebleu.metrics.bleu import BLEU

from openbook.errors import OpenbookError
from openbook.training.evaluation import quality as module
from openbook.training.evaluation.quality import tokenizer_for, translation_quality

CHINESE = ["守塔人每天晚上数船，把它们的名字写在一本蓝色的本子里。", "港口上空有雾，海鸥飞得很低。"]
ALMOST = ["守塔人每天晚上数船，并把它们的名字写在蓝色的本子里。", "港口上面有雾，海鸥飞得很低。"]
JAPANESE = ["灯台守は毎晩船を数え、その名前を青い帳面に書いた。"]
KOREAN = ["등대지기는 매일 밤 배를 세어 그 이름을 파란 공책에 적었다."]
THAI = ["ผู้ดูแลประภาคารนับเรือทุกคืน"]
GERMAN = ["Der Mann zählt jeden Abend die Boote am Ufer."]


@pytest.mark.parametrize(
    ("references", "tokenizer"),
    [
        (CHINESE, "zh"),
        (JAPANESE, "ja-mecab"),
        (KOREAN, "ko-mecab"),
        (THAI, "char"),
        (GERMAN, "13a"),
        (["Смотритель считал лодки."], "13a"),
        ([*GERMAN, "Tokio (東京)"], "13a"),
        (["", "123."], "13a"),
    ],
)
def test_the_tokenizer_follows_the_script(references, tokenizer):
    assert tokenizer_for(references) == tokenizer


def test_chinese_is_scored_as_sacrebleu_does_for_chinese():
    found = translation_quality(ALMOST, CHINESE)
    assert found.bleu == pytest.approx(BLEU(tokenize="zh").corpus_score(ALMOST, [CHINESE]).score)
    assert "tok:zh" in found.bleu_signature and not found.note
    assert "tok:13a" in translation_quality(ALMOST, CHINESE, "13a").bleu_signature
    assert translation_quality(ALMOST, CHINESE, "13a").bleu is None  # as if a sentence were a word or two


@pytest.mark.parametrize(("references", "extra"), [(JAPANESE, "sacrebleu[ja]"), (KOREAN, "sacrebleu[ko]")])
def test_a_tokenizer_that_is_missing_is_replaced_and_named(monkeypatch, references, extra):
    name = tokenizer_for(references)

    class Without(BLEU):
        def __init__(self, tokenize, **options):
            if tokenize == name:
                raise RuntimeError("Please install the extra")
            super().__init__(tokenize=tokenize, **options)

    monkeypatch.setattr("sacrebleu.metrics.bleu.BLEU", Without)
    found = translation_quality(references, references)
    assert "tok:char" in found.bleu_signature and found.bleu == pytest.approx(100.0)
    assert found.note == f"BLEU counts characters, since {name} is not installed: pip install '{extra}'"
    with pytest.raises(OpenbookError, match=f"bleu_tokenizer {name}: is not installed; run pip install"):
        translation_quality(references, references, name)
    assert set(module.EXTRAS) == {"ja-mecab", "ko-mecab"}


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(OpenbookError, match="bleu_tokenizer moses: must be one of 13a, intl, zh"):
        translation_quality(GERMAN, GERMAN, "moses")


def test_references_of_a_word_have_no_bleu():
    short = ["Haus.", "Am See."]
    found = translation_quality(short, short)
    assert (found.bleu, found.chrf) == (None, pytest.approx(100.0))
    assert found.note == "BLEU is undefined: no reference has four words in a row; go by chrF"
    wrong = translation_quality(["ein zwei"], GERMAN)
    assert wrong.bleu == 0.0 and not wrong.note
    assert translation_quality([*short, *GERMAN], [*short, *GERMAN]).bleu == pytest.approx(100.0)
