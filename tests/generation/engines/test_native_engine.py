"""The native engine against the reference: every architecture, every kernel, every row the same to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import PROMPTS, default_model

from openbook.errors import OpenbookError
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.native.engine import NativeEngine
from openbook.generation.engines.native.library import find_library
from openbook.generation.engines.native.program import Weight
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import BeamSearch, Sampling
from openbook.model_file.quantized_specs import GROUP
from openbook.transformer.transformer import Transformer
from strategies import (
    DEFAULT,
    ENCODER_DECODERS,
    ESSENTIAL,
    SOURCE_VOCABULARY,
    VOCABULARY,
    architectures,
    build,
    difference,
    translators,
)

pytestmark = pytest.mark.skipif(find_library() is None, reason="the native engine is not compiled")

KERNELS = ("portable", "avx2", "avx_vnni", "avx512", "avx512_vnni", "neon")
NAMED = {"default": DEFAULT, "essential": ESSENTIAL, **ENCODER_DECODERS}

ids = st.integers(0, VOCABULARY - 1)
prompts = st.lists(st.lists(ids, min_size=1, max_size=9), min_size=1, max_size=4)
sources_of = st.lists(st.lists(st.integers(0, SOURCE_VOCABULARY - 1), min_size=1, max_size=7), min_size=4, max_size=4)


FORMATS = ("float32", "bfloat16", "float16", "int8", "int8_groups", "int4", "int4 without offsets")
MOST = {"float32": 1e-5, "bfloat16": 1e-5, "float16": 1e-5}
"""Of formats of floats, how far logits may be from the reference; of whole numbers, 1e-3 of the largest."""


def as_weights(model: Transformer, matrix_format: str = "float32") -> dict[str, Weight]:
    """The tensors of a model, its matrices in this format."""
    weights = {}
    for name, tensor in model.state_dict().items():
        odd = "int4" in matrix_format and tensor.shape[-1] % 2
        plain = tensor.dim() < 2 or "position" in name or name.endswith("bias") or odd
        weights[name] = as_weight(tensor.float().numpy(), "float32" if plain else matrix_format)
    return weights


def as_weight(numbers: np.ndarray, matrix_format: str) -> Weight:
    """A matrix in a format, its last groups filled up with zeros."""
    if matrix_format == "bfloat16":
        return Weight("bfloat16", torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy())
    if matrix_format in ("float32", "float16"):
        return Weight(matrix_format, numbers.astype(matrix_format))
    if matrix_format == "int8":
        scale = np.maximum(np.abs(numbers).max(-1, keepdims=True) / 127, 1e-9).astype(np.float32)
        return Weight("int8", np.rint(numbers / scale).astype(np.int8), scale)
    columns = numbers.shape[-1]
    padded = np.zeros((*numbers.shape[:-1], -(-columns // GROUP) * GROUP), np.float32)
    padded[..., :columns] = numbers
    groups = padded.reshape(*numbers.shape[:-1], -1, GROUP)
    if matrix_format == "int8_groups":
        scale = (np.abs(groups).max(-1) / 127).astype(np.float16)
        whole = np.rint(groups / np.maximum(scale, 1e-7)[..., None]).clip(-127, 127).astype(np.int8)
        return Weight("int8_groups", np.ascontiguousarray(whole.reshape(padded.shape)[..., :columns]), scale)
    if matrix_format == "int4":
        low = groups.min(-1).astype(np.float16)
        scale, offset = ((groups.max(-1) - low) / 15).astype(np.float16), low
    else:
        scale = (np.abs(groups).max(-1) / 7).astype(np.float16)
        offset = scale * np.float16(-8)
    whole = np.rint((groups - offset[..., None]) / np.maximum(scale, 1e-7)[..., None]).clip(0, 15).astype(np.uint8)
    whole = whole.reshape(padded.shape)[..., :columns]
    packed = np.ascontiguousarray(whole[..., ::2] | whole[..., 1::2] << 4)
    return Weight("int4", packed, scale, offset if matrix_format == "int4" else None)


def numbers_of(weight: Weight, columns: int) -> np.ndarray:
    """What a weight stands for, in float64."""
    if weight.format == "bfloat16":
        return (weight.numbers.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    numbers, scale = weight.numbers.astype(np.float64), weight.scale
    if scale is None:
        return numbers
    if weight.format == "int8":
        return numbers * scale
    scale = np.repeat(scale.astype(np.float64), GROUP, -1)[..., :columns]
    if weight.format == "int8_groups":
        return numbers * scale
    whole = np.stack((weight.numbers & 15, weight.numbers >> 4), -1).reshape(*weight.numbers.shape[:-1], -1)
    if weight.offset is None:
        return (whole[..., :columns] - 8.0) * scale
    return whole[..., :columns] * scale + np.repeat(weight.offset.astype(np.float64), GROUP, -1)[..., :columns]


def as_stored(model: Transformer, weights: dict[str, Weight]) -> Transformer:
    """The model with the numbers that its weights stand for, in float64."""
    stored = Transformer(model.architecture).double().eval()
    shapes = {name: tensor.shape for name, tensor in stored.state_dict().items()}
    numbers = {name: numbers_of(weight, shapes[name][-1]) for name, weight in weights.items()}
    stored.load_state_dict({name: torch.from_numpy(each) for name, each in numbers.items()})
    return stored


def native(model: Transformer, **options: object) -> NativeEngine:
    return NativeEngine(model.architecture, as_weights(model), **options)


def some_sources(model: Transformer, rows: int, seed: int = 0) -> list[list[int]] | None:
    if model.architecture.encoder is None:
        return None
    size = model.architecture.source_vocab_size or model.architecture.vocab_size
    random = np.random.default_rng(seed)
    return [random.integers(0, size, 3 + row).tolist() for row in range(rows)]


@torch.no_grad()
def reference(model: Transformer, row: list[int], source: list[int] | None = None) -> torch.Tensor:
    """Logits (T, V) after every token of a row, in one pass without a cache."""
    given_source = None if source is None else torch.tensor([source])
    return model(torch.tensor([row]), source=given_source)[0]


@given(architectures(), prompts, st.integers(1, 3))
def test_decoder_only_logits_are_those_of_the_reference(spec, rows, threads) -> None:
    model = build(spec)
    engine = native(model, threads=threads)
    _, logits = engine.prefill(rows)
    for row, ours in zip(rows, logits, strict=True):
        assert difference(ours, reference(model, row)[-1]) < 1e-4


@given(translators(), prompts, sources_of, st.integers(1, 3))
def test_encoder_decoder_logits_are_those_of_the_reference(model, rows, sources, threads) -> None:
    engine = native(model, threads=threads)
    _, logits = engine.prefill(rows, sources[: len(rows)])
    for row, source, ours in zip(rows, sources, logits, strict=False):
        assert difference(ours, reference(model, row, source)[-1]) < 1e-4


@given(architectures(), prompts, st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.sampled_from(FORMATS))
def test_an_answer_is_the_same_to_the_bit_in_any_batch_split_and_number_of_threads(
    spec, rows, cut, threads, other_threads, matrix_format
) -> None:
    weights = as_weights(build(spec), matrix_format)
    together, logits = NativeEngine(spec, weights, threads=threads).prefill(rows)
    next_logits = together.step(np.array([[row[0]] for row in rows]))[:, 0]
    engine = NativeEngine(spec, weights, threads=other_threads)
    for number, row in enumerate(rows):
        alone, first = engine.prefill([row[:cut]])
        if row[cut:]:
            first = alone.extend([row[cut:]])
        assert np.array_equal(first[0], logits[number])
        assert np.array_equal(alone.extend([[row[0]]])[0], next_logits[number])


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("matrix_format", FORMATS)
def test_every_kernel_answers_from_the_stored_weights(kernels, name, matrix_format) -> None:
    model = build(NAMED[name])
    weights = as_weights(model, matrix_format)
    try:
        engine = NativeEngine(model.architecture, weights, kernels=kernels)
    except OpenbookError:
        pytest.skip(f"this processor does not run {kernels}")
    sources = some_sources(model, len(PROMPTS))
    _, logits = engine.prefill(PROMPTS, sources)
    stored = as_stored(model, weights)
    for number, row in enumerate(PROMPTS):
        expected = reference(stored, row, None if sources is None else sources[number])[-1]
        most = MOST.get(matrix_format) or 1e-3 * float(expected.abs().max())
        assert difference(logits[number], expected) < most


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NAMED)
def test_keys_and_values_of_16_bits(kernels, name) -> None:
    model = build(NAMED[name])
    try:
        engine = NativeEngine(model.architecture, as_weights(model), kernels=kernels, half_cache=True)
    except OpenbookError:
        pytest.skip(f"this processor does not run {kernels}")
    sources = some_sources(model, len(PROMPTS))
    session, logits = engine.prefill(PROMPTS, sources)
    for number, row in enumerate(PROMPTS):
        expected = reference(model, row, None if sources is None else sources[number])[-1]
        assert difference(logits[number], expected) < 5e-3
        _, alone = engine.prefill([row], None if sources is None else [sources[number]])
        assert np.array_equal(alone[0], logits[number])
    session.reorder([1, 0])
    session.branch(np.zeros((2, 2), dtype=np.int64))
    steps = [session.step(np.array([[1, 2], [3, 4]])) for _ in range(9)]  # beyond a pruning
    assert np.isfinite(steps).all()


@given(st.integers(0, 2**32 - 1))
def test_beams_are_the_same_to_the_bit_as_each_alone(seed) -> None:
    """Branched at random, beyond several prunings."""
    random = np.random.default_rng(seed)
    engine, rows, beams = native(default_model()), [[3, 4, 5], [7, 8]], 3
    session, _ = engine.prefill(rows)
    session.branch(np.zeros((2, beams), dtype=np.int64))
    texts = [[list(row) for _ in range(beams)] for row in rows]
    for _ in range(16):
        tokens = random.integers(0, VOCABULARY, (2, beams))
        logits = session.step(tokens)
        for row, beam in np.ndindex(2, beams):
            texts[row][beam] = [*texts[row][beam], int(tokens[row, beam])]
        parents = random.integers(0, beams, (2, beams))
        session.branch(parents)
        texts = [[texts[row][parent] for parent in parents[row]] for row in range(2)]
    for row, beam in np.ndindex(2, beams):
        _, alone = engine.prefill([texts[row][beam]])
        assert np.array_equal(alone[0], logits[row, parents[row, beam]])


def test_rows_move_join_and_are_cut() -> None:
    model = default_model()
    engine = native(model)
    session, _ = engine.prefill(PROMPTS)
    session.reorder([2, 0, 0])
    other, _ = engine.prefill([PROMPTS[1]])
    session.join([other])
    assert session.rows == 4 and other.rows == 0
    logits = session.step(np.array([[5], [6], [7], [8]]))[:, 0]
    rows = [[*PROMPTS[2], 5], [*PROMPTS[0], 6], [*PROMPTS[0], 7], [*PROMPTS[1], 8]]
    for ours, row in zip(logits, rows, strict=True):
        assert difference(ours, reference(model, row)[-1]) < 1e-5
    session.truncate(session.length - 1)
    again = session.step(np.array([[5], [6], [7], [8]]))[:, 0]
    assert np.array_equal(again, logits)


@pytest.mark.parametrize("name", NAMED)
def test_searches_and_answers_are_those_of_the_reference(name) -> None:
    model = build(replace(NAMED[name]))
    sources = some_sources(model, len(PROMPTS))
    greedy = Sampling(temperature=0, max_tokens=9)
    search = BeamSearch(beam_size=3, n_best=3, max_tokens=8)
    found = []
    for engine in (native(model), TorchEngine(model)):
        tokens = [(t.row, t.token_id) for t in generate(engine, PROMPTS, greedy, sources=sources)]
        best = {r.row: [h.tokens for h in r.hypotheses] for r in beam_search(engine, PROMPTS, search, sources=sources)}
        found.append((tokens, best))
    assert found[0] == found[1]


def test_what_a_stranger_could_ask_is_refused() -> None:
    engine = native(default_model())
    with pytest.raises(OpenbookError, match="not in the vocabulary"):
        engine.prefill([[VOCABULARY]])
    with pytest.raises(OpenbookError, match="the context is full"):
        engine.prefill([[1] * (engine.context + 1)])
    session, _ = engine.prefill([[1]])
    with pytest.raises(OpenbookError, match="no such beam"):
        session.branch(np.array([[1, 0]]))
    with pytest.raises(OpenbookError, match="no such row"):
        session.reorder([1])
    with pytest.raises(OpenbookError, match="does not run these kernels"):
        native(default_model(), kernels="abacus")
    weights = as_weights(default_model())
    name = "decoder.blocks.0.feed_forward.up.weight"
    weights[name] = Weight("float32", np.zeros((3, 5), dtype=np.float32))
    with pytest.raises(OpenbookError, match="does not fit"):
        NativeEngine(DEFAULT, weights)
    weights = as_weights(default_model(), "int8")
    weights[name] = weights[name]._replace(scale=np.ones((3, 1), dtype=np.float32))
    with pytest.raises(OpenbookError, match="its scales do not fit"):
        NativeEngine(DEFAULT, weights)
    weights = as_weights(default_model(), "int4")
    weights[name] = weights[name]._replace(offset=weights[name].offset[1:])
    with pytest.raises(OpenbookError, match="its offsets do not fit"):
        NativeEngine(DEFAULT, weights)
