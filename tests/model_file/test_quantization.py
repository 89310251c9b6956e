"""Model files with matrices of 8 or 4 bits: a quarter or a sixth of the size, the same model everywhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_models import CASES, pair
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sample_files import metadata_of, tensors_of

from openbook.errors import OpenbookError
from openbook.explanation.derivations import derive, relative_errors
from openbook.explanation.tensor_offsets import tensor_offsets
from openbook.interop.exporting import export_model
from openbook.interop.importing import import_model
from openbook.model import load
from openbook.model_file import int4
from openbook.model_file.file import load as load_tensors
from openbook.model_file.file import model_writer
from openbook.model_file.inspection import describe
from openbook.model_file.int4 import Int4Weight
from openbook.model_file.int8 import Int8Weight, quantize
from openbook.model_file.quantized_weight import QuantizedWeight, dequantize
from openbook.trace import trace
from openbook.transformer.architecture import Experts, FeedForward
from strategies import DEFAULT

_block = DEFAULT.decoder.blocks[0]
_mixed = replace(_block, feed_forward=FeedForward(width=64, experts=Experts(count=3, experts_per_token=2)))
_wide = replace(_block, feed_forward=FeedForward(width=64))
WIDE = replace(DEFAULT, width=32, decoder=replace(DEFAULT.decoder, blocks=(_wide, _mixed)))
"""Rows of it can have groups of 32."""
SOME = [
    ("Llama", "grouped, head width"),
    ("GPT-2", "plain"),
    next(case for case in CASES if case[0] == "Mixtral"),
    ("Marian", "two vocabularies"),
]


def int4_file(folder: Path) -> Path:
    """A model file of int4."""
    with model_writer(folder / "small.openbook", metadata_of(WIDE), "I4") as writer:
        for name, tensor in tensors_of(WIDE).items():
            writer.write(name, tensor)
    return folder / "small.openbook"


def small(case, folder: Path) -> Path:
    import_model(pair(case)[1], folder / "small.openbook", dtype="int8")
    return folder / "small.openbook"


@pytest.mark.parametrize("case", SOME, ids=", ".join)
def test_the_nearest_whole_numbers_of_each_row(case, tmp_path: Path) -> None:
    path = small(case, tmp_path)
    (_, tensors), (_, exact) = load_tensors(path), load_tensors(pair(case)[1] / "model.openbook")
    matrices = {name for name, each in tensors.items() if isinstance(each, Int8Weight)}
    assert "decoder.blocks.0.self_attention.query.weight" in matrices and "token_embedding.weight" in matrices
    for name, each in dequantize(tensors).items():
        expected = quantize(exact[name]).dequantize() if name in matrices else exact[name]
        assert torch.equal(each, expected), name
    model = load(path, "cpu")
    model.save(tmp_path / "again.openbook")
    assert path.read_bytes() == (tmp_path / "again.openbook").read_bytes()


@torch.no_grad()
def test_exports_have_the_plain_numbers(tmp_path: Path) -> None:
    path = small(SOME[0], tmp_path)
    export_model(path, tmp_path / "out", "hf")
    import_model(tmp_path / "out", tmp_path / "again.openbook")
    first, second = load_tensors(path)[1], load_tensors(tmp_path / "again.openbook")[1]
    assert all(torch.equal(dequantize(first)[name], each) for name, each in second.items())


def test_what_inspect_says(tmp_path: Path) -> None:
    path = small(SOME[0], tmp_path)
    found = describe(path)
    assert found["dtype"] == "int8 matrices with a float32 scale for each row"
    assert found["parameters"] == describe(pair(SOME[0])[1] / "model.openbook")["parameters"]
    held = [tensor for part in found["parts"] for tensor in part["tensors"]]
    assert sum(tensor["bytes"] for tensor in held) == sum(
        entry.numel() * entry.element_size() for entry in load_file(path).values()
    )
    with safe_open(path, "pt") as file:
        assert file.get_tensor("token_embedding.weight").dtype == torch.int8


@torch.no_grad()
def test_recorded_numbers_recompute(tmp_path: Path) -> None:
    """From whole numbers and scales, at the byte where each whole number is."""
    path = small(SOME[0], tmp_path)
    model, places = load(path, "cpu"), tensor_offsets(path)
    with trace(model.transformer) as recorded:
        model.transformer(torch.tensor([[3, 4, 5]]))
    assert max(relative_errors(model.transformer, recorded).values()) < 1e-5
    number = "decoder.blocks.0.self_attention.query"
    derivation = derive(model.transformer, recorded, number, (0, 1, 0, 3), places)
    tensor, content = model.transformer.get_parameter(f"{number}.weight").detach(), path.read_bytes()
    weights = next(each for each in derivation.operands if each.kind == "weight")
    for each in weights.numbers:
        whole = int.from_bytes(content[each.byte : each.byte + 1], signed=True)
        assert each.value == pytest.approx(whole * float(tensor.scale[each.index[0], 0]), rel=1e-6)


@torch.no_grad()
def test_files_of_4_bits(tmp_path: Path) -> None:
    path = int4_file(tmp_path)
    exact, (_, tensors) = tensors_of(WIDE), load_tensors(path)
    kinds = {name: type(tensor) for name, tensor in tensors.items() if isinstance(tensor, QuantizedWeight)}
    assert kinds["decoder.blocks.0.self_attention.query.weight"] is kinds["decoder.blocks.1.feed_forward.up.weight"]
    assert kinds["decoder.blocks.0.self_attention.query.weight"] is Int4Weight
    assert kinds["token_embedding.weight"] is Int8Weight
    for name, kind in kinds.items():
        expected = (int4.quantize if kind is Int4Weight else quantize)(exact[name])
        assert torch.equal(tensors[name].dequantize(), expected.dequantize()), name
    model = load(path, "cpu")
    model.save(tmp_path / "again.openbook")
    assert path.read_bytes() == (tmp_path / "again.openbook").read_bytes()
    ids = [[3, 4, 5]]
    expected = model.transformer(torch.tensor(ids))[0, -1]
    logits = model.engine.prefill(ids)[1][0]  # of the native engine, where it is compiled
    assert (torch.from_numpy(logits) - expected).abs().max() <= 1e-3 * expected.abs().max()
    with safe_open(path, "pt") as file:
        assert file.get_slice("decoder.blocks.0.feed_forward.down.weight").get_shape() == [32, 32]
        assert file.get_slice("decoder.blocks.0.feed_forward.down.weight.offset").get_dtype() == "F16"


def test_inspect_and_export_of_4_bits(tmp_path: Path) -> None:
    path = int4_file(tmp_path)
    found = describe(path)
    assert found["dtype"].startswith("int4 matrices with a float16 scale and offset for each group of 32")
    assert found["parameters"] == sum(tensor.numel() for tensor in tensors_of(WIDE).values())
    held = [tensor for part in found["parts"] for tensor in part["tensors"]]
    assert sum(each["bytes"] for each in held) == sum(e.numel() * e.element_size() for e in load_file(path).values())
    export_model(path, tmp_path / "out", "hf")
    import_model(tmp_path / "out", tmp_path / "again.openbook")
    first, second = dequantize(load_tensors(path)[1]), load_tensors(tmp_path / "again.openbook")[1]
    assert all(torch.equal(first[name], each) for name, each in second.items())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1e6])
def test_what_4_bits_cannot_hold_is_refused(number: float, tmp_path: Path) -> None:
    name = "decoder.blocks.0.self_attention.query.weight"
    with (
        pytest.raises(OpenbookError, match=f"tensor {name}: has numbers that are not finite or too large, so int4"),
        model_writer(tmp_path / "small.openbook", metadata_of(WIDE), "I4") as writer,
    ):
        for each, tensor in tensors_of(WIDE).items():
            if each == name:
                tensor = tensor.clone()
                tensor[1, 2] = number
            writer.write(each, tensor)
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_recorded_numbers_of_4_bits_recompute(tmp_path: Path) -> None:
    path = int4_file(tmp_path)
    model, places = load(path, "cpu"), tensor_offsets(path)
    with trace(model.transformer) as recorded:
        model.transformer(torch.tensor([[3, 4, 5]]))
    assert max(relative_errors(model.transformer, recorded).values()) < 1e-5
    number = "decoder.blocks.0.self_attention.query"
    derivation = derive(model.transformer, recorded, number, (0, 1, 0, 3), places)
    tensor, content = model.transformer.get_parameter(f"{number}.weight").detach(), path.read_bytes()
    weights = next(each for each in derivation.operands if each.kind == "weight")
    for each in weights.numbers:
        row, column = each.index
        whole = content[each.byte] >> 4 * (column % 2) & 15
        expected = whole * float(tensor.scale[row, column // 32]) + float(tensor.offset[row, column // 32])
        assert each.value == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("part", ["scale", "offset"])
@pytest.mark.parametrize("fault", ["missing", "short", "float32"])
def test_parts_of_4_bits_that_do_not_fit_are_refused(part: str, fault: str, tmp_path: Path) -> None:
    path = int4_file(tmp_path)
    tensors, name = load_file(path), f"decoder.blocks.0.self_attention.query.weight.{part}"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][2:].clone() if fault == "short" else tensors[name].float()
    save_file(tensors, path, metadata)
    with pytest.raises(OpenbookError, match=r"small\.openbook: tensor decoder\.blocks\.0\.self_attention\.query"):
        load_tensors(path)


@pytest.mark.parametrize("fault", ["missing", "short", "for no matrix"])
def test_scales_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    path = small(SOME[0], tmp_path)
    tensors, name = load_file(path), "decoder.blocks.0.self_attention.query.weight"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if fault == "missing":
        del tensors[f"{name}.scale"]
    elif fault == "short":
        tensors[f"{name}.scale"] = tensors[f"{name}.scale"][1:].clone()
    else:
        tensors["decoder.blocks.0.self_attention.query.scale"] = torch.ones(2)
    save_file(tensors, path, metadata)
    with pytest.raises(OpenbookError, match=r"small\.openbook: tensor decoder\.blocks\.0\.self_attention\.query"):
        load_tensors(path)
