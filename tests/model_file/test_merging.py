"""Merging: one file that is what the adapter is beside its base, in the base's dtype, or in the one asked for."""

from dataclasses import replace

import pytest
import torch
from sample_adapters import write_adapter
from sample_files import metadata_of, tensors_of
from typer.testing import CliRunner

from openbook.cli.main import app
from openbook.errors import OpenbookError
from openbook.model_file.adapter import load_merged
from openbook.model_file.file import load, model_writer, save
from openbook.model_file.int8 import Int8Weight, quantize
from openbook.model_file.merging import merge_model
from openbook.transformer.architecture import Experts
from strategies import DEFAULT

_block = DEFAULT.decoder.blocks[0]
_mixed = replace(_block, feed_forward=replace(_block.feed_forward, experts=Experts(count=3, experts_per_token=2)))
MIXTURE = replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(_block, _mixed)))


def write_base(path, dtype="F32", architecture=DEFAULT):
    """A model file in this dtype, or of int8."""
    tensors = tensors_of(architecture)
    with model_writer(path, metadata_of(architecture), dtype) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor.to({"F16": torch.float16, "BF16": torch.bfloat16}.get(dtype, torch.float32)))
    return path


@pytest.mark.parametrize("architecture", [DEFAULT, MIXTURE], ids=["dense", "experts"])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "I8"])
def test_the_merged_file_is_the_adapter_beside_its_base(tmp_path, dtype, architecture):
    base, small, output = (tmp_path / f"{name}.openbook" for name in ("base", "small", "merged"))
    write_base(base, dtype, architecture)
    changes = write_adapter(small, base)
    made = merge_model(small, output)
    before, (metadata, after) = load(base)[1], load(output)
    assert made.matrices == len(changes) // 2
    expected_metadata, expected = load_merged(small)
    assert metadata == expected_metadata and metadata.training == {"steps": 5}
    for name, tensor in after.items():
        kept = name + ".a" not in changes
        assert type(tensor) is type(before[name] if kept else expected[name])
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor + 0, expected[name] + 0)
        if not kept:
            a, b = changes[name + ".a"], changes[name + ".b"]
            exact = before[name].float() + 2.0 * b @ a
            torch.testing.assert_close(tensor.float(), exact, rtol=2**-8 if dtype == "BF16" else 2**-10, atol=1e-6)
    assert made.widened == (len(changes) // 2 if dtype == "I8" else 0)
    assert made.dtype == {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "I8": "int8"}[dtype]
    assert (made.lost == 0) == (dtype in ("F32", "I8"))


def test_a_small_update_is_lost_in_int8_and_said_so(tmp_path):
    base, small, output = (tmp_path / f"{name}.openbook" for name in ("base", "small", "merged"))
    write_base(base, "I8")
    write_adapter(small, base, size=0.005)
    kept = merge_model(small, output)
    assert kept.lost == 0
    assert not any(
        isinstance(tensor, Int8Weight) for name, tensor in load(output)[1].items() if name.endswith("query.weight")
    )
    rounded = merge_model(small, output, dtype="int8", overwrite=True)
    assert rounded.lost > 0.5 and rounded.widened == 0
    expected, stored = load_merged(small)[1], load(output)[1]
    lost = sum(float((stored[n].float() - each.float()).square().sum()) for n, each in expected.items())
    query = "decoder.blocks.0.self_attention.query.weight"
    assert torch.equal(stored[query].int_data, quantize(expected[query]).int_data)
    update = sum(float((each.float() - load(base)[1][n].float()).square().sum()) for n, each in expected.items())
    assert rounded.lost == pytest.approx((lost / update) ** 0.5, rel=1e-3)
    told = CliRunner().invoke(app, ["merge", str(small), "-o", str(output), "--dtype", "int8", "--overwrite"])
    assert told.exit_code == 0 and f"rounding to int8 is off by {rounded.lost:.0%} of the update" in told.output
    told = CliRunner().invoke(app, ["merge", str(small), "-o", str(tmp_path / "plain")])
    assert "plain.openbook: a whole model, int8; 14 matrices changed" in told.output
    assert "14 of them were quantized and are float32 now" in told.output


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_another_dtype_is_that_of_all_tensors(tmp_path, dtype):
    base, small, output = (tmp_path / f"{name}.openbook" for name in ("base", "small", "merged"))
    write_base(base, "I8")
    write_adapter(small, base)
    merge_model(small, output, dtype=dtype)
    assert {tensor.dtype for tensor in load(output)[1].values()} == {getattr(torch, dtype)}


def test_what_does_not_fit_in_the_dtype_is_named(tmp_path):
    base, small, output = (tmp_path / f"{name}.openbook" for name in ("base", "small", "merged"))
    write_base(base, "F16")
    write_adapter(small, base, scale=1e6)
    for attempt in (lambda: merge_model(small, output), lambda: load_merged(small)):
        with pytest.raises(OpenbookError, match=r"query.weight: .* too large for float16, .*dtype=bfloat16"):
            attempt()
    assert not output.exists()
    merge_model(small, output, dtype="bfloat16")


def test_what_cannot_be_merged_is_refused(tmp_path):
    base, small = tmp_path / "base.openbook", tmp_path / "small.openbook"
    write_base(base)
    write_adapter(small, base)
    with pytest.raises(OpenbookError, match="is a whole model, so there is nothing to merge; give an adapter"):
        merge_model(base, tmp_path / "new.openbook")
    for taken in (base, small):
        with pytest.raises(OpenbookError, match="is the input"):
            merge_model(small, taken, overwrite=True)
    with pytest.raises(OpenbookError, match="dtype int3: must be one of float32"):
        merge_model(small, tmp_path / "new.openbook", dtype="int3")
    save(base, metadata_of(), tensors_of(seed=1))
    with pytest.raises(OpenbookError, match="an adapter of another base"):
        merge_model(small, tmp_path / "new.openbook")
    with pytest.raises(OpenbookError, match="there is no such file"):
        merge_model(tmp_path / "none.openbook", tmp_path / "new.openbook")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    base, small = tmp_path / "base.openbook", tmp_path / "small.openbook"
    write_base(base)
    write_adapter(small, base, size=float("inf"))
    with pytest.raises(OpenbookError, match="has numbers that are not finite"):
        load_merged(small)
