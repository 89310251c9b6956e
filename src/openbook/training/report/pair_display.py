"""What `openbook evaluate` prints of a translator."""

import json

from openbook.training.evaluation.translation import PairScore


def print_pair_score(score: PairScore, as_json: bool) -> None:
    """Print how a translator does on pairs."""
    written, guessed = score.written, score.guessed
    if as_json:
        facts = {
            "bleu": written.bleu, "chrf": written.chrf, "bleu_signature": written.bleu_signature,
            "chrf_signature": written.chrf_signature, "perplexity": guessed.perplexity,
            "bits_per_byte": guessed.bits_per_byte, "pairs": score.pairs, "seconds": score.seconds,
            "bad_lines": score.bad_lines, "untranslated": score.untranslated, "unguessed": score.unguessed,
        }  # fmt: skip
        print(json.dumps(facts))
        return
    print(f"BLEU {written.bleu:.1f}   {written.bleu_signature}")
    print(f"chrF {written.chrf:.1f}   {written.chrf_signature}")
    print(f"perplexity {guessed.perplexity:.2f} a target token, {guessed.bits_per_byte:.4f} bits a byte")
    print(f"over {score.pairs:,} pairs, {score.pairs / score.seconds:.1f} sentences translated a second")
    for count, what in (
        (score.bad_lines, "lines had no pair, and do not count"),
        (score.untranslated, "sources were too long for the model, and count as translated by nothing"),
        (
            score.unguessed - score.untranslated,
            "more pairs were too long to be guessed, and count for BLEU and chrF alone",
        ),
    ):
        if count:
            print(f"{count:,} {what}")
