"""How fast this machine trains: a few real steps of small models, timed."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openbook.training.data_parallel import DataParallel, max_replicas
from openbook.training.group import current_group
from openbook.training.initialize import initialize
from openbook.training.loss import Batch, forward_backward
from openbook.training.optimizer import NEWTON_SCHULZ_STEPS, parameter_group
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer

MATMUL_SIZE = 256
"""Rows and columns of the matrices that tell whether a dtype is fast at all."""


def token_flops(architecture: Architecture, context: int) -> int:
    """Floating-point operations to train on one token: 6 for each weight of a matrix, and those of attention.

    6·N + 6·Σ heads·head_width·context over the blocks, since half of the scores are masked (Kaplan et al. 2020, 2.1).
    For an encoder-decoder: of one target token and one source token, where nothing is masked.
    """
    weights = architecture.vocab_size * architecture.width
    attended = 0
    for name, stack in architecture.stacks.items():
        for block in stack.blocks:
            feed_forward = block.feed_forward
            experts = 1 if feed_forward.experts is None else feed_forward.experts.experts_per_token
            weights += architecture.width * experts * (2 + feed_forward.gated) * feed_forward.width
            for attention, factor in ((block.attention, 1 + (name == "encoder")), (block.cross_attention, 2)):
                if attention is None:
                    continue
                weights += architecture.width * attention.head_width * 2 * (attention.heads + attention.key_value_heads)
                length = factor * min(context, attention.window or context)
                attended += attention.heads * attention.head_width * length
    return 6 * (weights + attended)


def muon_flops(architecture: Architecture) -> int:
    """Floating-point operations of Muon's Newton–Schulz steps in a training step; see `optimizer.orthogonalize`.

    4·m²·n + 2·m³ for each step of each matrix, m its shorter side: a quarter of a short run of a small model.
    """
    with torch.device("meta"):
        model = Transformer(architecture)
    flops = 0
    for name, parameter in model.named_parameters():
        if parameter_group(name, parameter) == "matrix":
            *experts, rows, columns = parameter.shape
            short, long = sorted((rows, columns))
            flops += math.prod(experts) * (4 * short**2 * long + 2 * short**3)
    return NEWTON_SCHULZ_STEPS * flops


def count_parameters(architecture: Architecture) -> int:
    """Parameters of the model, without allocating it."""
    with torch.device("meta"):
        model = Transformer(architecture)
    return sum(parameter.numel() for parameter in model.parameters())


def step_seconds(
    architecture: Architecture, length: int, rows: int, device: torch.device, dtype: torch.dtype, patience: float
) -> float:
    """Seconds for forward and backward of a micro-batch: the best of at least two, in about `patience` seconds.

    The first one allocates memory. A small model runs as many micro-batches at once as in training, and all processes
    of a group run theirs at once, which counts as that many micro-batches in the time of the slowest.

    Args:
        architecture: the size; an encoder-decoder gets sources as long as the targets.
        length: tokens of a sequence.
        rows: sequences.
        device: where to train.
        dtype: of matrix products.
        patience: seconds to spend.
    """
    with torch.device(device):
        model = Transformer(architecture)
    initialize(model, seed=0)
    ids = torch.randint(architecture.vocab_size, (rows, length + 1), device=device)
    source = None
    if architecture.encoder is not None:
        source = torch.randint(architecture.source_vocab_size or architecture.vocab_size, (rows, length), device=device)
    batch = Batch(source, None, ids[:, :-1], ids[:, 1:])
    group = current_group()
    count = max_replicas(sum(each.numel() for each in model.parameters()), device)
    data_parallel = DataParallel(model, count)

    def run(model: nn.Module, batch: Batch) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return forward_backward(model, batch, 1.0)

    times: list[float] = []
    begun = time.perf_counter()
    while True:
        started = time.perf_counter()
        data_parallel.forward_backward([batch] * count, run, seeds=[0] * count)
        group.add_gradients(list(model.parameters()))
        model.zero_grad(set_to_none=True)
        _synchronize(device)
        spent = group.most(time.perf_counter() - started)
        times.append(spent / count / group.size)
        if len(times) > 1 and group.most(time.perf_counter() - begun) + spent > patience:
            data_parallel.close()
            return min(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass
class Speed:
    """Measured floating-point operations per second for some sizes of model.

    Small models reach a smaller share of the machine's rate, so a size that was not measured gets the rate of the
    measured size nearest to it.
    """

    length: int
    rows: int
    device: torch.device
    dtype: torch.dtype
    rates: dict[int, float] = field(default_factory=dict)
    """FLOP/s, by FLOPs per token."""

    def measure(self, architecture: Architecture, patience: float) -> None:
        """Measure one size."""
        self.add(architecture, step_seconds(architecture, self.length, self.rows, self.device, self.dtype, patience))

    def add(self, architecture: Architecture, seconds: float) -> None:
        """Note that a step of this size takes so long."""
        flops = token_flops(architecture, self.length)
        self.rates[flops] = flops * self.rows * self.length / seconds

    def flops(self, architecture: Architecture) -> float:
        """Floating-point operations per second at this size."""
        flops = token_flops(architecture, self.length)
        return self.rates[min(self.rates, key=lambda measured: abs(measured - flops))]

    def seconds_per_token(self, architecture: Architecture) -> float:
        """How long training on one token takes."""
        return token_flops(architecture, self.length) / self.flops(architecture)


def matmul_is_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this dtype multiplies faster than float32; without hardware support bfloat16 takes 100 times as long."""

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=dtype)
        times = []
        for _ in range(3):
            _synchronize(device)
            started = time.perf_counter()
            matrix @ matrix
            _synchronize(device)
            times.append(time.perf_counter() - started)
        return min(times)

    return seconds(dtype) < seconds(torch.float32)


def choose_precision(
    wanted: str, architecture: Architecture, length: int, rows: int, device: torch.device, patience: float
) -> tuple[torch.dtype, float | None]:
    """The dtype of matrix products: bfloat16 if it makes a step of this size clearly faster, else float32.

    With it come the seconds of such a step, where they were measured.
    """
    if wanted != "auto":
        return (torch.float32 if wanted == "float32" else torch.bfloat16), None
    if device.type == "mps" or not current_group().agreed(matmul_is_fast(torch.bfloat16, device)):
        return torch.float32, None
    float32, bfloat16 = (
        step_seconds(architecture, length, rows, device, dtype, patience / 2)
        for dtype in (torch.float32, torch.bfloat16)
    )
    return (torch.bfloat16, bfloat16) if bfloat16 < 0.8 * float32 else (torch.float32, float32)
