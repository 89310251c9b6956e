"""Saving, loading and building: everything comes back, nothing is read before it is used."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sample_files import metadata_of, same_bits, small_file, tensors_of, tokenizer_text
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.file import build, load, save
from openbook.model_file.header import write_header
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import open_model_file
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Position, Stack
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, architectures, some_source, some_tokens
from strategies import build as build_random


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.openbook"


def answer(model: Transformer) -> Tensor:
    """What it makes of some tokens, or of a source and a target."""
    source = some_source(2, 5) if model.architecture.is_encoder_decoder else None
    return model(some_tokens(2, 7), source=source)


@given(architectures() | architectures(max_layers=2, encoder=True))
def test_every_architecture_comes_back(tmp_path_factory: pytest.TempPathFactory, architecture: Architecture) -> None:
    path = tmp_path_factory.mktemp("any") / "any.openbook"
    model = build_random(architecture)
    save(path, metadata_of(architecture), model.state_dict())
    metadata, tensors = load(path)
    assert metadata == metadata_of(architecture)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensors[name], tensor)
    # Close, not equal: some processors' products depend on where in memory a matrix begins.
    torch.testing.assert_close(answer(build(metadata.architecture, tensors)), answer(model), rtol=1e-5, atol=1e-5)
    again = path.with_name("again.openbook")
    save(again, metadata, dict(reversed(tensors.items())))
    assert again.read_bytes() == path.read_bytes()


@given(architectures() | architectures(encoder=True))
def test_expected_shapes_are_those_of_the_module(architecture: Architecture) -> None:
    state = Transformer(architecture).state_dict()
    assert expected_shapes(architecture) == {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert list(expected_shapes(architecture)) == list(state)


def test_position_table_of_its_own_stands_in_place() -> None:
    learned = replace(DEFAULT, decoder=replace(DEFAULT.decoder, position=Position(kind="learned")))
    assert list(expected_shapes(learned)) == list(Transformer(learned).state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_plain_safetensors_reads_it(path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in tensors_of().items()}
    save(path, metadata_of(), tensors)
    plain = load_file(path)
    assert plain.keys() == tensors.keys()
    assert all(same_bits(plain[name], tensors[name]) for name in tensors)
    with safe_open(path, framework="pt") as file:
        assert ModelMetadata.from_header(file.metadata()) == metadata_of()
    loaded = load(path)[1]
    assert all(same_bits(loaded[name], tensors[name]) for name in tensors)


def test_what_safetensors_wrote_loads(path: Path) -> None:
    save_file(tensors_of(), path, metadata_of().to_header())
    metadata, tensors = load(path)
    assert metadata == metadata_of()
    assert all(same_bits(tensors[name], tensor) for name, tensor in tensors_of().items())


def test_tied_weights_are_there_once(path: Path) -> None:
    save(path, metadata_of(DEFAULT), tensors_of(DEFAULT))
    assert "to_logits.weight" not in load(path)[1]
    untied = replace(DEFAULT, tied_embeddings=False)
    save(path, metadata_of(untied), tensors_of(untied))
    assert "to_logits.weight" in load(path)[1]


def test_transposed_and_shared_tensors_are_saved_as_they_look(path: Path) -> None:
    tensors = {
        name: tensor.mT.contiguous().mT if tensor.dim() == 2 else tensor for name, tensor in tensors_of().items()
    }
    save(path, metadata_of(), tensors)
    assert path.read_bytes() == small_file()


def test_model_is_in_evaluation_mode_and_learns(path: Path) -> None:
    path.write_bytes(small_file())
    metadata, tensors = load(path)
    model = build(metadata.architecture, tensors)
    assert not model.training
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())
    assert model.token_embedding.weight.data_ptr() == tensors["token_embedding.weight"].data_ptr()
    assert not list(model.buffers())
    model(some_tokens(1, 5)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not same_bits(model.token_embedding.weight.detach(), tensors_of()["token_embedding.weight"])
    assert path.read_bytes() == small_file()


def test_building_leaves_the_random_state_alone(path: Path) -> None:
    path.write_bytes(small_file())
    before = torch.get_rng_state()
    metadata, tensors = load(path)
    build(metadata.architecture, tensors)
    assert torch.equal(before, torch.get_rng_state())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_half_a_gigabyte_loads_in_milliseconds_without_being_read(path: Path) -> None:
    block = Block(
        attention=Attention(heads=12, key_value_heads=12, head_width=64), feed_forward=FeedForward(width=3072)
    )
    large = Architecture(vocab_size=32_000, width=768, context=1024, decoder=Stack(blocks=(block,) * 12))
    header = write_header(
        metadata_of(large).to_header(), {name: ("F32", shape) for name, shape in expected_shapes(large).items()}
    )
    with path.open("wb") as file:  # the tensors are a hole in the file, so that the test writes nothing
        file.write(header)
        size = sum(4 * torch.Size(shape).numel() for shape in expected_shapes(large).values())
        file.truncate(len(header) + size)
    assert size > 500_000_000

    load(path)
    before, seconds = resident(), []
    for _ in range(3):
        started = time.perf_counter()
        metadata, tensors = load(path)
        model = build(metadata.architecture, tensors)
        seconds.append(time.perf_counter() - started)
    assert resident() - before < 20_000_000
    assert min(seconds) < 0.3  # about 0.03 on an idle machine
    assert model.token_embedding.weight[31_999, 767].item() == 0.0


def test_tensors_begin_where_vector_instructions_like_it(path: Path) -> None:
    path.write_bytes(small_file())
    first = min(entry.begin for entry in open_model_file(path).header.tensors.values())
    assert first % 64 == 0


def test_same_file_whatever_the_order(path: Path) -> None:
    for order in (1, -1):
        save(path, metadata_of(), dict(list(tensors_of().items())[::order]))
        assert path.read_bytes() == small_file()


def test_optional_fields_can_be_absent(path: Path) -> None:
    plain = ModelMetadata(architecture=DEFAULT, tokenizer=tokenizer_text())
    save(path, plain, tensors_of())
    assert load(path)[0] == plain


def test_name_that_is_no_unicode_is_kept(path: Path) -> None:
    odd = replace(metadata_of(), training={"data": [{"name": "b\udcff.txt"}]})
    save(path, odd, tensors_of())
    assert load(path)[0] == odd


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"loss": float("nan")}}, "training has a number that is not finite; write None"),
        ({"training": {"step": 10**30}}, "training has a number too long"),
        ({"generation": {"temperature": -1.0}}, "generation, temperature: give a number from 0 to 100"),
        ({"generation": {"heat": 1}}, "generation, heat: is not known; there are temperature"),
        ({"license": "x" * 2_000_000}, "license is 2,000,002 characters long"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(path: Path, changed: dict[str, object], message: str) -> None:
    path.write_bytes(b"old")
    with pytest.raises(OpenbookError, match=message) as caught:
        save(path, replace(metadata_of(), **changed), tensors_of())
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"


def test_tensors_must_be_those_of_the_architecture(path: Path) -> None:
    tensors = tensors_of()
    name = "decoder.final_norm.weight"
    for wrong, message in [
        (torch.zeros(3), r"shape: \[3\] should be \[16\]"),
        (torch.zeros(16, dtype=torch.float64), "dtype: torch.float64 is not one of F32, F16, BF16"),
        (torch.zeros(16, dtype=torch.float16), "dtype: F16 differs from F32"),
    ]:
        with pytest.raises(OpenbookError, match=f"tensor {name}, {message}"):
            save(path, metadata_of(), {**tensors, name: wrong})
    with pytest.raises(OpenbookError, match=f"tensor {name} of its architecture is missing"):
        save(path, metadata_of(), {n: t for n, t in tensors.items() if n != name})
    assert not path.exists()


def test_special_tokens_and_a_second_tokenizer_are_kept(tmp_path: Path) -> None:
    special = SpecialTokens(end=(2, 3), padding=1, languages={"de": 4})
    metadata = replace(metadata_of(), special_tokens=special, source_tokenizer=tokenizer_text())
    save(tmp_path / "special.openbook", metadata, tensors_of())
    again, _ = load(tmp_path / "special.openbook")
    assert again == metadata
    assert again.make_tokenizer().end_ids == {2, 3}
    beyond = SpecialTokens(end=(metadata.architecture.vocab_size,))
    with pytest.raises(OpenbookError, match=r"field special_tokens: id .* is beyond the vocabulary"):
        save(tmp_path / "beyond.openbook", replace(metadata, special_tokens=beyond), tensors_of())
