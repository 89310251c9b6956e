"""Scores of pairs: against one pair at a time, and against sacrebleu's own functions."""

import pytest
import sacrebleu
import torch

from openbook.training.evaluation.quality import translation_quality
from openbook.training.evaluation.translation import TokenizedPair, score_references
from strategies import DEFAULT, ENCODER_DECODERS, VOCABULARY, build

SOURCES = [[3, 4, 5, 1], [7, 1], [2, 9, 4, 11, 6, 3, 1]]
TARGETS = [[0, 5, 8, 1], [0, 20, 21, 22, 3, 1], [0, 1]]
PAIRS = list(map(TokenizedPair, SOURCES, TARGETS))


@torch.no_grad()
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_targets_are_guessed_from_source_and_what_comes_before(name) -> None:
    model = build(ENCODER_DECODERS[name])
    nats = 0.0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        logits = model(torch.tensor([target[:-1]]), source=torch.tensor([source]))[0]
        nats -= float(logits.log_softmax(-1).gather(1, torch.tensor(target[1:])[:, None]).sum())
    score = score_references(model, PAIRS, 30)
    assert score.nats == pytest.approx(nats, rel=1e-5) and score.tokens == 9 and score.bytes == 30


@torch.no_grad()
def test_of_a_decoder_only_model_too() -> None:
    model = build(DEFAULT)
    nats = 0.0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        row = torch.tensor([[*source, *target[1:]]])
        surprise = -model(row[:, :-1])[0].log_softmax(-1).gather(1, row[0, 1:, None])
        nats += float(surprise[len(source) - 1 :].sum())
    score = score_references(model, PAIRS, 30)
    assert score.nats == pytest.approx(nats, rel=1e-5) and score.tokens == 9 and VOCABULARY > 22


def test_bleu_and_chrf_are_sacrebleus() -> None:
    translations = ["The cat sat on the mat .", "It rains today , again ."]
    references = ["The cat is on the mat .", "It rains again today ."]
    score = translation_quality(translations, references)
    assert score.bleu == pytest.approx(sacrebleu.corpus_bleu(translations, [references], force=True).score)
    assert score.chrf == pytest.approx(sacrebleu.corpus_chrf(translations, [references]).score)
    assert "case:mixed" in score.bleu_signature and "tok:13a" in score.bleu_signature
    assert "nc:6|nw:0" in score.chrf_signature
