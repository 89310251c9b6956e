"""How fast this machine trains: a few real steps of small models, timed."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openbook.training.data_parallel import DataParallel, max_replicas
from openbook.training.initialize import initialize
from openbook.training.loss import Batch, forward_backward
from openbook.training.optimizer import NEWTON_SCHULZ_STEPS, parameter_group
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer

PROBE = 256
"""Rows of the matrices that tell whether products of a type are fast at all."""


def floating_operations(architecture: Architecture, context: int) -> int:
    """Floating-point operations of learning from one token: 6 for each weight of a matrix, and the attention's.

    6·N + 6·Σ heads·head_width·context over the blocks, half of the scores being masked (Kaplan et al. 2020, 2.1). For
    an encoder-decoder it is one token of the target together with one of a source as long, where nothing is masked.
    """
    weights = architecture.vocab_size * architecture.width
    seen = 0
    for name, stack in architecture.stacks.items():
        for block in stack.blocks:
            hidden = block.feed_forward
            parts = 1 if hidden.experts is None else hidden.experts.experts_per_token
            weights += architecture.width * parts * (2 + hidden.gated) * hidden.width
            for attention, share in ((block.attention, 1 + (name == "encoder")), (block.cross_attention, 2)):
                if attention is None:
                    continue
                weights += architecture.width * attention.head_width * 2 * (attention.heads + attention.key_value_heads)
                reach = share * min(context, attention.window or context)
                seen += attention.heads * attention.head_width * reach
    return 6 * (weights + seen)


def orthogonalizing_operations(architecture: Architecture) -> int:
    """Floating-point operations of Muon's Newton–Schulz steps in one update; see `optimizer.orthogonalize`.

    4·m²·n + 2·m³ for each step of each matrix, m its shorter side: a quarter of a short run of a small model.
    """
    with torch.device("meta"):
        model = Transformer(architecture)
    operations = 0
    for name, parameter in model.named_parameters():
        if parameter_group(name, parameter) == "matrix":
            *experts, rows, columns = parameter.shape
            short, long = sorted((rows, columns))
            operations += math.prod(experts) * (4 * short**2 * long + 2 * short**3)
    return NEWTON_SCHULZ_STEPS * operations


def count_parameters(architecture: Architecture) -> int:
    """Numbers in the model, without building it for real."""
    with torch.device("meta"):
        model = Transformer(architecture)
    return sum(parameter.numel() for parameter in model.parameters())


def seconds_of_step(
    architecture: Architecture, context: int, rows: int, device: torch.device, dtype: torch.dtype, patience: float
) -> float:
    """Seconds that forward and backward of `rows` windows take: the best of a few, within about `patience` seconds.

    At least two are timed, since the first one waits for memory.
    For an encoder-decoder each has a source of as many tokens. A small model learns from as many at once as in a run.
    """
    with torch.device(device):
        model = Transformer(architecture)
    initialize(model, seed=0)
    ids = torch.randint(architecture.vocab_size, (rows, context + 1), device=device)
    source = None
    if architecture.encoder is not None:
        source = torch.randint(
            architecture.source_vocab_size or architecture.vocab_size, (rows, context), device=device
        )
    batch = Batch(source, None, ids[:, :-1], ids[:, 1:])
    count = max_replicas(sum(each.numel() for each in model.parameters()), device)
    replicas = DataParallel(model, count)

    def step(model: nn.Module, batch: Batch) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return forward_backward(model, batch, 1.0)

    times: list[float] = []
    begun = time.perf_counter()
    while True:
        started = time.perf_counter()
        replicas.forward_backward([batch] * count, step, seed=0)
        model.zero_grad(set_to_none=True)
        _wait(device)
        spent = time.perf_counter() - started
        times.append(spent / count)
        if len(times) > 1 and time.perf_counter() - begun + spent > patience:
            replicas.close()
            return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass
class Speed:
    """Measured rates for some sizes of model.

    Small models run at a smaller share of the machine's rate, so a size that was not measured is taken to run at the
    rate of the measured one nearest to it.
    """

    context: int
    rows: int
    device: torch.device
    dtype: torch.dtype
    rates: dict[int, float] = field(default_factory=dict)
    """Floating-point operations a second, by operations a token."""

    def add(self, architecture: Architecture, patience: float) -> None:
        """Measure one size."""
        seconds = seconds_of_step(architecture, self.context, self.rows, self.device, self.dtype, patience)
        each = floating_operations(architecture, self.context)
        self.rates[each] = each * self.rows * self.context / seconds

    def rate(self, architecture: Architecture) -> float:
        """Floating-point operations a second at this size."""
        each = floating_operations(architecture, self.context)
        return self.rates[min(self.rates, key=lambda measured: abs(measured - each))]

    def seconds_per_token(self, architecture: Architecture) -> float:
        """How long learning from one token takes."""
        return floating_operations(architecture, self.context) / self.rate(architecture)


def multiplies_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether products of this type are faster than float32's: a processor without bfloat16 takes 100 times as long."""

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(PROBE, PROBE, device=device, dtype=dtype)
        times = []
        for _ in range(3):
            _wait(device)
            started = time.perf_counter()
            matrix @ matrix
            _wait(device)
            times.append(time.perf_counter() - started)
        return min(times)

    return seconds(dtype) < seconds(torch.float32)


def choose_precision(
    wanted: str, architecture: Architecture, context: int, rows: int, device: torch.device, patience: float
) -> torch.dtype:
    """The type of matrix products: bfloat16 where it makes a step of this size clearly faster, else float32."""
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if device.type == "mps" or not multiplies_fast(torch.bfloat16, device):
        return torch.float32
    plain, short = (
        seconds_of_step(architecture, context, rows, device, dtype, patience / 2)
        for dtype in (torch.float32, torch.bfloat16)
    )
    return torch.bfloat16 if short < 0.8 * plain else torch.float32
