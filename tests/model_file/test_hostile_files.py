"""Files that somebody else wrote: each is exactly valid or refused with its name, soon and at little cost."""

import json
import os
import re
import resource
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sample_files import in_child, put_together, same_bits, small_file, take_apart

from openbook.errors import OpenbookError
from openbook.model_file.file import build, load
from openbook.model_file.inspection import describe
from soon import soon
from strategies import some_tokens

QUERY = "decoder.blocks.0.self_attention.query.weight"
KEY = "decoder.blocks.0.self_attention.key.weight"
FINAL = "decoder.final_norm.weight"
Change = Callable[[dict[str, Any]], object]


def load_or_refuse(path: Path, data: bytes) -> str | None:
    """Load these bytes as a model file; the error's message, or None where it loads.

    Whatever loads is what the safetensors library reads, and makes a model that runs.
    """
    path.write_bytes(data)
    try:
        with soon():
            metadata, tensors = load(path)
    except OpenbookError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
        return str(error)
    plain = load_file(path)
    assert plain.keys() == tensors.keys()
    assert all(same_bits(plain[name], tensors[name]) for name in tensors)
    build(metadata.architecture, tensors)(some_tokens(1, 3) % metadata.architecture.vocab_size)
    try:
        json.dumps(describe(path), allow_nan=False)
    except OpenbookError as error:  # the tokenizer is read only by those who use it
        assert str(error).startswith(f"{path}: ")
    return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.openbook"


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.openbook"


def test_the_file_itself_is_valid(path: Path) -> None:
    assert load_or_refuse(path, small_file()) is None
    assert load_or_refuse(path, put_together(*take_apart(small_file()))) is None


# Bytes


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file with a few bytes changed, put in, taken out or moved, or its end cut off."""
    data = bytearray(small_file())
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, 16) | st.integers(0, header) | st.integers(0, len(data)))
        length = draw(st.integers(1, 8) | st.integers(1, 2000))
        match draw(st.sampled_from(["change", "bit", "insert", "delete", "move", "cut", "append"])):
            case "change":
                data[place : place + 8] = draw(st.binary(min_size=1, max_size=8))
            case "bit" if place < len(data):
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8) | st.just(b'{"a":[') | st.just(b'","x":"'))
            case "delete":
                del data[place : place + length]
            case "move":
                piece = data[place : place + length]
                del data[place : place + length]
                other = draw(st.integers(0, len(data)))
                data[other:other] = piece
            case "cut":
                del data[place:]
            case _:
                data += bytes(length)
    return bytes(data)


@settings(max_examples=400)
@given(damaged())
def test_damaged_bytes(shared_path: Path, data: bytes) -> None:
    load_or_refuse(shared_path, data)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(shared_path: Path, data: bytes, framed: bool) -> None:
    whole = put_together(b"{" + data, b"") if framed else data
    assert load_or_refuse(shared_path, whole) is not None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated(path: Path, share: float) -> None:
    data = small_file()
    message = load_or_refuse(path, data[: int(share * len(data))])
    assert message is not None
    assert "again" in message


# The header, well-formed but wrong

NASTY = st.sampled_from(
    [None, True, -1, 0, 1, 2, 1.0, 1e300, 2**31, 2**32, 2**63, 2**64, 10**30, "", "F32", "F16", "I8", "pt", "2", "{}"]
) | st.sampled_from([[], [[]], {}, [1, 2], [-1, 3], [2**62] * 4, [1] * 9, "\x1b[2J", "\ud800", "nan", [0, 0], "[[[["])


def places(value: Any, *path: str | int) -> list[tuple[str | int, ...]]:
    """The paths of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *places(item, *path, key)]]


@st.composite
def wrong_header(draw: st.DrawFn) -> bytes:
    """A real file whose header has a few values replaced, removed, renamed, swapped or added."""
    header, payload = take_apart(small_file())
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(header)))
        parent: Any = header
        for key in way:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "remove", "add", "swap", "inside"])):
            case "replace":
                parent[last] = deepcopy(draw(NASTY))
            case "remove":
                del parent[last]
            case "add" if isinstance(parent, dict):
                parent[draw(st.text(max_size=5))] = deepcopy(draw(NASTY))
            case "swap":
                other = draw(st.sampled_from(list(parent) if isinstance(parent, dict) else range(len(parent))))
                parent[last], parent[other] = parent[other], parent[last]
            case "inside" if isinstance(parent[last], str) and parent[last][:1] == "{" and last != "tokenizer":
                parent[last] = _wrong_inside(draw, parent[last])
            case _:
                pass
        if not places(header):
            break
    return put_together(header, payload)


def _wrong_inside(draw: st.DrawFn, text: str) -> str:
    """JSON within the metadata, with one value replaced."""
    value = json.loads(text)
    *way, last = draw(st.sampled_from(places(value) or [("new",)]))
    parent = value
    for key in way:
        parent = parent[key]
    parent[last] = deepcopy(draw(NASTY))
    return json.dumps(value)


@settings(max_examples=400)
@given(wrong_header())
def test_wrong_headers(shared_path: Path, data: bytes) -> None:
    load_or_refuse(shared_path, data)


def entry(name: str, **fields: object) -> Change:
    """Change fields of one tensor's entry."""
    return lambda header: header[name].update(fields)


def metadata(**fields: object) -> Change:
    """Change fields of the metadata; None removes one."""

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"].update(fields)
        header["__metadata__"] = {name: value for name, value in header["__metadata__"].items() if value is not None}

    return change


def architecture(**fields: object) -> Change:
    """Change fields of the architecture."""

    def change(header: dict[str, Any]) -> None:
        value = json.loads(header["__metadata__"]["architecture"]) | fields
        header["__metadata__"]["architecture"] = json.dumps(value)

    return change


def blocks(count: int, **fields: object) -> Change:
    """Give the architecture so many blocks, each with these fields in its feed-forward part."""

    def change(header: dict[str, Any]) -> None:
        value = json.loads(header["__metadata__"]["architecture"])
        block = value["decoder"]["blocks"][0]
        block["feed_forward"].update(fields)
        value["decoder"]["blocks"] = [block] * count
        header["__metadata__"]["architecture"] = json.dumps(value)

    return change


def shift(amount: int, size: int = 0) -> Change:
    """Move the final norm's place in the file."""

    def change(header: dict[str, Any]) -> None:
        begin, end = header[FINAL]["data_offsets"]
        header[FINAL]["data_offsets"] = [begin + amount, end + amount + size]

    return change


def swap_offsets(header: dict[str, Any]) -> None:
    header[QUERY]["data_offsets"], header[KEY]["data_offsets"] = (
        header[KEY]["data_offsets"],
        header[QUERY]["data_offsets"],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry(QUERY, dtype="I32"), f"tensor {QUERY}, dtype: I32 is not one of F32, F16, BF16"),
        (entry(QUERY, dtype="Q4"), f"tensor {QUERY}, dtype: Q4 is not one of F64"),
        (entry(QUERY, dtype=7), f'tensor {QUERY}, dtype: it should be a string, not "7'),
        (
            entry(QUERY, dtype="F16"),
            f"tensor {QUERY}: F16 of shape [32, 16] takes 1,024 bytes, data_offsets give 2,048",
        ),
        (entry(QUERY, dtype="F16", shape=[64, 16]), f"tensor {QUERY}, shape: [64, 16] should be [32, 16]"),
        (entry(QUERY, shape=[16, 32]), f"tensor {QUERY}, shape: [16, 32] should be [32, 16]"),
        (entry(QUERY, shape=[2**62, 2**62]), f"tensor {QUERY}: F32 of shape"),
        (entry(QUERY, shape=[-32, -16]), f"tensor {QUERY}, shape: it should be a list of at most 8 whole numbers"),
        (entry(QUERY, shape=[32.0, 16]), f"tensor {QUERY}, shape: it should be a list of at most 8 whole numbers"),
        (entry(QUERY, shape=[True, 512]), f"tensor {QUERY}, shape: it should be a list of at most 8 whole numbers"),
        (entry(QUERY, shape=[1] * 9), f"tensor {QUERY}, shape: it should be a list of at most 8 whole numbers"),
        (entry(QUERY, shape=[[32], 16]), f"tensor {QUERY}, shape: it should be a list of at most 8 whole numbers"),
        (entry(QUERY, data_offsets=[0]), f"tensor {QUERY}: it needs dtype, shape and two data_offsets"),
        (entry(QUERY, data_offsets=[2048, 0]), f"tensor {QUERY}: F32 of shape [32, 16] takes 2,048 bytes"),
        (entry(QUERY, colour="red"), f"tensor {QUERY}: unknown field colour"),
        (shift(-64), f"tensor {FINAL}: it overlaps the tensor before it"),
        (shift(64), f"tensor {FINAL}: it leaves a gap before it"),
        (swap_offsets, f"tensor {QUERY}: F32 of shape [32, 16] takes 2,048 bytes, data_offsets give 1,024"),
        (lambda header: header.pop(FINAL), "bytes follow its last tensor"),
        (lambda header: header.update({"x" * 300: 1}), "is not 1 to 256 plain characters"),
        (lambda header: header.update({"a\x1b[2J": 1}), 'the key "a\\x1b[2J" is not 1 to 256 plain characters'),
        (lambda header: header.update(extra=[]), "tensor extra: it should be an object"),
        (lambda header: header.update(__metadata__=[]), "its metadata: it should be an object"),
        (lambda header: header.update(__metadata__={"format": 1}), "metadata field format: it should be a string"),
        (lambda header: header.pop("__metadata__"), "no openbook format number"),
        (metadata(format="pt"), "no openbook format number"),
        (metadata(format="2"), "format 2 was written by a newer openbook: upgrade"),
        (metadata(format="9" * 5000), "was written by a newer openbook: upgrade"),
        (metadata(format="0"), "format 0 does not exist"),
        (metadata(format="²"), "no openbook format number"),
        (metadata(tokenizer=None), "the field tokenizer is missing"),
        (metadata(adapter="{}"), "unknown field adapter"),
        (metadata(architecture="{"), "field architecture is not JSON"),
        (metadata(architecture='{"width": 1, "width": 1}'), 'field architecture has the key "width" twice'),
        (metadata(training='{"a": NaN}'), "field training has a number that is not finite"),
        (metadata(training='{"a": 1e999}'), "field training has a number that is not finite"),
        (metadata(training='{"a": ' + "9" * 10_000 + "}"), "field training has a number too long"),
        (metadata(training="[" * 500_000), "field training is nested more than 32 levels deep"),
        (metadata(training="[" * 40 + "]" * 40), "field training is nested more than 32 levels deep"),
        (metadata(training="[]"), "field training should be a JSON object"),
        (metadata(training='{"a":"' + "x" * 5_000_000 + '"}'), "field training is 5,000,008 characters long"),
        (metadata(generation='{"top_k": 40.5}'), "field generation, top_k: give a whole number from 1"),
        (metadata(generation='{"\\u001b[2J": 1}'), "field generation, \\x1b[2J: is not known; there are temperature"),
        (metadata(license="3"), "field license should be a JSON string"),
        (architecture(colour="red"), "architecture, field colour"),
        (architecture(width=17), "shape: [23, 16] should be [23, 17]"),
        (architecture(width=2**20, vocab_size=2**24), "shape: [23, 16] should be [16777216, 1048576]"),
        (architecture(width=10**30), "field architecture has a number too long"),
        (architecture(tied_embeddings=False), "tensor to_logits.weight of its architecture is missing"),
        (blocks(1), "is not part of its architecture"),
        (blocks(3), "tensor decoder.blocks.2.self_attention.query.weight of its architecture is missing"),
        (blocks(1024, width=2**20), "its architecture has 1,024 blocks, but there are"),
        (blocks(1025), "architecture, field decoder.blocks"),
    ],
)
def test_wrong_header_is_named(path: Path, change: Change, message: str) -> None:
    found = load_or_refuse(path, changed(change))
    assert found is not None
    assert message in found


def test_tensor_between_numbers_is_refused(path: Path) -> None:
    header, payload = take_apart(small_file())
    text = json.dumps(header)
    found = load_or_refuse(path, put_together(text + " " * (-len(text) % 8 + 1), payload, align=1))
    assert found is not None
    assert "between numbers" in found


# The header, not even well-formed


def many(inside: str | None, value: str) -> str:
    """A header of 100,000 equal entries, or one that has them inside one entry."""
    entries = "{" + ",".join(f'"a{number}":{value}' for number in range(100_000)) + "}"
    return entries if inside is None else f'{{"{inside}":{entries}}}'


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        (lambda text: text.replace(f'"{KEY}"', f'"{QUERY}"'), f"the key {QUERY} is there twice"),
        (lambda text: text.replace('"shape"', '"dtype": "F32", "shape"'), "the key dtype is there twice"),
        (lambda text: text.replace('"license"', '"format": "1", "license"'), "the key format is there twice"),
        (lambda text: text[:-1] + ', "x": ' + "[" * 3_000_000, "tensor x: it should be an object"),
        (lambda text: '{"a":' * 1_000_000, "tensor a: unknown field a"),
        (lambda text: text + "{}", "something follows it"),
        (lambda text: text[:-1], "it should end or go on after a comma"),
        (lambda text: text.encode().replace(b'"F32"', b'"F3\xff"'), "its header is not UTF-8 at byte"),
        (lambda text: text.encode("utf-16"), "is no model file, or its beginning is damaged"),
        (lambda text: text.replace('"Apache', '"\\ud800Apache').replace('\\"Apache', "\\ud800"), "not a whole string"),
        (lambda text: text.replace('"F32"', '"F\n32"'), "it is not a whole string"),
        (lambda text: many("__metadata__", '""'), "more than 20,000 entries"),
        (lambda text: many(None, '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'), "more than 20,000 entries"),
    ],
)
def test_malformed_header_is_named(path: Path, rewrite: Callable[[str], str | bytes], message: str) -> None:
    header, payload = take_apart(small_file())
    found = load_or_refuse(path, put_together(rewrite(json.dumps(header)), payload))
    assert found is not None
    assert message in found


@pytest.mark.parametrize("length", [0, 1, 2**20, 100_000_000, 100_000_001, 2**31, 2**63, 2**64 - 1])
def test_wrong_length_of_the_header(path: Path, length: int) -> None:
    found = load_or_refuse(path, length.to_bytes(8, "little") + small_file()[8:])
    assert found is not None
    assert "again" in found


@settings(max_examples=60)
@given(damaged() | wrong_header())
def test_memory_stays_in_proportion(shared_path: Path, data: bytes) -> None:
    shared_path.write_bytes(data)
    tracemalloc.start()
    try:
        load(shared_path)
    except OpenbookError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 * len(data) + 1_000_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: changed(blocks(1024, width=2**20)), id="architecture of 1,024 huge blocks"),
        pytest.param(lambda: changed(architecture(width=2**20, vocab_size=2**24)), id="embedding of 64 TB"),
        pytest.param(lambda: changed(entry(QUERY, shape=[2**62, 2**62])), id="huge shape"),
        pytest.param(lambda: put_together('{"a":' + "[" * 90_000_000, b""), id="90 MB of brackets"),
        pytest.param(lambda: put_together('{"a":{"shape":[' + "1," * 45_000_000, b""), id="90 MB of numbers"),
        pytest.param(lambda: put_together("{" + " " * 90_000_000, b""), id="90 MB of spaces"),
        pytest.param(lambda: put_together('{"__metadata__":{"a":"' + "x" * 90_000_000, b""), id="90 MB of a string"),
        pytest.param(lambda: put_together(many("__metadata__", '"' + "x" * 500 + '"'), b""), id="50 MB of fields"),
    ],
)
def test_little_memory_is_enough(path: Path, data: Callable[[], bytes]) -> None:
    path.write_bytes(data())
    room = 64_000_000 + 4 * path.stat().st_size

    def load_with_little_memory() -> None:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with pytest.raises(OpenbookError, match=re.escape(str(path))) as caught, soon():
            load(path)
        assert "cannot be read" not in str(caught.value)  # which would be the limit's doing

    assert os.waitpid(in_child(load_with_little_memory), 0)[1] == 0


def changed(change: Change) -> bytes:
    """The small file with its header changed."""
    header, payload = take_apart(small_file())
    change(header)
    return put_together(header, payload)
