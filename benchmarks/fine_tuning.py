"""Fine-tuning SmolLM2: it reads a book, and learns facts from questions and answers; before and after.

    openbook import SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.openbook
    python benchmarks/fine_tuning.py smollm2.openbook --books DIR --work DIR              # about 50 minutes
    python benchmarks/fine_tuning.py smollm2.openbook --books DIR --work DIR --only lora  # lora, all or facts alone

The model is fine-tuned on `persuasion.txt` and scored on the first part of `northangerabbey.txt`. It also learns four
facts about each of fifty people, and is asked for them with the same questions and with reworded ones. The plan picks
everything but the minutes. Each run is a process of its own and leaves its results in the folder of `--work`; the same
command resumes what is missing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from facts import asked, make_facts, write_conversations
from learning import Cost, cost_of

WAYS = {"lora": ["--lora-rank", "8"], "all": [], "facts": []}
"""What is given to `openbook train` besides the minutes and what to read."""


def bits_of(model: Path, text: Path, context: int) -> tuple[float, float]:
    """Bits a byte over the text, windows side by side, and the seconds that took."""
    command = ["openbook", "evaluate", str(model), str(text), "--context", str(context), "--stride", str(context)]
    cost, printed = cost_of([*command, "--json"])
    return float(json.loads(printed)["bits_per_byte"]), cost.seconds


def answered(model: Path, pairs: list[tuple[str, str]], folder: Path) -> int:
    """How many of the questions are answered verbatim, greedily."""
    questions = folder / "questions.txt"
    questions.write_text("\n".join(question for question, _ in pairs), encoding="utf-8")
    command = ["openbook", "ask", str(model), "--file", str(questions), "--temperature", "0", "--max-tokens", "40"]
    printed = cost_of([*command, "--repetition-penalty", "1", "--json"])[1]
    answers = [json.loads(line)["answer"].strip() for line in printed.splitlines()]
    return sum(answer == wanted for answer, (_, wanted) in zip(answers, pairs, strict=True))


def train(model: Path, output: Path, options: list[str]) -> dict[str, Any]:
    """What going on costs, and how fast it learned between its first update and its last."""
    folder = output.with_name(output.name + ".training")
    begun = folder.joinpath("checkpoint.safetensors").exists()  # by a run that was interrupted: it goes on
    anew = [] if begun else ["--overwrite"]
    cost, _ = cost_of(["openbook", "train", *options, "--from", str(model), "-o", str(output), *anew])
    lines = folder.joinpath("log.jsonl").read_text("utf-8").splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "step"]
    if len(steps) < 2:
        raise SystemExit(f"{output}: there was no time to learn in; give more --minutes")
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    tokens = sum(event["tokens"] for event in steps[1:])
    rate = tokens / max(seconds, 1e-9)
    return {"cost": cost, "rate": rate, "steps": len(steps)}


def read_part(book: Path, count: int, folder: Path) -> Path:
    """A file with the first `count` bytes of a book."""
    part = folder / f"first-{count}-of-{book.name}"
    part.write_bytes(book.read_bytes()[:count].decode("utf-8", "ignore").encode())
    return part


class Kept(dict[str, Any]):
    """What was found already, in a file of JSON."""

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text("utf-8")) if path.exists() else {})
        self.path = path

    def keep(self, name: str, value: Any) -> None:
        """Remember a value, on disk too."""
        self[name] = value
        self.path.write_text(json.dumps(self, indent=1), encoding="utf-8")


def main() -> None:
    """Run what is not there yet, and print two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model with a chat template")
    parser.add_argument("--books", type=Path, default=Path("../shared/data/books"), help="folder of the novels")
    parser.add_argument("--work", type=Path, default=Path("fine-tuning"), help="folder for models and results; created")
    parser.add_argument("--only", choices=WAYS, help="one of the three; all if absent")
    parser.add_argument("--minutes", type=float, default=10, help="for each run; 10 by default")
    parser.add_argument("--people", type=int, default=50, help="to learn four facts each of; 50 by default")
    parser.add_argument("--context", type=int, default=512, help="of the scores; 512 by default")
    parser.add_argument("--score-bytes", type=int, default=200_000, help="of the unread book; 200,000 by default")
    wanted = parser.parse_args()
    read, unread = wanted.books / "persuasion.txt", wanted.books / "northangerabbey.txt"
    if wanted.only != "facts" and not unread.exists():
        raise SystemExit(f"skipped: {wanted.books} has no {unread.name}; give the folder of the novels with --books")
    wanted.work.mkdir(parents=True, exist_ok=True)
    kept = Kept(wanted.work / "found.json")
    facts = make_facts(wanted.people)
    same, other = asked(facts, 0), asked(facts, 1)
    write_conversations(wanted.work / "facts.jsonl", same)
    for way in [wanted.only] if wanted.only else WAYS:
        output = wanted.work / f"{way}.openbook"
        if way not in kept:
            inputs = ["--conversations", str(wanted.work / "facts.jsonl")] if way == "facts" else [str(read)]
            kept.keep(way, train(wanted.model, output, [*inputs, "--minutes", str(wanted.minutes), *WAYS[way]]))
        if way == "facts" and "answers" not in kept:
            kept.keep("answers", [answered(output, pairs, wanted.work) for pairs in (same, other)])
        if way != "facts":
            part = read_part(unread, wanted.score_bytes, wanted.work)
            for name, model in (("before", wanted.model), (way, output)):
                if f"bits {name}" not in kept:
                    kept.keep(f"bits {name}", bits_of(model, part, wanted.context))
    print_tables(kept, wanted.score_bytes, len(same))


def print_tables(kept: Kept, score_bytes: int, questions: int) -> None:
    """What was found, as markdown."""
    before = kept.get("bits before")
    if before is not None:
        print("| reads persuasion.txt | time, peak memory | tokens/s | steps | bits per byte before | after |")
        print("|" + " --- |" * 6)
        for way in ("lora", "all"):
            if f"bits {way}" in kept:
                print(f"{row(way, kept)} {before[0]:.4f} | {kept[f'bits {way}'][0]:.4f} |")
        print(f"\nThe first {score_bytes:,} bytes of northangerabbey.txt; scoring them took {before[1]:.0f} s.\n")
    if "answers" in kept:
        print("| learns facts | time, peak memory | tokens/s | steps | verbatim | asked another way |")
        print("|" + " --- |" * 6)
        verbatim, another = (f"{right} of {questions}" for right in kept["answers"])
        print(f"{row('facts', kept)} {verbatim} | {another} |")


def row(way: str, kept: Kept) -> str:
    """The beginning of a way's row."""
    found = kept[way]
    return f"| {way} | {Cost(*found['cost'])} | {found['rate']:.0f} | {found['steps']} |"


if __name__ == "__main__":
    main()
