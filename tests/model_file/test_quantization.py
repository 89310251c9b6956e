"""Model files with matrices of 8 bits: a quarter of the size, the same model everywhere."""

from pathlib import Path

import pytest
import torch
from foreign_models import CASES, pair
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from openbook.errors import OpenbookError
from openbook.explanation.derivations import derive, relative_errors
from openbook.explanation.tensor_offsets import tensor_offsets
from openbook.interop.exporting import export_model
from openbook.interop.importing import import_model
from openbook.model import load
from openbook.model_file.file import load as load_tensors
from openbook.model_file.inspection import describe
from openbook.model_file.int8 import Int8Weight, dequantize, quantize
from openbook.trace import trace

SOME = [
    ("Llama", "grouped, head width"),
    ("GPT-2", "plain"),
    next(case for case in CASES if case[0] == "Mixtral"),
    ("Marian", "two vocabularies"),
]


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
