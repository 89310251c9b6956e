"""Quantize to Q4_K, Q5_K and Q6_K: super-blocks of 256 numbers, whose blocks have scales that are integers themselves.

The format is ggml's (https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h). The search for scales is ours:
several are tried, each improved by least squares, and the one of least squared error is kept. Sizes in comments: N
super-blocks, M blocks in each, B numbers in a block.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SUPER_BLOCK = 256
TRIALS = 12
"""How many step widths are tried for each block."""
SPREAD = 1.5
"""They lie so many steps below and above the width that just fills the range."""


def quantize_q6_k(values: Floats) -> Bytes:
    """x ≈ d · scale · q with q from −32 to 31 and an 8-bit scale for 16 numbers: values (N, 256) → (N, 210)."""
    blocks = values.reshape(-1, 16, 16)
    scales = _best_scales(blocks)
    widest = np.take_along_axis(scales, np.abs(scales).argmax(1)[:, None], 1)
    d = _half(widest / np.float32(-128))
    steps = _whole(scales, d, -128, 127)
    q = _whole(blocks, d[..., None] * steps[..., None], -32, 31).astype(np.int8) + 32
    parts = q.astype(np.uint8).reshape(-1, 2, 4, 32)  # halves of 128 numbers, in four runs of 32
    low, high = parts & 15, parts >> 4
    low_bytes = low[:, :, :2] | low[:, :, 2:] << 4
    high_bytes = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return _joined(low_bytes, high_bytes, steps.astype(np.int8).view(np.uint8), _bytes_of(d))


def quantize_q4_k(values: Floats) -> Bytes:
    """x ≈ d · scale · q − dmin · offset with q from 0 to 15: values (N, 256) → (N, 144)."""
    header, q = _with_offsets(values, 15)
    return _joined(header, _nibbles(q))


def quantize_q5_k(values: Floats) -> Bytes:
    """The same with q from 0 to 31: values (N, 256) → (N, 176)."""
    header, q = _with_offsets(values, 31)
    high = np.packbits(q >> 4, axis=1, bitorder="little")  # bit i of a byte belongs to block i
    return _joined(header, high, _nibbles(q & np.uint8(15)))


def _with_offsets(values: Floats, most: int) -> tuple[Bytes, Bytes]:
    """What Q4_K and Q5_K begin with (N, 16), and the numbers from 0 to `most` (N, 8, 32)."""
    blocks = values.reshape(-1, 8, 32)
    scales, offsets = _best_scales_and_offsets(blocks, most)
    d, d_min = (_half(each.max(1, keepdims=True) / np.float32(63)) for each in (scales, offsets))
    steps, minima = _whole(scales, d, 0, 63).astype(np.uint8), _whole(offsets, d_min, 0, 63).astype(np.uint8)
    shifted = blocks + (d_min * minima)[..., None]
    q = _whole(shifted, (d * steps)[..., None], 0, most).astype(np.uint8)
    # Six bits each: of the last four, the two highest stand above those of the first four.
    first = [each[:, :4] | each[:, 4:] >> 4 << 6 for each in (steps, minima)]
    packed = np.concatenate((*first, steps[:, 4:] & 15 | minima[:, 4:] << 4), axis=1)
    return _joined(_bytes_of(d), _bytes_of(d_min), packed), q


def _best_scales(blocks: Floats) -> Floats:
    """(N, M, B) → the scales (N, M) for q from −32 to 31. The largest number is at −32, so its sign is the scale's."""
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    best, least = np.zeros(largest.shape, np.float32), np.full(largest.shape, np.inf, np.float32)
    for steps in _trials(32):
        q = _whole(blocks, largest / -steps, -32, 31)
        scale = _divided((blocks * q).sum(-1, keepdims=True), (q * q).sum(-1, keepdims=True))
        error = np.square(blocks - scale * q).sum(-1, keepdims=True)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best[..., 0]


def _best_scales_and_offsets(blocks: Floats, most: int) -> tuple[Floats, Floats]:
    """(N, M, B) → scales and offsets (N, M), both ≥ 0, for scale · q − offset with q from 0 to `most`."""
    low = np.minimum(blocks.min(-1, keepdims=True), 0)
    extent = blocks.max(-1, keepdims=True) - low
    best = np.zeros((2, *low.shape), np.float32)
    best[1], least = -low, np.square(blocks - low).sum(-1, keepdims=True)
    count, total = np.float32(blocks.shape[-1]), blocks.sum(-1, keepdims=True)
    for steps in _trials(most):
        q = _whole(blocks - low, extent / steps, 0, most)
        q_sum, squares, products = (each.sum(-1, keepdims=True) for each in (q, q * q, q * blocks))
        scale = _divided(count * products - q_sum * total, count * squares - q_sum * q_sum)
        offset = (scale * q_sum - total) / count
        scale = np.where(offset < 0, _divided(products, squares), scale)
        offset = np.maximum(offset, 0)
        error = np.square(scale * q - offset - blocks).sum(-1, keepdims=True)
        better = (error < least) & (scale >= 0)
        best, least = np.where(better, np.stack((scale, offset)), best), np.where(better, error, least)
    return best[0, ..., 0], best[1, ..., 0]


def _trials(most: int) -> Iterator[np.float32]:
    """How many steps the range of a block is cut into."""
    return (np.float32(most + share) for share in np.linspace(-SPREAD, SPREAD, TRIALS))


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    """0 where the denominator is 0."""
    result: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
    return result


def _whole(values: Floats, step: Floats, low: int, high: int) -> Floats:
    """How many steps each value is, as a whole number from `low` to `high`."""
    scaled = values * _divided(np.ones_like(step), step)
    return np.clip(np.rint(scaled, out=scaled), low, high, out=scaled)


def _half(values: Floats) -> Floats:
    """Rounded to what 16 bits hold."""
    return values.astype(np.float16).astype(np.float32)


def _bytes_of(halves: Floats) -> Bytes:
    return halves.astype(np.float16).view(np.uint8)


def _nibbles(q: Bytes) -> Bytes:
    """(N, 8, 32) → (N, 128): two blocks share 32 bytes."""
    return q[:, ::2] | q[:, 1::2] << np.uint8(4)


def _joined(*parts: NDArray[Any]) -> Bytes:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
