"""Translation: train on pairs for some minutes, then translate a whole test file, greedily and with beams.

    python benchmarks/translation.py --pairs DIR                          both language pairs, 20 minutes each
    python benchmarks/translation.py --pairs DIR --only lohelp-en-de --minutes 5
    python benchmarks/translation.py --pairs DIR --model en-de.openbook   only translate and score

DIR holds `lohelp-en-de` and `bible-en-es`, each with train, valid and test files of source, tab, target. The minutes
count from the start of the training process: imports, reading, vocabulary and all. BLEU and chrF are sacrebleu's,
cased, over the whole test file; sentences a second count from the first call to the last answer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LANGUAGES = {"lohelp-en-de": "en-de", "bible-en-es": "en-es"}


def train(folder: Path, languages: str, output: Path, options: list[str]) -> float:
    """Train with the command itself; gives the seconds from the start of its process."""
    files = [str(folder / f"{split}.{languages}.tsv") for split in ("train", "valid")]
    command = ["train", "--pairs", files[0], "--validation", files[1], "-o", str(output), "--overwrite", *options]
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "openbook.cli.main", *command], check=False)
    if done.returncode:
        raise SystemExit(f"openbook {' '.join(command)}: failed with {done.returncode}")
    return time.perf_counter() - begun


def translate(path: Path, test: Path, beams: int) -> dict[str, float | str]:
    """Translate a test file and score it."""
    from sacrebleu.metrics import BLEU, CHRF

    import openbook

    pairs = [line.split("\t") for line in test.read_text("utf-8").splitlines()]
    sources, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    model = openbook.load(path)
    begun = time.perf_counter()
    translations = [each.text for each in model.translate(sources, beam_size=beams)]
    seconds = time.perf_counter() - begun
    bleu, chrf = BLEU(), CHRF()
    return {
        "beam_size": beams,
        "bleu": bleu.corpus_score(translations, [references]).score,
        "chrf": chrf.corpus_score(translations, [references]).score,
        "sentences_per_second": len(sources) / seconds,
        "signature": str(bleu.get_signature()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="the folder of the language pairs")
    parser.add_argument("--only", choices=LANGUAGES, help="one of them")
    parser.add_argument("--minutes", default="20")
    parser.add_argument("--options", default="", help="more options of `openbook train`")
    parser.add_argument("--beam-size", default="1,5", help="widths of the beam; 1 is greedy")
    parser.add_argument("--model", type=Path, help="a trained model file, to translate with")
    parser.add_argument("--keep", type=Path, help="a folder for the trained models")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in [asked.only] if asked.only else LANGUAGES:
            folder, languages = asked.pairs / name, LANGUAGES[name]
            if not folder.exists():
                raise SystemExit(
                    f"skipped: {folder} does not exist; give the folder of the language pairs with --pairs"
                )
            model, seconds = asked.model, None
            if model is None:
                model = (asked.keep or Path(temporary)) / f"{name}.openbook"
                budget = [] if "--steps" in asked.options else ["--minutes", asked.minutes]
                seconds = train(folder, languages, model, [*budget, *asked.options.split()])
            for beams in map(int, asked.beam_size.split(",")):
                result = {"pairs": name, "trained_seconds": seconds}
                result |= translate(model, folder / f"test.{languages}.tsv", beams)
                if asked.json:
                    print(json.dumps(result))
                else:
                    print(
                        f"{name}, beam {beams}: BLEU {result['bleu']:.2f}, chrF {result['chrf']:.2f}, "
                        f"{result['sentences_per_second']:.1f} sentences/s  ({result['signature']})"
                    )


if __name__ == "__main__":
    main()
