"""The native library, loaded by ctypes: its structures and functions, and its errors as exceptions."""

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError, SettingError

VERSION = 4
NAMES = ("libopenbook_engine.so", "libopenbook_engine.dylib", "openbook_engine.dll")
FORMATS = {"float32": 0, "bfloat16": 1, "int8": 2, "int4": 3, "float16": 4, "int8_groups": 5}


def _structure(name: str, integers: Sequence[str], floats: Sequence[str] = ()) -> type[Structure]:
    """A structure of 4-byte fields, as `native/program.h` has it; a field `out[3]` is an array."""
    fields: list[tuple[str, Any]] = []
    for group, kind in ((integers, c_int32), (floats, c_float)):
        for field in group:
            plain, _, count = field.rstrip("]").partition("[")
            fields.append((plain, kind * int(count) if count else kind))
    return type(name, (Structure,), {"_fields_": fields})


Op = _structure(
    "Op",
    ["kind", "input", "norm", "aux", "add", "detail", "offset", "out[3]", "matrix[3]", "bias[3]"],
    ["scale", "cap"],
)
Norm = _structure("Norm", ["kind", "weight", "bias"], ["epsilon"])
Rotary = _structure(
    "Rotary", ["half", "frequencies", "dynamic"], ["attention_factor", "base", "factor", "original_context"]
)
Attention = _structure(
    "Attention",
    ["heads", "key_value_heads", "head_width", "slot", "mode", "window", "softmax", "sinks", "bias", "bias_first",
     "bias_count", "query_norm", "key_norm", "rotary"],
    ["scale", "softcap"],
)  # fmt: skip
FeedForward = _structure("FeedForward", ["activation", "gated"], ["limit", "up_offset"])
Experts = _structure(
    "Experts",
    ["count", "per_token", "normalize", "feed_forward", "router", "router_bias", "gate", "up", "down", "gate_bias",
     "up_bias", "down_bias", "width"],
)  # fmt: skip
Slot = _structure("Slot", ["part", "key_value_heads", "head_width"])


def find_library() -> Path | None:
    """Where the compiled library is: named by OPENBOOK_NATIVE, or beside this file."""
    named = os.environ.get("OPENBOOK_NATIVE")
    places = [Path(named)] if named else [Path(__file__).parent / name for name in NAMES]
    return next((place for place in places if place.is_file()), None)


@cache
def load_library() -> ctypes.CDLL:
    """The library with its functions typed.

    Raises:
        OpenbookError: it was not compiled when openbook was installed, or is of another version.
    """
    path = find_library()
    if path is None:
        raise SettingError(
            "the native engine is not compiled; install a C++ compiler and reinstall openbook, or give `engine`=torch"
        )
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise SettingError(f"{path}: cannot be loaded ({error}); reinstall openbook, or use `engine`=torch") from None
    if library.openbook_version() != VERSION:
        raise OpenbookError(f"{path}: is of another version of openbook; reinstall openbook")
    pointer = c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "error": (c_char_p, []),
        "cores": (c_int, []),
        "model": (pointer, [c_char_p, c_int, c_int]),
        "model_free": (None, [pointer]),
        "kernels": (c_char_p, [pointer]),
        "matrix": (c_int, [pointer, c_int, c_int, c_int, pointer, pointer, pointer]),
        "vector": (c_int, [pointer, pointer, c_int64]),
        "program": (
            c_int,
            [pointer, POINTER(c_int32), POINTER(c_int32), POINTER(Op), POINTER(Op), POINTER(c_int32), POINTER(Norm),
             POINTER(Rotary), POINTER(Attention), POINTER(FeedForward), POINTER(Experts), POINTER(Slot)],
        ),
        "pack": (c_int, [pointer]),
        "session": (pointer, [pointer]),
        "session_free": (None, [pointer]),
        "rows": (c_int, [pointer]),
        "length": (c_int, [pointer, c_int]),
        "branched": (c_int, [pointer]),
        "prefill": (c_int, [pointer, c_int, pointer, pointer, pointer, pointer, pointer]),
        "column_bytes": (c_int64, [pointer]),
        "save": (c_int, [pointer, c_int, c_int, c_int, pointer]),
        "restore": (c_int, [pointer, pointer, pointer, c_int]),
        "extend": (c_int, [pointer, pointer, pointer, c_int, pointer]),
        "step": (c_int, [pointer, pointer, c_int, pointer]),
        "best": (c_int, [pointer, pointer, c_int, c_int, pointer, pointer, c_int, c_int, pointer, pointer]),
        "branch": (c_int, [pointer, pointer, c_int]),
        "reorder": (c_int, [pointer, pointer, c_int]),
        "join": (c_int, [pointer, pointer]),
        "truncate": (c_int, [pointer, c_int, c_int]),
    }  # fmt: skip
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"openbook_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def call(name: str, *arguments: Any) -> None:
    """Call a function that says by its result whether it went well; arrays are passed by address.

    Raises:
        OpenbookError: with the library's own words.
    """
    library = load_library()
    plain = [address(each) if isinstance(each, np.ndarray) else each for each in arguments]
    if getattr(library, f"openbook_{name}")(*plain):
        raise OpenbookError(f"native engine: {library.openbook_error().decode()}")


def address(array: NDArray[Any]) -> int:
    """Where the numbers of a contiguous array lie."""
    assert array.flags.c_contiguous, "the library reads arrays in one piece"
    return array.ctypes.data
