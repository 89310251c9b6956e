"""Decoding side by side with transformers: the same random weights, greedy, float32, interleaved rounds.

    python benchmarks/decoding.py                            # 12 layers, width 768: some minutes
    python benchmarks/decoding.py --layers 2 --tokens 16     # a quick try

Prints one Markdown table a batch size, then where the time of a token goes, and what one answer costs from the start.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

SIZES = {"layers": 12, "width": 768, "heads": 12, "feed-forward": 2048, "vocab-size": 32_000}
SIZES |= {"prompt": 16, "tokens": 128, "rounds": 5, "batch": 8}

KINDS = {
    "matrix products": r"linear|matmul|mm$",
    "attention": r"scaled_dot_product",
    "norms": r"norm",
    "all other operators": r"",
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{default} by default")
    parser.add_argument("--alone", choices=("openbook", "transformers"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_models(asked: argparse.Namespace, folder: Path) -> None:
    """The same random weights as a folder of transformers and as a model file of ours."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from openbook.interop.importing import import_model
    from openbook.interop.tokenizers import write_tokenizer
    from openbook.text.tokenizer.training import train_tokenizer

    head_width = asked.width // asked.heads
    torch.manual_seed(0)
    theirs = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=asked.vocab_size,
            hidden_size=asked.width,
            intermediate_size=asked.feed_forward,
            num_hidden_layers=asked.layers,
            num_attention_heads=asked.heads,
            num_key_value_heads=asked.heads,
            head_dim=head_width,
            max_position_embeddings=asked.prompt + asked.tokens,
            eos_token_id=None,
        )
    )
    theirs.save_pretrained(folder)
    tokenizer = train_tokenizer(["any"], "bytes", 257)
    write_tokenizer(folder, tokenizer.to_json(), tokenizer.special)
    import_model(folder, folder / "model.openbook")
    print(f"{sum(w.numel() for w in theirs.parameters()):,} parameters, prompt {asked.prompt}, {asked.tokens} tokens\n")


Answerer = Callable[[list[list[int]], int], Iterator[list[int]]]
"""Prompts and a number of tokens → the tokens of one step after another, one for each prompt."""


def open_openbook(folder: Path) -> Answerer:
    from openbook.generation.engines.torch_engine import TorchEngine
    from openbook.generation.generate import generate
    from openbook.generation.settings import Sampling
    from openbook.model_file.file import build, load

    metadata, tensors = load(folder / "model.openbook")
    engine = TorchEngine(build(metadata.architecture, tensors))

    def answer(prompts: list[list[int]], count: int) -> Iterator[list[int]]:
        stream = generate(engine, prompts, Sampling(temperature=0, max_tokens=count))
        for first in stream:
            yield [first.token_id, *(next(stream).token_id for _ in prompts[1:])]

    return answer


def open_transformers(folder: Path) -> Answerer:
    import torch
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answer(prompts: list[list[int]], count: int) -> Iterator[list[int]]:
        tokens = torch.tensor(prompts)
        whole = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False)
        yield from whole[:, tokens.shape[1] :].T.tolist()

    return answer


OPENERS = {"transformers": open_transformers, "openbook": open_openbook}


def some_prompts(asked: argparse.Namespace, rows: int) -> list[list[int]]:
    return [[(7 * i + 13 * row) % asked.vocab_size for i in range(1, asked.prompt + 1)] for row in range(rows)]


def alone(asked: argparse.Namespace) -> None:
    """In a process of its own: seconds from its start to the first token, and peak memory after all of them (Linux)."""
    answer = OPENERS[asked.alone](asked.folder)
    list(answer(some_prompts(asked, 1), 1))
    first = seconds_of_process()
    list(answer(some_prompts(asked, 1), asked.tokens))
    peak, own = memory_of_process()
    print(json.dumps({"first": first, "peak": peak, "own": own}))


def seconds_of_process() -> float:
    """Since the start of this process by the system's clock, so that the interpreter and the imports count (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def memory_of_process() -> tuple[float, float]:
    """Gigabytes that this process has had at most, and those of now that are not mapped files (Linux)."""
    memory = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    return int(memory["VmHWM"]) / 1e6, int(memory["RssAnon"]) / 1e6


def bandwidth() -> Callable[[], float]:
    """Measures how fast all threads together read memory, in bytes a second."""
    import torch

    much = torch.ones(64 << 20)

    def measure() -> float:
        start = time.perf_counter()
        much.sum()
        return much.nbytes / (time.perf_counter() - start)

    return measure


def bytes_per_token(asked: argparse.Namespace, rows: int) -> float:
    """Of the matrices, read once a step for all rows, and of the keys and values so far, on average; for one token."""
    block = 4 * asked.width**2 + 3 * asked.width * asked.feed_forward
    cache = asked.layers * 2 * asked.width * (asked.prompt + asked.tokens / 2)
    return 4 * ((asked.layers * block + asked.width * asked.vocab_size) / rows + cache)


def side_by_side(asked: argparse.Namespace, answerers: dict[str, Answerer], rows: int) -> None:
    prompts, measure = some_prompts(asked, rows), bandwidth()
    answers = {name: list(answer(prompts, asked.tokens)) for name, answer in answerers.items()}
    same = sum(one == other for one, other in zip(*answers.values(), strict=True))
    speeds: dict[str, list[float]] = {name: [] for name in answerers}
    reading = []
    for _ in range(asked.rounds):
        reading += [measure() for _ in range(5)]
        for name, answer in answerers.items():
            start = time.perf_counter()
            produced = sum(len(step) for step in answer(prompts, asked.tokens))
            speeds[name].append(produced / (time.perf_counter() - start))
    bound = max(reading) / bytes_per_token(asked, rows)
    theirs = speeds["transformers"]
    print(
        f"Batch {rows}: memory reads {max(reading) / 1e9:.1f} GB/s, "
        f"{bytes_per_token(asked, rows) / 1e6:.0f} MB a token, "
    )
    print(f"so {bound:.0f} tokens/s at most; {same} of {asked.tokens} steps alike.\n")
    print("| | tokens/s, best of rounds | median | ratio of bests | ratio of each round | share of the bound |")
    print("|---|---|---|---|---|---|")
    for name, all_speeds in speeds.items():
        middle = sorted(all_speeds)[len(all_speeds) // 2]
        each = " ".join(f"{own / other:.2f}" for own, other in zip(all_speeds, theirs, strict=True))
        best = max(all_speeds)
        print(f"| {name} | {best:.1f} | {middle:.1f} | {best / max(theirs):.2f} | {each} | {best / bound:.0%} |")
    print()


def where_time_goes(asked: argparse.Namespace, answerers: dict[str, Answerer]) -> None:
    """By operator, under the profiler; it slows small operators down, so these are upper limits for them."""
    from torch.profiler import ProfilerActivity, profile

    print("| ms a token, under the profiler | " + " | ".join([*KINDS, "Python between operators"]) + " |")
    print("|---" * (len(KINDS) + 2) + "|")
    steps = min(32, asked.tokens)
    for name, answer in answerers.items():
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as recorded:
            start = time.perf_counter()
            list(answer(some_prompts(asked, 1), steps))
            whole = (time.perf_counter() - start) * 1e6
        spent = dict.fromkeys(KINDS, 0.0)
        for event in recorded.events():
            if event.cpu_parent is None:  # an operator with all that it calls
                kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, event.name))
                spent[kind] += event.cpu_time_total
        numbers = [*spent.values(), max(0.0, whole - sum(spent.values()))]
        print(f"| {name} | " + " | ".join(f"{number / steps / 1e3:.2f}" for number in numbers) + " |")
    print()


def from_the_start(asked: argparse.Namespace, folder: Path) -> None:
    print("| in a process of its own | s from start to first token | peak memory, GB | of it not mapped files, GB |")
    print("|---|---|---|---|")
    for name in OPENERS:
        runs = []
        for _ in range(3):
            command = [sys.executable, __file__, *sys.argv[1:], "--alone", name, "--folder", str(folder)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(out.splitlines()[-1]))
        best = min(runs, key=lambda run: run["first"])
        print(f"| {name} | {best['first']:.2f} | {best['peak']:.2f} | {best['own']:.2f} |")


def main() -> None:
    asked = options()
    if asked.alone:
        alone(asked)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_models(asked, folder)
        answerers = {name: opener(folder) for name, opener in OPENERS.items()}
        for rows in dict.fromkeys((1, asked.batch)):
            side_by_side(asked, answerers, rows)
        where_time_goes(asked, answerers)
        from_the_start(asked, folder)


if __name__ == "__main__":
    main()
