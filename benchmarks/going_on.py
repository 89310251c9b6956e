"""Going on from a real model: it reads a book, and learns facts from conversations; before and after.

    openbook import SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.openbook
    python benchmarks/going_on.py smollm2.openbook --books DIR [--minutes 10] [--facts 50]

The model reads `persuasion.txt`, and is scored on `northangerabbey.txt`, which it has not read here. Then it learns
four facts each of some people from questions and answers, and is asked the same questions, and others for the same.
Every run is a process of its own; peak memory is that of the process.
"""

import argparse
import json
import tempfile
from pathlib import Path

from facts import asked, make_facts, write_conversations
from learning import Cost, cost_of

WAYS = {"low rank": ["--lora", "8"], "all weights": []}


def bits_of(model: Path, book: Path, context: int) -> float:
    """Bits a byte over the whole book, each token with what fits into a window before it."""
    command = ["openbook", "evaluate", str(model), str(book), "--context", str(context), "--stride", str(context)]
    return float(json.loads(cost_of([*command, "--json"])[1])["bits_a_byte"])


def train(model: Path, output: Path, options: list[str]) -> tuple[Cost, float, int]:
    """What going on costs, tokens a second of the loop, and the updates."""
    cost, _ = cost_of(["openbook", "train", *options, "--from", str(model), "-o", str(output), "--overwrite"])
    lines = output.with_suffix(".training").joinpath("log.jsonl").read_text("utf-8").splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "step"]
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    tokens = sum(event["tokens"] for event in steps[1:])
    return cost, tokens / max(seconds, 1e-9), len(steps)


def answered(model: Path, pairs: list[tuple[str, str]], folder: Path) -> int:
    """How many of the questions are answered verbatim, greedily."""
    questions = folder / "questions.txt"
    questions.write_text("\n".join(question for question, _ in pairs), encoding="utf-8")
    command = ["openbook", "ask", str(model), "--file", str(questions), "--temperature", "0", "--max-tokens", "40"]
    printed = cost_of([*command, "--json"])[1]
    answers = [json.loads(line)["answer"].strip() for line in printed.splitlines()]
    return sum(answer == wanted for answer, (_, wanted) in zip(answers, pairs, strict=True))


def main() -> None:
    """Run and print two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model with a chat template")
    parser.add_argument("--books", type=Path, default=Path("../shared/data/books"), help="folder of the novels")
    parser.add_argument("--minutes", type=float, default=10, help="for each run")
    parser.add_argument("--facts", type=int, default=50, help="people to learn four facts each of")
    parser.add_argument("--context", type=int, default=512, help="of the scores")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--only", choices=["book", "facts"], help="one of the two")
    wanted = parser.parse_args()
    read, unread = wanted.books / "persuasion.txt", wanted.books / "northangerabbey.txt"
    if not unread.exists():
        raise SystemExit(f"skipped: {wanted.books} has no {unread.name}; give the folder of the novels with --books")
    budget = ["--minutes", str(wanted.minutes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = folder / "went-on.openbook"
        if wanted.only != "facts":
            print("| reads persuasion.txt | cost | tokens/s | updates | bits a byte of northangerabbey.txt |")
            print("| --- | --- | --- | --- | --- |")
            print(f"| before | | | | {bits_of(wanted.model, unread, wanted.context):.4f} |", flush=True)
            for way in wanted.ways:
                cost, rate, steps = train(wanted.model, output, [str(read), *budget, *WAYS[way]])
                bits = bits_of(output, unread, wanted.context)
                print(f"| {way} | {cost} | {rate:.0f} | {steps} | {bits:.4f} |", flush=True)
        if wanted.only != "book":
            facts = make_facts(wanted.facts)
            learn, other = asked(facts, 0), asked(facts, 1)
            write_conversations(folder / "learn.jsonl", learn)
            write_conversations(folder / "other.jsonl", other)
            files = ["--conversations", str(folder / "learn.jsonl"), "--validation", str(folder / "other.jsonl")]
            print("\n| learns facts | cost | tokens/s | updates | verbatim | asked another way |")
            print("| --- | --- | --- | --- | --- | --- |")
            for way in wanted.ways:
                cost, rate, steps = train(wanted.model, output, [*files, *budget, *WAYS[way]])
                right = (f"{answered(output, each, folder)} of {len(each)}" for each in (learn, other))
                print(f"| {way} | {cost} | {rate:.0f} | {steps} | {' | '.join(right)} |", flush=True)


if __name__ == "__main__":
    main()
