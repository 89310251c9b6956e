"""Adapters: a model with the change added, whatever is asked of it; damaged ones and wrong bases are refused."""

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_examples import TINY
from typer.testing import CliRunner

import openbook
from openbook.cli.main import app
from openbook.errors import OpenbookError
from openbook.model_file.adapter import FIELD, load_merged, read_adapter
from openbook.model_file.writing import write_tensors
from openbook.training.lora_targets import TARGETS
from soon import soon

LEARN = {"steps": 8, "batch_tokens": 64, "micro_batch_size": 4, "dropout": 0.0, "precision": "float32", "context": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, an adapter of it, and the same run merged."""
    folder = tmp_path_factory.mktemp("adapters")
    (folder / "book.txt").write_text("It is a truth universally acknowledged. " * 200)
    (folder / "more.txt").write_text("Call me Ishmael. Some years ago, never mind how long. " * 200)
    openbook.train(folder / "book.txt", folder / "base.openbook", **TINY)
    for name, apart in (("merged", False), ("small", True)):
        openbook.train(folder / "more.txt", folder / f"{name}.openbook", base_model=folder / "base.openbook",
                       lora_rank=2, adapter=apart, **LEARN)  # fmt: skip
    return folder


def test_an_adapter_is_the_model_that_merging_gives(folder):
    merged, adapted = openbook.load(folder / "merged.openbook"), openbook.load(folder / "small.openbook")
    one, other = merged.transformer.state_dict(), adapted.transformer.state_dict()
    base = openbook.load(folder / "base.openbook").transformer.state_dict()
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], base[name]) for name in one)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-6)
    assert adapted.metadata.training["data"][0]["name"] == "more.txt"
    assert (folder / "small.openbook").stat().st_size < (folder / "base.openbook").stat().st_size / 2


def test_the_verbs_take_it(folder):
    small = str(folder / "small.openbook")
    for command in (
        ["ask", small, "Call", "--max-tokens", "3", "--temperature", "0"],
        ["explain", small, "Call me"],
        ["evaluate", small, str(folder / "more.txt")],
        ["inspect", small],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert "base.openbook" in result.output
    assert "rank" in result.output.lower()
    described = json.loads(CliRunner().invoke(app, ["inspect", small, "--json"]).output)
    assert described["adapter"]["base"] == "base.openbook"
    assert {change["rank"] for change in described["adapter"]["changes"]} == {2}


def test_the_recipe_is_what_was_trained(folder):
    """Nothing of the recipe contradicts the base, and names are whole."""
    described = json.loads(CliRunner().invoke(app, ["inspect", str(folder / "small.openbook"), "--json"]).output)
    record = described["training"]
    assert record["lora"] == {"rank": 2, "targets": list(TARGETS), "scale": 2.0}
    assert record["recipe"]["adamw_lr"] == 0.002 and record["recipe"]["steps"] == LEARN["steps"]
    assert not record["recipe"].keys() & {
        "layers",
        "tokenizer",
        "activation",
        "matrix_lr",
        "embedding_lr",
        "relative_lr",
    }
    merged = openbook.load(folder / "merged.openbook").metadata.training
    assert merged["lora"] == record["lora"] and merged["recipe"] == record["recipe"]
    new = openbook.load(folder / "base.openbook").metadata.training
    assert new["recipe"]["layers"] == TINY["layers"] and "lora" not in new
    shown = CliRunner().invoke(app, ["inspect", str(folder / "small.openbook")]).output
    for name in ("self_attention.query", "self_attention.key", "feed_forward.gate"):
        assert f"decoder.blocks.0.{name}.weight" in shown


def test_it_can_be_gone_on_from(folder, tmp_path):
    model = openbook.train(
        folder / "more.txt", tmp_path / "next.openbook", base_model=folder / "small.openbook", **LEARN
    )
    assert model.metadata.training["base_model"] == "small.openbook"


def test_a_base_that_is_missing_or_another_is_refused(folder, tmp_path):
    shutil.copy(folder / "small.openbook", tmp_path)
    with pytest.raises(OpenbookError, match=r"small.openbook: is an adapter of base.openbook, which is not beside it"):
        openbook.load(tmp_path / "small.openbook")
    shutil.copy(folder / "merged.openbook", tmp_path / "base.openbook")
    with pytest.raises(OpenbookError, match="an adapter of another base"):
        openbook.load(tmp_path / "small.openbook")


@pytest.mark.parametrize("length", [2**64 - 1, 2**62, 6 << 30])
def test_a_base_is_not_believed_how_long_its_header_is(folder, tmp_path, length):
    shutil.copy(folder / "small.openbook", tmp_path)
    with (tmp_path / "base.openbook").open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(8 << 30)  # without taking room on the disk
    with soon(), pytest.raises(OpenbookError, match="an adapter of another base"):
        openbook.load(tmp_path / "small.openbook")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": "../base.openbook"}, "not the name of a file in its own folder"),
        ({"base": "/etc/passwd"}, "not the name of a file in its own folder"),
        ({"base": ".."}, "not the name of a file in its own folder"),
        ({"base": 7}, "should have base, fingerprint and scale"),
        ({"scale": "2"}, "should have base"),
        ({"scale": 1e300}, "scale"),
        ({"more": 1}, "should have base"),
    ],
)
def test_what_it_says_is_checked(folder, changes, said):
    path = folder / "damaged.openbook"
    shutil.copy(folder / "small.openbook", path)
    adapter = read_adapter(path)[0]
    field = {"base": adapter.base, "fingerprint": adapter.fingerprint, "scale": adapter.scale} | changes
    write_tensors(path, {FIELD: json.dumps(field), "training": "{}"}, load_file(folder / "small.openbook"))
    with pytest.raises(OpenbookError, match=f"damaged.openbook: .*{said}"):
        load_merged(path)


@pytest.mark.parametrize("shape", [(2, 5), (3, 16), (2,), (2, 16, 1)])
def test_shapes_that_do_not_fit_are_refused(folder, shape):
    tensors = load_file(folder / "small.openbook")
    name = next(name for name in tensors if name.endswith("query.weight.a"))
    assert tensors[name].shape == (2, 16)
    path = folder / "damaged.openbook"
    adapter = read_adapter(folder / "small.openbook")[0]
    field = json.dumps({"base": adapter.base, "fingerprint": adapter.fingerprint, "scale": 2.0})
    write_tensors(path, {FIELD: field, "training": "{}"}, tensors | {name: torch.zeros(shape)})
    with pytest.raises(OpenbookError, match=r"does not fit|changes no matrix"):
        load_merged(path)


@given(place=st.integers(0, 3000), byte=st.integers(0, 255))
@settings(max_examples=150)
def test_damage_is_an_error_or_a_model(folder, place, byte):
    data = bytearray((folder / "small.openbook").read_bytes())
    data[place % len(data)] = byte
    path = folder / "fuzzed.openbook"
    path.write_bytes(data)
    try:
        with soon():
            load_merged(path)
    except OpenbookError as error:
        assert "fuzzed.openbook" in str(error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora_rank": None}, "give base_model and lora_rank too"),
        ({"base_model": "small.openbook"}, "is an adapter itself"),
        ({"output": "elsewhere"}, "an adapter lies beside its base model"),
    ],
)
def test_what_cannot_be_an_adapter_is_refused(folder, tmp_path, options, said):
    start = folder / options.get("base_model", "base.openbook")
    output = (tmp_path if "output" in options else folder) / "no.openbook"
    with pytest.raises(OpenbookError, match=said):
        openbook.train(
            folder / "more.txt", output, base_model=start, lora_rank=options.get("lora_rank", 2), adapter=True, **LEARN
        )
