"""`openbook serve` under load: streams side by side with the engine alone, overload, clients that vanish, a fuzzer.

    python benchmarks/serving.py smollm2.openbook                       # 32 streams
    python benchmarks/serving.py smollm2.openbook --peer http://127.0.0.1:8080 --peer-model smollm2
    python benchmarks/serving.py smollm2.openbook --overload 600        # seconds of eight times what it can take
    python benchmarks/serving.py smollm2.openbook --kill 1000           # clients killed in the middle of a stream
    python benchmarks/serving.py smollm2.openbook --fuzz 600            # seconds of requests that make little sense

The server and the clients share this machine, as they do in use. A peer is any server of OpenAI's shape that runs.
Prints one Markdown table a case.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving_client import Address, Answer, ask, metric, resident_bytes, stream

PROMPT = "Write a long letter to a friend about a journey by rail through the mountains in the north."
FULL_QUEUE = 16
"""Requests that wait in the overload case: a long queue is a long wait for those that are accepted."""
ROWS = 64

ENGINE_ALONE = """
import json, sys, time
import numpy as np
import openbook
model = openbook.load(sys.argv[1])
prompts, tokens = json.loads(sys.argv[2]), int(sys.argv[3])
ids = [model.prompt_tokens(prompt) for prompt in prompts]
model.engine.prefill(ids[:1])
start = time.perf_counter()
session, logits = model.engine.prefill(ids)
first = time.perf_counter() - start
for _ in range(tokens - 1):
    logits = session.step(logits.argmax(-1)[:, None])[:, 0]
print(json.dumps({"seconds": time.perf_counter() - start, "first": first}))
"""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file with a chat template")
    parser.add_argument("--streams", type=int, default=32, help="that run at once")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], help="address of another server that runs")
    parser.add_argument("--peer-model", default="model", help="the name of the model there")
    parser.add_argument("--overload", type=float, metavar="SECONDS")
    parser.add_argument("--kill", type=int, metavar="CLIENTS")
    parser.add_argument("--fuzz", type=float, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzer")
    return parser.parse_args()


@contextmanager
def server(model: Path, *more: str):
    """`openbook serve`, ready; its address and process."""
    command = [sys.executable, "-m", "openbook", "serve", str(model), "--port", "0", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = Address.of(process.stdout.readline().split(" at ")[1].strip())
        while asyncio.run(ask(address, "GET", "/ready")).status != 200:
            time.sleep(0.1)
        yield address, process
    finally:
        process.kill()
        process.wait()


def chat(number: int, tokens: int, model: str | None = None) -> dict[str, Any]:
    said = [{"role": "user", "content": f"{number}. {PROMPT}"}]
    body = {"messages": said, "max_tokens": tokens, "temperature": 0, "stream": True}
    return body | ({"model": model} if model else {"min_tokens": tokens})


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def all_at_once(address: Address, bodies: list[dict[str, Any]]) -> tuple[float, list[Answer]]:
    start = time.perf_counter()
    answers = await asyncio.gather(*(stream(address, "/v1/chat/completions", body) for body in bodies))
    return time.perf_counter() - start, list(answers)


def streams(given: argparse.Namespace) -> None:
    """Total tokens a second and the time to the first token, beside the engine without a server."""
    tokens, count = given.tokens, given.streams
    prompts = json.dumps([f"{number}. {PROMPT}" for number in range(count)])
    rows: dict[str, list[tuple[float, list[float]]]] = {}

    def measure(name: str, address: Address, model: str | None) -> None:
        seconds, answers = asyncio.run(all_at_once(address, [chat(i, tokens, model) for i in range(count)]))
        assert all(answer.status == 200 for answer in answers), answers
        rate = sum(answer.pieces for answer in answers) / seconds
        rows.setdefault(name, []).append((rate, [answer.first for answer in answers]))

    with server(given.model) as (address, _):
        asyncio.run(all_at_once(address, [chat(99, 4)]))
        for _ in range(given.rounds):
            found = subprocess.run(
                [sys.executable, "-c", ENGINE_ALONE, str(given.model), prompts, str(tokens)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            alone = json.loads(found.stdout)
            rows.setdefault("engine alone", []).append((count * tokens / alone["seconds"], [alone["first"]]))
            measure("openbook serve", address, None)
            for peer in given.peer:
                measure(peer, Address.of(peer), given.peer_model)
    print(
        f"\n{count} streams of {tokens} tokens\n\n| | tokens/s | first token p50 | p99 |\n| --- | ---: | ---: | ---: |"
    )
    for name, measured in rows.items():
        rate = statistics.median(rate for rate, _ in measured)
        firsts = [first for _, each in measured for first in each]
        print(f"| {name} | {rate:.1f} | {percentile(firsts, 0.5):.2f} s | {percentile(firsts, 0.99):.2f} s |")


async def load(address: Address, clients: int, seconds: float, tokens: int) -> tuple[Counter[int], list[float]]:
    """Clients that ask again and again: the statuses, and the seconds of those that were answered."""
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            answer = await stream(address, "/v1/chat/completions", chat(number, tokens))
            statuses[answer.status] += 1
            if answer.status == 200:
                taken.append(time.monotonic() - start)
            else:
                await asyncio.sleep(0.5 + random.random())

    await asyncio.gather(*(client(number) for number in range(clients)))
    return statuses, taken


def overload(given: argparse.Namespace) -> None:
    """Eight times what the server takes at once: statuses, memory, the slowest answers, rows that are left."""
    full, tokens = ROWS + FULL_QUEUE, given.tokens
    with server(given.model, "--max-queue", str(FULL_QUEUE)) as (address, process):
        _, calm = asyncio.run(load(address, full, min(60, given.overload / 4), tokens))
        statuses, taken = asyncio.run(load(address, 8 * full, given.overload / 4, tokens))
        before = resident_bytes(process.pid)
        more = asyncio.run(load(address, 8 * full, given.overload * 3 / 4, tokens))
        statuses, taken = statuses + more[0], taken + more[1]
        after = resident_bytes(process.pid)
        rows = asyncio.run(metric(address, "openbook_rows_active"))
    print("\n| | |\n| --- | --- |")
    print(f"| statuses | {', '.join(f'{status}: {count:,}' for status, count in sorted(statuses.items()))} |")
    print(f"| p99 of answers, full load | {percentile(calm, 0.99):.1f} s |")
    print(f"| p99 of answers, eight times | {percentile(taken, 0.99):.1f} s |")
    print(f"| memory after a quarter, and at the end | {before / 1e6:.0f} MB, {after / 1e6:.0f} MB |")
    print(f"| rows left | {rows:.0f} |")


def kill(given: argparse.Namespace) -> None:
    """Clients that vanish in the middle of a stream: the seconds until every row is free."""

    async def vanish(address: Address, count: int) -> int:
        answers = await asyncio.gather(
            *(stream(address, "/v1/chat/completions", chat(i, 2000), pieces=random.randint(0, 6)) for i in range(count))
        )
        return sum(answer.status == 200 for answer in answers)

    with server(given.model, "--max-queue", "1000") as (address, _):
        begun, done = 0, 0
        while done < given.kill:
            wave = min(100, given.kill - done)
            begun += asyncio.run(vanish(address, wave))
            done += wave
        start = time.perf_counter()
        while asyncio.run(metric(address, "openbook_requests_active")):
            time.sleep(0.01)
        print(f"\n{done:,} clients killed, {begun:,} of them in a stream: all rows free after", end=" ")
        print(f"{time.perf_counter() - start:.2f} s")


def fuzz(given: argparse.Namespace) -> None:
    """Requests that make little sense: no 500, and the server lives."""
    from serving_fuzzer import bodies

    statuses: Counter[int] = Counter()
    faults: list[tuple[str, bytes]] = []

    async def run(address: Address) -> None:
        chosen, end = random.Random(given.seed), time.monotonic() + given.fuzz

        async def client() -> None:
            while time.monotonic() < end:
                path, content = bodies(chosen)
                answer = await ask(address, "POST", path, content)
                statuses[answer.status] += 1
                if answer.status >= 500 and answer.status not in (503, 504):
                    faults.append((path, content))

        await asyncio.gather(*(client() for _ in range(8)))

    with server(given.model, "--timeout", "20") as (address, process):
        asyncio.run(run(address))
        alive = process.poll() is None
    print(f"\n{statuses.total():,} requests: {', '.join(f'{s}: {n:,}' for s, n in sorted(statuses.items()))}")
    print("the server lives" if alive else "the server has died")
    for path, content in faults[:5]:
        print(f"500: {path} {content[:2000]!r}")
    sys.exit(bool(faults) or not alive)


def main() -> None:
    given = options()
    for name, case in (("overload", overload), ("kill", kill), ("fuzz", fuzz)):
        if getattr(given, name) is not None:
            case(given)
            return
    streams(given)


if __name__ == "__main__":
    main()
