"""Decoding side by side with other programs: the same weights, greedy, all in turns in one run.

    python benchmarks/decoding.py                                      # 125 M: 12 layers, width 768
    python benchmarks/decoding.py --layers 6 --width 384 --feed-forward 1024                  # 10 M
    python benchmarks/decoding.py --peer-python peers/bin/python       # an environment with other programs
    python benchmarks/decoding.py --gguf smollm2.gguf                  # a real model, and the time to the first token
    python benchmarks/decoding.py --layers 2 --tokens 8 --rounds 1     # a quick try

Prints one Markdown table a case: medians of the rounds, the ratio to the best peer of the same number of bits, and the
share of what the memory's own read speed would allow. Programs that are not installed are named with the reason.

The environment of `--peer-python` may have: xllamacpp, ctranslate2 and numpy, onnxruntime-genai, openvino-genai.
transformers is taken from ours. ONNX Runtime GenAI and OpenVINO GenAI read folders that their own exporters write:
`--onnx-folder`, `--openvino-folder`, made of the folder that `--keep` leaves.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from decoding_models import Shape, bytes_per_token, write_ctranslate2, write_models

SIZES = {"layers": 12, "width": 768, "heads": 12, "feed-forward": 2048, "vocab-size": 32_000}
SIZES |= {"tokens": 128, "rounds": 5, "batch": 8}
BITS = {"float32": 32.0, "int8": 8.0, "int4": 5.0}
"""Of a number, with its share of the scales; of int4 in groups of 32, scale and offset."""
PROMPT, LONG_PROMPT = 16, 512
PEERS = Path(__file__).with_name("decoding_peers.py")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{default} by default")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), help="has the other programs")
    parser.add_argument("--gguf", type=Path, help="a real model instead of random weights, for openbook and llama.cpp")
    parser.add_argument("--onnx-folder", type=Path, help="of the model builder of ONNX Runtime GenAI, int4")
    parser.add_argument("--openvino-folder", type=Path, help="of optimum's exporter, int8")
    parser.add_argument("--keep", type=Path, help="write the models to this folder and leave them there")
    return parser.parse_args()


@dataclass
class Program:
    """One program with one file, in a process of its own."""

    peer: str
    kind: str
    path: Path
    python: Path
    seconds: list[float] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.peer.replace('_', ' ')} {self.path.stem if self.peer == 'llama_cpp' else self.kind}"

    def start(self) -> str | None:
        """Start the process; the reason if it cannot decode."""
        command = [str(self.python), str(PEERS), self.peer, str(self.path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return self._answer().get("skipped")

    def ask(self, prompts: list[list[int]], tokens: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"skipped": "its process ended"}


def bandwidth() -> Callable[[], float]:
    """Measures bytes a second that all cores read from memory, by sums over much more than the caches hold."""
    from concurrent.futures import ThreadPoolExecutor

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [np.ones(1 << 26, dtype=np.float32) for _ in range(cores)]
    pool = ThreadPoolExecutor(cores)

    def measure() -> float:
        start = time.perf_counter()
        list(pool.map(lambda part: float(part.sum()), parts))
        return sum(part.nbytes for part in parts) / (time.perf_counter() - start)

    return measure


def some_prompts(vocab_size: int, length: int, rows: int) -> list[list[int]]:
    return [[(7 * i + 13 * row) % vocab_size for i in range(1, length + 1)] for row in range(rows)]


def side_by_side(
    programs: list[Program], title: str, prompts: list[list[int]], tokens: int, rounds: int, bytes_of: dict[str, float]
) -> None:
    """One table. With one token, the speed is that of reading the prompts."""
    running = []
    for program in programs:
        program.seconds, said = [], program.ask(prompts, tokens)  # not counted: caches fill, threads start
        if "skipped" in said:
            print(f"{program.name} is left out: {said['skipped']}\n")
            continue
        program.tokens = said["tokens"]
        running.append(program)
    measure, reading = bandwidth(), []
    for _ in range(rounds):
        reading += [measure() for _ in range(3)]
        for program in running:
            program.seconds.append(program.ask(prompts, tokens)["seconds"])
    count = len(prompts) * (tokens if tokens > 1 else len(prompts[0]))
    speed = {program.name: count / statistics.median(program.seconds) for program in running}
    print(f"{title}. Memory reads {max(reading) / 1e9:.1f} GB/s.\n")
    print("| | tokens/s, median | best | to the best peer of its bits | of the memory bound | tokens as openbook's |")
    print("|---|---|---|---|---|---|")
    for program in running:
        others = [speed[each.name] for each in running if each.kind == program.kind and each.peer != "openbook"]
        ratio = f"{speed[program.name] / max(others):.2f}" if program.peer == "openbook" and others else ""
        bound = max(reading) / bytes_of[program.kind] if tokens > 1 and program.kind in bytes_of else None
        share = f"{speed[program.name] / bound:.0%}" if bound else ""
        ours = next((each.tokens for each in running if each.peer == "openbook" and each.kind == program.kind), None)
        pairs = zip(chain(*program.tokens), chain(*(ours or [])), strict=False)
        alike = f"{sum(one == other for one, other in pairs)} of {sum(map(len, program.tokens))}" if ours else ""
        row = [program.name, f"{speed[program.name]:.1f}", f"{count / min(program.seconds):.1f}", ratio, share, alike]
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def from_the_start(programs: list[Program], prompt: list[int], rounds: int) -> None:
    """Each in a new process, in turns: from its start to the first token, and its memory then."""
    found: dict[str, list[dict[str, Any]]] = {program.name: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            fresh = Program(program.peer, program.kind, program.path, program.python)
            if fresh.start() is None:
                found[program.name].append(fresh.ask([prompt], 1))
            fresh.stop()
    print(f"From the start of a Python process to the first token, prompt of {len(prompt)}.\n")
    print("| | s, median | best | peak memory, GB | of it not mapped files, GB |")
    print("|---|---|---|---|---|")
    for name, runs in found.items():
        times = [run["since_start"] for run in runs if "since_start" in run]
        if times:
            last = runs[-1]
            row = (statistics.median(times), min(times), last["peak"], last["own"])
            print(f"| {name} | " + " | ".join(f"{number:.2f}" for number in row) + " |")
    print(flush=True)


def command_start(model: Path, rounds: int) -> None:
    """`openbook ask` as a person calls it: until it has printed one token and ended."""
    command = [sys.executable, "-m", "openbook", "ask", str(model), "What is the capital of France?"]
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([*command, "--temperature", "0", "--max-tokens", "1"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    print(f"`openbook ask {model.name}`, one token: {statistics.median(times):.2f} s, best {min(times):.2f} s.\n")


def random_programs(asked: argparse.Namespace, folder: Path, shape: Shape) -> list[Program]:
    own, theirs = Path(sys.executable), asked.peer_python
    write_models(shape, folder)
    programs = [Program("openbook", kind, folder / f"{kind}.openbook", own) for kind in BITS]
    programs += [
        Program("llama_cpp", kind, folder / f"{name}.gguf", theirs)
        for kind, name in (("float32", "float32"), ("int8", "q8_0"), ("int4", "q4_0"))
    ]
    for kind in ("float32", "int8"):
        problem = write_ctranslate2(folder, theirs, kind)
        if problem is None:
            programs.append(Program("ctranslate2", kind, folder / f"ct2-{kind}", theirs))
        else:
            print(f"ctranslate2 {kind} is left out: {problem}\n")
    programs.append(Program("transformers", "float32", folder / "hf", own))
    if asked.onnx_folder:
        programs.append(Program("onnxruntime_genai", "int4", asked.onnx_folder, theirs))
    if asked.openvino_folder:
        programs.append(Program("openvino_genai", "int8", asked.openvino_folder, theirs))
    return programs


def real_programs(asked: argparse.Namespace, folder: Path) -> list[Program]:
    from openbook.interop.exporting import export_model
    from openbook.interop.importing import import_model

    own, theirs = Path(sys.executable), asked.peer_python
    plain = folder / "float32.openbook"
    import_model(asked.gguf, plain)
    programs = []
    for kind, quantized in (("int8", "q8_0"), ("int4", "q4_0")):
        import_model(asked.gguf, folder / f"{kind}.openbook", dtype=kind)
        export_model(plain, folder / f"{quantized}.gguf", "gguf", dtype=quantized)
        programs.append(Program("openbook", kind, folder / f"{kind}.openbook", own))
        programs.append(Program("llama_cpp", kind, folder / f"{quantized}.gguf", theirs))
    return [*programs, Program("llama_cpp", "int4", asked.gguf.resolve(), theirs)]


def main() -> None:
    asked = options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        context = LONG_PROMPT + asked.tokens
        shape = Shape(asked.layers, asked.width, asked.heads, asked.feed_forward, asked.vocab_size, context)
        all_programs = real_programs(asked, folder) if asked.gguf else random_programs(asked, folder, shape)
        programs = []
        for program in all_programs:
            problem = program.start()
            if problem is None:
                programs.append(program)
            else:
                print(f"{program.name} is left out: {problem}\n")

        def bound(rows: int, prompt: int) -> dict[str, float]:
            if asked.gguf:
                return {}
            return {kind: bytes_per_token(shape, bits, rows, prompt + asked.tokens / 2) for kind, bits in BITS.items()}

        cases = [(1, PROMPT), (asked.batch, PROMPT), (1, LONG_PROMPT)]
        for rows, length in cases:
            prompts = some_prompts(asked.vocab_size, length, rows)
            title = f"Batch {rows}, prompt {length}, {asked.tokens} tokens"
            side_by_side(programs, title, prompts, asked.tokens, asked.rounds, bound(rows, length))
        prompts = some_prompts(asked.vocab_size, LONG_PROMPT, 1)
        side_by_side(programs, f"Reading a prompt of {LONG_PROMPT}", prompts, 1, asked.rounds, {})
        for program in programs:
            program.stop()
        from_the_start(programs, some_prompts(asked.vocab_size, 35, 1)[0], asked.rounds)
        if asked.gguf:
            command_start(folder / "int8.openbook", asked.rounds)


if __name__ == "__main__":
    main()
