"""Memory and time of importing and exporting a large folder: 1 GB in shards, made here with random weights.

    python benchmarks/importing.py                     # 1 GB in shards of 100 MB
    python benchmarks/importing.py --gigabytes 0.2     # a quick try

Each is run in a process of its own; its peak is that of the memory it holds itself, over what importing torch takes.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, VOCABULARY = 1024, 8192


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the weights; 1 by default")
    parser.add_argument("--shard", type=float, default=0.1, help="gigabytes of a shard; 0.1 by default")
    parser.add_argument("--alone", nargs=3, metavar=("VERB", "FROM", "TO"), help=argparse.SUPPRESS)
    return parser.parse_args()


def write_model(path: Path, gigabytes: float) -> None:
    """A model file of about this size, in bfloat16, one random tensor at a time."""
    import torch

    from openbook.model_file.file import model_writer
    from openbook.model_file.metadata import ModelMetadata
    from openbook.model_file.tensor_shapes import expected_shapes
    from openbook.text.tokenizer.training import train_tokenizer
    from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Stack

    attention = Attention(heads=16, key_value_heads=8, head_width=64, query_key_norm=Norm())
    block = Block(attention=attention, feed_forward=FeedForward(width=4 * WIDTH))
    each = 2 * (3 * WIDTH * WIDTH + 12 * WIDTH * WIDTH)
    layers = max(1, round((gigabytes * 1e9 - 4 * VOCABULARY * WIDTH) / each))
    architecture = Architecture(
        vocab_size=VOCABULARY, width=WIDTH, context=512, decoder=Stack(blocks=layers * (block,))
    )
    metadata = ModelMetadata(architecture=architecture, tokenizer=train_tokenizer(["any"], "bytes", 257).to_json())
    with model_writer(path, metadata, "BF16") as writer:
        for name, shape in expected_shapes(architecture).items():
            writer.write(name, torch.randn(shape).bfloat16())


def resident() -> tuple[int, int]:
    """Bytes of memory of this process, and the most it has had (Linux)."""
    status = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    return int(status["VmRSS"]) * 1024, int(status["VmHWM"]) * 1024


def alone(verb: str, source: Path, target: Path, shard: float) -> None:
    """One verb in this process; its peak above what was there before it began."""
    from openbook.interop.exporting import export_model
    from openbook.interop.importing import import_model

    before, _ = resident()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    started = time.perf_counter()
    if verb == "import":
        import_model(source, target)
    else:
        export_model(source, target, "hf", max_shard_bytes=int(shard * 1e9))
    seconds = time.perf_counter() - started
    print(json.dumps({"peak": resident()[1] - before, "seconds": seconds}))


def main() -> None:
    asked = options()
    if asked.alone:
        verb, source, target = asked.alone
        alone(verb, Path(source), Path(target), asked.shard)
        return
    with tempfile.TemporaryDirectory() as temporary:
        model, folder, again = (Path(temporary) / name for name in ("m.openbook", "folder", "again.openbook"))
        write_model(model, asked.gigabytes)
        print("| | MB | peak above the start, MB | of the largest shard | s |\n|---|---|---|---|---|")
        for verb, source, target in (("export", model, folder), ("import", folder, again)):
            command = [sys.executable, __file__, "--shard", str(asked.shard), "--alone", verb, str(source), str(target)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(out.splitlines()[-1])
            largest = max(path.stat().st_size for path in folder.glob("*.safetensors"))
            share = found["peak"] / largest
            size = model.stat().st_size / 1e6
            print(f"| {verb} | {size:.0f} | {found['peak'] / 1e6:.0f} | {share:.2f} | {found['seconds']:.1f} |")
        same = model.read_bytes() == again.read_bytes()
        print(f"\nExport and import give {'the same bytes' if same else 'OTHER BYTES'}.")


if __name__ == "__main__":
    main()
