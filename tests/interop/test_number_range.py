"""Numbers that a dtype cannot hold are counted and refused, and nothing is written."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openbook.errors import OpenbookError
from openbook.interop.exporting import export_model
from openbook.interop.importing import import_model
from openbook.model_file.file import load, save
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.torch_dtypes import NumberCast
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import build_architecture
from strategies import build
from training.training_examples import recipe

DOWN, UP = "decoder.blocks.0.feed_forward.down.weight", "decoder.blocks.1.feed_forward.up.weight"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder and a model file with three numbers beyond float16 in two tensors."""
    tokenizer = train_tokenizer(["the cat and the hat " * 50], "bpe", 300)
    architecture = build_architecture(recipe(layers=2, width=32, feed_forward_width=32, vocab_size=320))
    metadata = ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json())
    tensors = build(architecture).state_dict()
    tensors[DOWN][0, :2], tensors[UP][1, 0] = torch.tensor([1e6, -65_536.0]), 1e30
    save(tmp_path / "large.openbook", metadata, tensors)
    export_model(tmp_path / "large.openbook", tmp_path / "folder", "hf")
    return tmp_path


def test_an_import_refuses_them(large: Path) -> None:
    with pytest.raises(OpenbookError, match=f"tensor {DOWN}, {UP}: 3 numbers too large for float16, .*bfloat16"):
        import_model(large / "folder", large / "it.openbook", dtype="float16")
    assert not (large / "it.openbook").exists()
    import_model(large / "folder", large / "it.openbook", dtype="bfloat16")
    import_model(large / "folder", large / "small.openbook", dtype="int8")


@pytest.mark.parametrize(("to", "dtype", "count"), [("hf", "float16", 3), ("gguf", "float16", 3), ("gguf", "q8_0", 32)])
def test_an_export_refuses_them(large: Path, to: str, dtype: str, count: int) -> None:
    """A block of q8_0 shares a scale of 16 bits, which reaches 8,319,008: 1e6 fits, and beside 1e30 nothing does."""
    with pytest.raises(OpenbookError, match=f"tensor .*: {count} numbers too large for .*, so infinite there; take"):
        export_model(large / "large.openbook", large / "out", to, dtype=dtype)
    assert not (large / "out").exists()
    export_model(large / "large.openbook", large / "out", to, dtype="bfloat16")


def test_what_is_not_finite_stays_and_is_no_row_of_int8(large: Path) -> None:
    tensors = load_file(large / "folder" / "model.safetensors")
    name = next(each for each in tensors if "down_proj" in each)
    tensors[name][0, 0] = torch.inf
    save_file(tensors, large / "folder" / "model.safetensors", {"format": "pt"})
    import_model(large / "folder", large / "it.openbook")
    assert load(large / "it.openbook")[1][DOWN][0, 0] == torch.inf
    with pytest.raises(OpenbookError, match=f"tensor {DOWN}: has numbers that are not finite"):
        import_model(large / "folder", large / "small.openbook", dtype="int8")


def test_scales_of_queries_do_not_overflow_on_the_way() -> None:
    cast = NumberCast(torch.float32)
    assert cast("a", torch.tensor([1e300], dtype=torch.float64)).isinf().all()
    with pytest.raises(OpenbookError, match="tensor a: 1 number too large for float32"):
        cast.check()
    exact = NumberCast(torch.bfloat16)
    exact("a", torch.tensor([65_504.0], dtype=torch.float16))
    exact("b", torch.tensor([torch.inf, torch.nan]))
    exact.check()
    exact("c", torch.full((2,), 3.4e38))
    with pytest.raises(OpenbookError, match=r"tensor c: 2 numbers too large for bfloat16, .*dtype=float32"):
        exact.check()
