"""What a process of a sharded run takes: as computed, and nothing for weights before they are split."""

import ctypes
from pathlib import Path

import pytest
import torch
from groups import in_group
from training_examples import books, recipe

from openbook.training.distributed.sharding import shard
from openbook.training.group import current_group
from openbook.training.initialize import initialize
from openbook.training.loop import TrainingLoop
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.memory import training_bytes
from openbook.training.plan.rules import shape_choices
from openbook.training.recipe import build_architecture, make_recipe
from openbook.training.run import make_checkpointer
from openbook.transformer.transformer import Transformer

SIZES = {"vocab_size": 4000, "layers": 6, "width": 384, "heads": 6, "key_value_heads": 6, "head_width": 64}
CHANGES = SIZES | {"feed_forward_width": 1056, "context": 64, "batch_tokens": 128, "micro_batch_size": 1}
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def step(folder):
    for each in (TRIM_THRESHOLD, MMAP_THRESHOLD):  # what is freed goes back to the system
        ctypes.CDLL(None).mallopt(each, 100_000)
    some, group = recipe(**CHANGES), current_group()
    with torch.device("meta"):
        model = Transformer(build_architecture(some))
    shard(model, group, torch.device("cpu"))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    initialize(model, 1)
    initialized = resident("VmRSS") - before
    loop = TrainingLoop(model.train(), books(some), some, make_checkpointer(folder))
    for _ in range(2):
        loop._step()
        loop.state.step += 1
    (folder / str(group.rank)).write_text(f"{initialized} {resident('VmHWM') - before}")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells how much was taken at most")
def test_memory_is_as_computed(tmp_path):
    assert in_group(2, step, tmp_path) == [0, 0]
    some = recipe(**CHANGES)
    computed = training_bytes(build_architecture(some), some, parts=2)
    for rank in (0, 1):
        initialized, most = map(int, (tmp_path / str(rank)).read_text().split())
        assert initialized == pytest.approx(4 * count_parameters(build_architecture(some)) / 2, rel=0.15)
        assert most == pytest.approx(computed, rel=0.1)


def test_a_model_of_a_billion_parameters_needs_a_part_in_each_process():
    sizes = shape_choices(16, 2048, {}) | {"vocab_size": 32_000, "context": 2048, "micro_batch_size": 1}
    some = make_recipe({**sizes, "gradient_checkpointing": True})
    architecture = build_architecture(some)
    parameters = count_parameters(architecture)
    assert 0.9e9 < parameters < 1.3e9
    alone, of_8, of_64 = (training_bytes(architecture, some, parts=parts) for parts in (1, 8, 64))
    assert alone > 4 * 4 * parameters
    assert of_64 < of_8 < 0.5 * alone
