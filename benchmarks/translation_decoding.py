"""Sentences translated a second, greedy and with 5 beams: ours beside CTranslate2 float32, with the same weights.

    pip install ctranslate2
    python benchmarks/translation_decoding.py en-de.openbook test.en-de.tsv

Each side runs in a process of its own (their thread libraries disturb each other). They take turns, and each turn
translates all sources, as token ids: eight on each side in a round. The best time of each counts, since other work on
the machine can only add to it; so does its speed, which changes within minutes, and seldom between a turn and the next.
Both search alike: length penalty 1, until as many are finished as there are beams. CTranslate2 runs with all cores for
a batch and with a batch for each core, and with batches of several sizes; its fastest way counts, and the faster of our
engines.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BEAMS = (1, 5)
MOST = 128
"""Tokens of a translation."""
WAYS = [(inter, tokens) for inter in (1, 2) for tokens in (1024, 2048, 4096, 16384)]
"""Batches at once, and source tokens of a batch, for CTranslate2."""
TRIES = len(WAYS)
"""How often each side translates all in a round, all its ways together."""

Translate = Callable[[list[list[int]], int], list[list[int]]]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an encoder-decoder's model file")
    parser.add_argument("pairs", type=Path, help="lines of source, tab, target")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=None, help="only so many, spread over all")
    parser.add_argument("--early-stopping", default="always", help="when our search ends: never, heuristic or always")
    parser.add_argument("--engines", nargs="+", default=["torch", "onnx"], help="ours; the faster one counts")
    parser.add_argument("--alone", choices=("openbook", "ctranslate2"), help=argparse.SUPPRESS)
    parser.add_argument("--beam-size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def read(asked: argparse.Namespace) -> tuple[list[str], list[str]]:
    lines = [line.split("\t") for line in asked.pairs.read_text("utf-8").splitlines()]
    step = 1 if asked.sentences is None else max(1, len(lines) // asked.sentences)
    return [line[0] for line in lines[::step]], [line[1] for line in lines[::step]]


def open_openbook(asked: argparse.Namespace) -> list[tuple[str, Translate]]:
    import openbook

    def way(engine: str) -> Translate:
        model = openbook.load(asked.model, "cpu", engine)

        def translate(sources: list[list[int]], beams: int) -> list[list[int]]:
            settings = {
                "beam_size": beams,
                "length_penalty": 1.0,
                "early_stopping": asked.early_stopping,
                "max_tokens": MOST,
            }
            return [list(best.tokens) for best, *_ in model.translator(**settings).token_translator([sources])]

        return translate

    return [(f"openbook, engine {engine}", way(engine)) for engine in asked.engines]


def open_ctranslate2(asked: argparse.Namespace) -> list[tuple[str, Translate]]:
    import ctranslate2

    cores = os.cpu_count() or 1
    opened = {
        inter: ctranslate2.Translator(
            str(asked.folder), compute_type="float32", inter_threads=inter, intra_threads=max(1, cores // inter)
        )
        for inter in {inter for inter, _ in WAYS}
    }

    def way(inter: int, tokens: int) -> Translate:
        def translate(sources: list[list[int]], beams: int) -> list[list[int]]:
            found = opened[inter].translate_batch(
                [[str(token) for token in source] for source in sources],
                beam_size=beams,
                length_penalty=1 if beams > 1 else 0,
                max_decoding_length=MOST,
                max_batch_size=max(64, tokens // beams),
                batch_type="tokens",
                return_end_token=True,
            )
            return [[int(token) for token in each.hypotheses[0]] for each in found]

        return translate

    return [(f"{inter} at once, {tokens} tokens a batch", way(inter, tokens)) for inter, tokens in WAYS]


def alone(asked: argparse.Namespace) -> None:
    """One side: at each line that comes in, the seconds of one of its ways, in turn, and the ids that it wrote."""
    import openbook

    opener = open_openbook if asked.alone == "openbook" else open_ctranslate2
    model = openbook.load(asked.model, "cpu")
    reader = model.metadata.make_source_tokenizer()
    sources = [reader.encode_source(text) for text in read(asked)[0]]
    sources = [ids for ids in sources if len(ids) <= model.metadata.architecture.context]
    ways = opener(asked)
    for _, translate in ways:
        translate(sources[:16], asked.beam_size)  # whatever is done but once
    for _, (name, translate) in zip(sys.stdin, itertools.cycle(ways), strict=False):
        start = time.perf_counter()
        written = translate(sources, asked.beam_size)
        print(json.dumps([name, time.perf_counter() - start, written]), flush=True)


def running(side: str, folder: Path, beams: int) -> subprocess.Popen[str]:
    """The process of a side; it ends when it is left, since nothing more comes in."""
    command = [
        sys.executable,
        __file__,
        *sys.argv[1:],
        "--alone",
        side,
        "--beam-size",
        str(beams),
        "--folder",
        str(folder),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process: subprocess.Popen[str]) -> tuple[str, float, list[list[int]]]:
    """What a side says of its next turn."""
    process.stdin.write("\n")
    process.stdin.flush()
    return tuple(json.loads(process.stdout.readline()))


def side_by_side(asked: argparse.Namespace, folder: Path, beams: int) -> None:
    import sacrebleu

    import openbook

    references = read(asked)[1]
    best: dict[str, tuple[float, str]] = {}
    written = {}
    with running("ctranslate2", folder, beams) as theirs, running("openbook", folder, beams) as ours:
        for _ in range(asked.rounds * TRIES):
            for side, process in (("ctranslate2", theirs), ("openbook", ours)):
                name, seconds, written[side] = turn(process)
                row = name if side == "openbook" else side  # of theirs the fastest way, of ours each engine
                best[row] = min(best.get(row, (1e9, "")), (seconds, name))
    count = len(written["openbook"])
    same = sum(one == other for one, other in zip(*written.values(), strict=True))
    tokenizer = openbook.load(asked.model, "cpu").tokenizer
    print(f"| {beams} beam{'s' * (beams > 1)} | sentences a second | ratio | BLEU | its way |\n|---|---|---|---|---|")
    for row, (seconds, name) in best.items():
        ids_of = written["ctranslate2" if row == "ctranslate2" else "openbook"]
        texts = [tokenizer.decode(ids, skip_special=True).strip() for ids in ids_of]
        bleu = sacrebleu.corpus_bleu(texts, [references], force=True).score if len(texts) == len(references) else 0
        ratio = best["ctranslate2"][0] / seconds
        print(f"| {row} | {count / seconds:.1f} | {ratio:.2f} | {bleu:.1f} | {name} |")
    print(f"\n{count} sentences, {same} translated alike.\n")


def main() -> None:
    asked = options()
    if asked.alone:
        alone(asked)
        return
    import openbook
    from ctranslate2_model import write

    model = openbook.load(asked.model, "cpu")
    special = model.tokenizer.special
    start = special.end[0] if special.decoder_start is None else special.decoder_start
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write(model.transformer, start, special.end[0], special.padding or 0, folder)
        for beams in BEAMS:
            side_by_side(asked, folder, beams)


if __name__ == "__main__":
    main()
