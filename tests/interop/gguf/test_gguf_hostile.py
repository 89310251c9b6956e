"""GGUF files from strangers: one clear error, nothing allocated that the file could not hold."""

import struct
import tracemalloc
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gguf_files import random_model, write_gguf
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.interop.gguf.block_types import readable_types
from openbook.interop.gguf.header import BlockSize, read_header
from openbook.interop.importing import import_model

READABLE = {0: ("F32", BlockSize(1, 4)), 2: ("Q4_0", BlockSize(32, 18))}


@cache
def good_file() -> bytes:
    with TemporaryDirectory() as folder:
        write_gguf(Path(folder, "it.gguf"), "llama", random_model("llama"), "Q8_0")
        return Path(folder, "it.gguf").read_bytes()


@given(st.data())
def test_damaged_files_never_crash(data: st.DataObject) -> None:
    content = bytearray(good_file())
    for _ in range(data.draw(st.integers(1, 4))):
        reach = data.draw(st.sampled_from([64, 2000, len(content)]))
        content[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.sampled_from([len(content), len(content) - 1, 5000, 300, 30])) :]
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.gguf")
        path.write_bytes(content)
        try:
            import_model(path, Path(folder, "it.openbook"), overwrite=True)
        except OpenbookError as error:
            assert str(path) in str(error)


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic(content: bytes) -> None:
    try:
        read_header(b"GGUF" + struct.pack("<I", 3) + content, readable_types())
    except OpenbookError:
        pass
    else:
        raise AssertionError("there is no file this short that says anything")


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def file(fields: bytes = b"", count: int = 0, tensors: bytes = b"", tensor_count: int = 0, rest: bytes = b"") -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, tensor_count, count) + fields + tensors
    return head + bytes(-len(head) % 32) + rest


def tensor(name: str = "t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    axes = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", length) for length in shape)
    return text(name) + axes + struct.pack("<IQ", kind, offset)


U32 = struct.pack("<I", 4)
HUGE = 2**64 - 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"GGUF", "should have 4 bytes, 0 are left"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9 is not one of"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "more than the 20,000"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "more than the 20,000"),
        (file(struct.pack("<Q", HUGE), 1), "more than the 256 allowed"),
        (file(text("a") + struct.pack("<I", 8) + struct.pack("<Q", HUGE), 1), "more than the 16,000,000 allowed"),
        (file(text("a") + struct.pack("<I", 8) + struct.pack("<Q", 10**6), 1), "should have 1,000,000 bytes"),
        (file(text("a") + struct.pack("<IIQ", 9, 4, HUGE), 1), "elements, more than"),
        (file(text("a") + struct.pack("<IIQ", 9, 4, 10**6), 1), "should have 4,000,000 bytes"),
        (file(text("a") + struct.pack("<IIQ", 9, 8, 10**6), 1), "1,000,000 strings are more than the file holds"),
        (file(text("a") + struct.pack("<IIQ", 9, 9, 1), 1), "arrays within arrays"),
        (file(text("a") + struct.pack("<I", 99), 1), "the kind 99 is not known"),
        (file(text("a") + U32 + U32 + text("a") + U32 + U32, 2), "is there twice"),
        (file(text(b"\xff") + U32 + U32, 1), "is not UTF-8"),
        (file(text("a") + struct.pack("<If", 6, float("nan")), 1), "not finite"),
        (file(text("general.alignment") + U32 + struct.pack("<I", 3), 1), "no power of two"),
        (file(text("general.alignment") + U32 + struct.pack("<I", 0), 1), "no power of two"),
        (file(tensors=tensor(shape=(2**63, 2**63)), tensor_count=1), "are not in the file"),
        (file(tensors=tensor(shape=(0,)), tensor_count=1), "no whole number of blocks"),
        (file(tensors=tensor(shape=(33,), kind=2), tensor_count=1), "no whole number of blocks"),
        (file(tensors=tensor(shape=(1,) * 5), tensor_count=1), "has 5 axes"),
        (file(tensors=tensor(kind=77), tensor_count=1), "its type 77 is not supported; .* F32, Q4_0"),
        (file(tensors=tensor(offset=HUGE - 31), tensor_count=1), "are not in the file"),
        (file(tensors=tensor(offset=5), tensor_count=1, rest=bytes(256)), "are not in the file"),
        (file(tensors=2 * tensor(), tensor_count=2, rest=bytes(256)), "is there twice"),
        (file(tensors=tensor() + tensor("u", offset=64), tensor_count=2, rest=bytes(256)), "overlaps"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(content: bytes, complaint: str) -> None:
    tracemalloc.start()
    with pytest.raises(OpenbookError, match=complaint):
        read_header(content, READABLE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000  # what the test itself takes is a quarter of it


MANY = 400_000


@pytest.mark.parametrize(
    "value",
    [
        struct.pack("<IIQ", 9, 0, MANY) + MANY * b"\xff",
        struct.pack("<IIQ", 9, 10, MANY) + MANY * b"\xff\xff\xff\xff\x00\x00\x00\x00",
        struct.pack("<IIQ", 9, 12, MANY) + MANY * struct.pack("<d", 0.1),
        struct.pack("<IIQ", 9, 8, MANY // 2) + MANY // 2 * struct.pack("<Q", 0),
        struct.pack("<IIQ", 9, 8, MANY // 2) + MANY // 2 * text(b"ab"),
        struct.pack("<IIQ", 9, 8, MANY // 20) + MANY // 20 * text("ab\U0001f600" * 10),
        struct.pack("<I", 8) + text("x" * 6_000_000 + "\U0001f600"),
    ],
    ids=["bytes", "whole numbers", "numbers", "nothing", "short texts", "wide texts", "a wide text"],
)
def test_fields_take_four_times_the_file_at_most(value: bytes) -> None:
    content = file(text("a") + value, 1)
    tracemalloc.start()
    with suppress(OpenbookError):
        read_header(content, READABLE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(content) + 20_000_000


def test_a_file_that_is_all_fields_is_too_much() -> None:
    content = file(text("a") + struct.pack("<IIQ", 9, 0, MANY) + MANY * b"\xff", 1)
    with pytest.raises(OpenbookError, match="field a: would take 19,200,000 bytes, too much"):
        read_header(content, READABLE)


def changed(old: bytes, new: bytes) -> bytes:
    assert old in good_file()
    return good_file().replace(old, new)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda: changed(text("general.architecture") + struct.pack("<I", 8) + text("llama"),
                         text("general.architecture") + struct.pack("<I", 8) + text("lloma")), "lloma is not known; "),
        (lambda: changed(text("llama.block_count"), text("llama.blocc_count")), "block_count: should be a number"),
        (lambda: changed(text("tokenizer.ggml.add_bos_token"), text("llama.attention.some_new_one")),
         "llama.attention.some_new_one: is not understood and may change the result"),
        (lambda: changed(text("tokenizer.ggml.pre") + struct.pack("<I", 8) + text("gpt-2"),
                         text("tokenizer.ggml.pre") + struct.pack("<I", 8) + text("gpt-9")), "gpt-9 is"),
        (lambda: changed(text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("gpt2"),
                         text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("bert")), "bert is not gpt2 or"),
        (lambda: changed(text("blk.0.attn_q.weight"), text("blk.0.attn_z.weight")), "not part of such a model"),
        (lambda: changed(text("blk.1.attn_q.weight"), text("blk.7.attn_q.weight")), "is missing|nothing that"),
        (lambda: changed(text("tokenizer.ggml.eos_token_id"), text("tokenizer.ggml.eos_tokem_id")), "eos_token_id is"),
        (lambda: good_file()[:-100], "are not in the file"),
        (lambda: b"not a model", "train on it|no model file"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_named(content, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "it.gguf"
    path.write_bytes(content())
    with pytest.raises(OpenbookError, match=complaint) as error:
        import_model(path, tmp_path / "it.openbook")
    assert str(path) in str(error.value)
    assert not (tmp_path / "it.openbook").exists()
