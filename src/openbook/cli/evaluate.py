"""`openbook evaluate`: how well a model predicts texts or translates pairs."""

import json
from typing import Annotated

import typer

from openbook.cli.arguments import DEVICE, ENGINE, JSON, MODEL
from openbook.errors import OpenbookError


def evaluate(
    model: MODEL,
    files: Annotated[
        list[str],
        typer.Argument(help="texts to predict, or pairs to translate: files, folders, globs", show_default=False),
    ],
    context: Annotated[int | None, typer.Option(help="of texts: tokens to look back on at most")] = None,
    stride: Annotated[
        int | None, typer.Option(help="of texts: tokens to move on by; half the context if absent")
    ] = None,
    beam_size: Annotated[
        int | None, typer.Option(help="of pairs: how many beams to translate with; 1 is greedy")
    ] = None,
    length_penalty: Annotated[float | None, typer.Option(help="of beams: above 1 likes long translations")] = None,
    target_language: Annotated[str | None, typer.Option(help="of pairs: to translate into")] = None,
    source_language: Annotated[str | None, typer.Option(help="of pairs: to translate from")] = None,
    as_json: JSON = False,
    device: DEVICE = "auto",
    engine: ENGINE = "torch",
) -> None:
    """Score a model on held-out files: how well it predicts texts, or for a translator BLEU, chrF and perplexity.

    [bold]Examples[/bold]

      openbook evaluate austen.openbook heldout.txt
      openbook evaluate en-de.openbook test.tsv
      openbook evaluate en-de.openbook test.en test.de --beam-size 1
    """
    from openbook.model import load
    from openbook.progress import bars
    from openbook.training.report.pair_display import print_pair_score

    opened = load(model, device, engine)
    of_pairs = {
        "beam_size": beam_size, "length_penalty": length_penalty,
        "target_language": target_language, "source_language": source_language,
    }  # fmt: skip
    of_pairs = {name: value for name, value in of_pairs.items() if value is not None}
    if opened.translates:
        if context is not None or stride is not None:
            raise OpenbookError("--context and --stride are for texts, and this model translates pairs")
        opened.open_engine(bars)
        print_pair_score(opened.evaluate_pairs(files, track=bars, **of_pairs), as_json)
        return
    if of_pairs:
        raise OpenbookError(f"--{next(iter(of_pairs)).replace('_', '-')} is for translators; this model predicts texts")
    if engine != "torch":
        raise OpenbookError("--engine is for translators; texts are scored by the model itself")
    score = opened.evaluate(files, context=context, stride=stride, track=bars)
    facts = {
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "tokens": score.tokens,
        "bytes": score.bytes,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        print(f"{score.bits_per_byte:.4f} bits a byte, perplexity {score.perplexity:.2f} a token")
        print(f"over {score.tokens:,} tokens, {score.bytes:,} bytes")


DTYPE = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as it is, if absent")]
