"""A real assistant side by side with transformers: the same weights, question and chat template, greedy, float32.

    openbook import SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.openbook
    python benchmarks/assistant.py smollm2.openbook [--rounds 3] [--tokens 64]

Each answer is given by a process of its own, in turns. Counted are the seconds from the start of the process
(interpreter, imports, weights, tokenizer, template) to the first token, and the tokens a second of the same answer
given again by then; Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from decoding_peers import memory_of_process, seconds_of_process

Answerer = Callable[[int], list[int]]
"""A number of tokens → that many tokens of the answer."""


def open_openbook(path: Path, question: str) -> Answerer:
    import openbook

    model = openbook.load(path)

    def answer(count: int) -> list[int]:
        how = {"temperature": 0, "max_tokens": count, "min_tokens": count, "repetition_penalty": 1}
        return [chunk.token.token_id for chunk in model.stream([question], **how)]

    return answer


def open_transformers(path: Path, question: str) -> Answerer:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": question}]

    def answer(count: int) -> list[int]:
        asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        ids = asked["input_ids"]
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=count,
            max_new_tokens=count,
            repetition_penalty=1.0,
        )
        return whole[0, ids.shape[1] :].tolist()  # type: ignore[no-any-return]

    return answer


OPENERS = {"transformers": open_transformers, "openbook": open_openbook}


def alone(name: str, path: Path, question: str, count: int) -> None:
    """In a process of its own: from its start to the first token, tokens a second, peak memory."""
    answer = OPENERS[name](path, question)
    answer(1)
    first = seconds_of_process()
    begun = time.perf_counter()
    tokens = answer(count)
    rate = count / (time.perf_counter() - begun)
    print(json.dumps({"first": first, "rate": rate, "tokens": tokens, **memory_of_process()}))


def main() -> None:
    """Run and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file with a chat template, float32")
    parser.add_argument("--question", default="what can you do")
    parser.add_argument("--tokens", type=int, default=64, help="of the answer that is timed; 64 by default")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each; 3 by default")
    parser.add_argument("--alone", choices=OPENERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        alone(asked.alone, asked.model, asked.question, asked.tokens)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "folder"
        subprocess.run(["openbook", "export", str(asked.model), "--to", "hf", "-o", str(folder)], check=True)
        paths = {"transformers": folder, "openbook": asked.model}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in OPENERS}
        given: dict[str, list[int]] = {}
        for _ in range(asked.rounds):
            for name, path in paths.items():
                options = ["--question", asked.question, "--tokens", str(asked.tokens), "--alone", name]
                command = [sys.executable, __file__, str(path), *options]
                found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
                given[name] = found.pop("tokens")
                runs[name].append(found)
    print("| | start to first token, s | of each | tokens/s | peak memory, GB | of it not mapped files, GB |")
    print("|" + " --- |" * 6)
    best = {}
    for name, each in runs.items():
        best[name] = first, rate = min(run["first"] for run in each), max(run["rate"] for run in each)
        all_first = " ".join(f"{run['first']:.2f}" for run in each)
        memory = f"{each[0]['peak']:.2f} | {each[0]['own']:.2f}"
        print(f"| {name} | {first:.2f} | {all_first} | {rate:.1f} | {memory} |")
    first, rate = (own / other for own, other in zip(best["openbook"], best["transformers"], strict=True))
    same = sum(one == other for one, other in zip(*given.values(), strict=True))
    print(f"\nFirst token after {first:.2f} × transformers' time, {rate:.2f} × its tokens a second; ", end="")
    print(f"{same} of {asked.tokens} tokens alike.")


if __name__ == "__main__":
    main()
