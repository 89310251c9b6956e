"""What a step sends: twice all gradients but the process's own share of them, and hardly more."""

from pathlib import Path

import pytest
import torch
from groups import in_group
from torch import nn

from openbook.training.group import current_group

NUMBERS = 3_000_001


def sent():
    """Bytes that this process has written, to sockets too."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def add_some(folder):
    group = current_group()
    parameters = [nn.Parameter(torch.zeros(count)) for count in (NUMBERS - 1000, 1000)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1.0 + group.rank)
    before = sent()
    group.add_gradients(parameters)
    (folder / str(group.rank)).write_text(str(sent() - before))
    wanted = sum(range(1, group.size + 1))
    assert all(bool((parameter.grad == wanted).all()) for parameter in parameters)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process writes")
@pytest.mark.parametrize("size", [2, 3, 4])
def test_bytes_of_a_step_are_as_theory_says(tmp_path, size):
    assert in_group(size, add_some, tmp_path) == [0] * size
    for rank in range(size):
        written = int((tmp_path / str(rank)).read_text())
        assert written == pytest.approx(2 * (size - 1) / size * 4 * NUMBERS, rel=0.01)
