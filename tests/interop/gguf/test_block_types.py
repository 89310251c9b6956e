"""Blocks of small integers: what the gguf library reads back is near the numbers they were made of."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGUFReader
from gguf_files import random_model, write_gguf
from llama_cpp import ggml_quantize

from openbook.interop.exporting import export_model
from openbook.interop.gguf.block_types import WRITTEN, quantize, type_for_rows
from openbook.interop.gguf.mixtures import type_of
from openbook.interop.importing import import_model

# The root mean square error on normally distributed numbers of deviation 1.
ERRORS = {
    "Q4_0": 0.0859,
    "Q4_1": 0.0781,
    "Q5_0": 0.0427,
    "Q5_1": 0.0378,
    "Q8_0": 0.0054,
    "Q4_K": 0.0713,
    "Q5_K": 0.0358,
    "Q6_K": 0.0171,
}
OFFSETS = {"Q4_K": 15, "Q5_K": 31}


def normal(rows: int = 400, length: int = 512) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, length)).astype(np.float32)


def read_back(content: np.ndarray, kind: str) -> np.ndarray:
    return gguf.quants.dequantize(content, gguf.GGMLQuantizationType[kind])


def error(values: np.ndarray, kind: str) -> float:
    return float(np.sqrt(np.square(read_back(quantize(values, kind), kind) - values).mean()))


def test_the_error_of_each_type_is_the_one_stated() -> None:
    found = {kind: error(normal(), kind) for kind in WRITTEN.values()}
    assert found == pytest.approx(ERRORS, rel=0.01)


@pytest.mark.parametrize("kind", WRITTEN.values())
def test_extreme_blocks(kind: str) -> None:
    """Zeros, one number, one sign, one outlier, small and large numbers."""
    values = normal(9)
    values[0], values[1], values[2] = 0, 3, -3
    values[3], values[4] = np.abs(values[3]), -np.abs(values[4])
    values[5, 7] = 1000
    values[6] *= 0.01
    values[7] *= 1e4
    values[8, 3:] = 0
    back = read_back(quantize(values, kind), kind)
    assert not back[0].any()
    extent = np.abs(values).max(1, keepdims=True)
    assert (np.abs(back - values) <= extent / {"4": 7, "5": 15, "6": 15, "8": 100}[kind[1]]).all()
    values[1, 1] = 1e12
    with np.errstate(all="ignore"):
        assert not np.isfinite(read_back(quantize(values, kind), kind)[1]).all()  # so that an export refuses it


def test_six_bits_are_kept_exactly() -> None:
    """Numbers that the format holds come back as they are."""
    chance = np.random.default_rng(1)
    scales = chance.integers(-127, 128, (50, 16, 1))
    scales[:, 3] = -128
    q = chance.integers(-32, 32, (50, 16, 16))
    q[..., 5] = -32
    values = (0.25 * scales * q).astype(np.float32).reshape(50, 256)
    assert np.array_equal(read_back(quantize(values, "Q6_K"), "Q6_K"), values)


@pytest.mark.parametrize(("kind", "most"), OFFSETS.items())
def test_offsets_are_kept_exactly(kind: str, most: int) -> None:
    chance = np.random.default_rng(2)
    scales, offsets = chance.integers(20, 64, (2, 50, 8, 1))
    scales[:, 3] = offsets[:, 6] = 63
    q = chance.integers(0, most + 1, (50, 8, 32))
    q[..., 5], q[..., 6] = 0, most
    values = (0.5 * scales * q - 0.25 * offsets).astype(np.float32).reshape(50, 256)
    assert np.array_equal(read_back(quantize(values, kind), kind), values)


def test_large_tensors_are_quantized_in_parts() -> None:
    values = normal(3000)
    whole = quantize(values.reshape(3, 1000, 512), "Q4_K")
    assert np.array_equal(whole[2, -1], quantize(values[-1:], "Q4_K")[0])


@pytest.mark.parametrize(
    ("kind", "length", "expected"),
    [
        ("Q4_K", 256, "Q4_K"),
        ("Q4_K", 576, "Q5_0"),
        ("Q5_K", 32, "Q5_1"),
        ("Q6_K", 96, "Q8_0"),
        ("Q6_K", 40, "F16"),
        ("Q4_0", 40, "F16"),
        ("BF16", 40, "BF16"),
    ],
)
def test_types_stand_in_where_rows_do_not_fill_blocks(kind: str, length: int, expected: str) -> None:
    assert type_for_rows(kind, length) == expected


@pytest.mark.parametrize("typed", WRITTEN)
def test_an_export_has_the_type_or_says_what_stands_in(typed: str, tmp_path: Path) -> None:
    """The model is 32 wide, which no blocks of 256 fit."""
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"))
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook")
    made = export_model(tmp_path / "it.openbook", tmp_path / "small.gguf", "gguf", dtype=typed)
    (kind,) = {each.tensor_type.name for each in GGUFReader(tmp_path / "small.gguf").tensors if len(each.shape) > 1}
    if typed.endswith("_k"):
        expected = f"16 of 16 matrices are {kind}: their rows are no whole number of {WRITTEN[typed]} blocks"
        assert made.notes == (expected,) and kind != WRITTEN[typed]
    else:
        assert (kind, made.notes) == (WRITTEN[typed], ())
    import_model(tmp_path / "small.gguf", tmp_path / "again.openbook")


def test_a_mixture_has_more_bits_where_most_depends_on_them() -> None:
    """The table of llama.cpp's own quantizer for 28 blocks (see `mixtures`)."""
    more = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27}
    for mixture, most in (("Q4_K_M", "Q4_K"), ("Q5_K_M", "Q5_K")):
        for name in ("attn_v", "ffn_down"):
            found = {block for block in range(28) if type_of(mixture, f"blk.{block}.{name}.weight", 28, "") == "Q6_K"}
            assert found == more
        assert {type_of(mixture, f"blk.{b}.ffn_up.weight", 28, "output.weight") for b in range(28)} == {most}
        assert type_of(mixture, "token_embd.weight", 28, "output.weight") == most
        assert type_of(mixture, "token_embd.weight", 28, "token_embd.weight") == "Q6_K"
    assert type_of("Q4_K_M", "blk.3.attn_qkv.weight", 28, "") == "Q5_K"


@pytest.mark.parametrize("typed", ["q4_k_m", "q5_k_m"])
def test_a_mixture_is_written_and_read(typed: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"))
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook")
    made = export_model(tmp_path / "it.openbook", tmp_path / "small.gguf", "gguf", dtype=typed)
    kinds = {each.name: each.tensor_type.name for each in GGUFReader(tmp_path / "small.gguf").tensors}
    assert kinds["output.weight"] == kinds["blk.1.attn_v.weight"] == "Q8_0"  # stands in for Q6_K
    assert kinds["blk.0.attn_q.weight"] == ("Q5_0" if typed == "q4_k_m" else "Q5_1")
    assert len(made.notes) == 2 and "Q8_0: their rows are no whole number of Q6_K blocks" in "".join(made.notes)
    import_model(tmp_path / "small.gguf", tmp_path / "again.openbook")


@pytest.mark.parametrize(("dtype", "to", "said"), [("int4", "gguf", "q4_1"), ("int8", "hf", "bfloat16")])
def test_quantized_models_say_that_they_grow(dtype: str, to: str, said: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"))
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook", dtype=dtype)
    made = export_model(tmp_path / "it.openbook", tmp_path / "out", to)
    assert made.notes == (
        f"its {dtype} matrices are written as float32: the same numbers in more room; dtype {said} takes less",
    )
    assert export_model(tmp_path / "it.openbook", tmp_path / "more", to, dtype="float32").notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITTEN.values())
def test_llama_cpp_quantizes_no_better(kind: str) -> None:
    """Its plain types are the same bytes; those with super-blocks have a larger error than ours."""
    for values in (normal(), np.random.default_rng(3).standard_t(4, (400, 512)).astype(np.float32)):
        theirs = ggml_quantize(values, kind)
        if kind.endswith("_K"):
            their_error = float(np.sqrt(np.square(read_back(theirs, kind) - values).mean()))
            print(f"{kind}: {error(values, kind):.5f}, llama.cpp {their_error:.5f}")
            assert error(values, kind) <= their_error * 1.001
        else:
            assert np.array_equal(quantize(values, kind), theirs)
