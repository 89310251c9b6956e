"""Preparation of much text: megabytes a second, the most memory of a process, and duplicates, beside encoding alone.

    python benchmarks/make_text.py corpus --gigabytes 1
    python benchmarks/preparing.py corpus --processes 2
    python benchmarks/preparing.py corpus --processes 1        # the same index: the same tokens and duplicates
    python benchmarks/preparing.py corpus --peer tokenizers    # litgpt's way: the library, as it is, in each process
    python benchmarks/preparing.py corpus --peer tiktoken      # nanoGPT's way, with the same merges

`openbook prepare` reads, cleans, finds duplicates, splits, trains a tokenizer and encodes. The peers encode each
file with the tokenizer that it trained, and write the tokens. Memory is that of the process with the most: its pages
without those of mapped files.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

CHUNK = 1 << 20
SAMPLE_SECONDS = 0.5


class Memory(threading.Thread):
    """Watches a process and those that it starts: the most memory that one of them held in each minute."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process, self._began = process, time.perf_counter()
        self.by_minute: dict[int, int] = {}
        self.start()

    def run(self) -> None:
        while (held := [_anonymous(each) for each in _family(self._process)]) and max(held):
            minute = int((time.perf_counter() - self._began) // 60)
            self.by_minute[minute] = max(self.by_minute.get(minute, 0), *held)
            time.sleep(SAMPLE_SECONDS)


def _family(process: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(each for child in children for each in _family(int(child)))]


def _anonymous(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def prepare(corpus: Path, folder: Path, processes: int) -> None:
    """Measure `openbook prepare`."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "openbook", "prepare", corpus, "-o", folder, "--processes", str(processes)]
    with subprocess.Popen([str(each) for each in command]) as running:
        memory = Memory(running.pid)
        code = running.wait()
    if code:
        sys.exit(code)
    size, seconds = _size(corpus), time.perf_counter() - began
    peaks = [round(memory.by_minute[minute] / 1e6) for minute in sorted(memory.by_minute)]
    report = json.loads((folder / "report.json").read_text())
    index = json.loads((folder / "index.json").read_text())
    facts = {
        "bytes": size,
        "processes": processes,
        "seconds": round(seconds, 1),
        "MB/s": round(size / seconds / 1e6, 2),
        "MB by minute": peaks,
        "exact": report["exact_passages"],
        "near": report["near_passages"],
        "shards": hashlib.sha256(json.dumps([index["train"], index["validation"]]).encode()).hexdigest()[:16],
    }
    print(json.dumps(facts))


def encode_file(path: Path, peer: str, tokenizer: Path, output: Path) -> int:
    """Encode a file as a peer does, and write its tokens; gives how many."""
    text = path.read_text("utf-8")
    texts = text.split("\n\n")
    if peer == "tokenizers":
        from tokenizers import Tokenizer

        encoder = Tokenizer.from_file(str(tokenizer))
        ids = [
            each.ids
            for start in range(0, len(texts), 1000)
            for each in encoder.encode_batch(texts[start : start + 1000])
        ]
    else:
        encode = _tiktoken(tokenizer)
        ids = [encode(each) for each in texts]
    flat = np.fromiter((token for each in ids for token in each), np.uint16)
    flat.tofile(output / f"{path.stem}.bin")
    return len(flat)


def _tiktoken(tokenizer: Path):
    import tiktoken

    from openbook.text.tokenizer.tokenizer import Tokenizer
    from openbook.text.tokenizer.training import BPE_PATTERN

    ours = Tokenizer.from_json(tokenizer.read_text("utf-8"))
    ranks = {ours.token_bytes(number): number for number in ours.ids if number not in ours.special_ids.values()}
    return tiktoken.Encoding("ours", pat_str=BPE_PATTERN, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


def encode(corpus: Path, folder: Path, processes: int, peer: str) -> None:
    """Measure a peer, in as many processes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    output = Path(f"{folder}-{peer}")
    output.mkdir(exist_ok=True)
    began = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        running = [
            pool.submit(encode_file, path, peer, folder / "tokenizer.json", output) for path in sorted(corpus.iterdir())
        ]
        tokens = sum(each.result() for each in running)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "peer": peer,
                "tokens": tokens,
                "seconds": round(seconds, 1),
                "MB/s": round(_size(corpus) / seconds / 1e6, 2),
            }
        )
    )
    shutil.rmtree(output)


def _size(corpus: Path) -> int:
    return sum(path.stat().st_size for path in corpus.iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("tokens"))
    parser.add_argument("--peer", choices=["tokenizers", "tiktoken"])
    given = parser.parse_args()
    if given.peer:
        encode(given.corpus, given.output, given.processes, given.peer)
    else:
        prepare(given.corpus, given.output, given.processes)
