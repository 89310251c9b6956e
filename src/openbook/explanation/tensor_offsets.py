"""Where the weights lie in a model file, so that a derivation can name the bytes of each."""

import os
from pathlib import Path

from openbook.explanation.reader import TensorOffset
from openbook.model_file.adapter import LORA_A, base_of, read_adapter
from openbook.model_file.header import ITEM_BYTES
from openbook.model_file.opening import open_model_file


def tensor_offsets(path: str | os.PathLike[str]) -> dict[str, TensorOffset]:
    """The offset of each tensor in a model file; for an adapter those of its base, without the tensors that it changes.

    Raises:
        OpenbookError: the file is missing or damaged.
    """
    adapter = read_adapter(path)
    changed = set() if adapter is None else {name[: -len(LORA_A)] for name in adapter[1]}
    file = path if adapter is None else base_of(Path(path), adapter[0])
    entries = {name: each for name, each in open_model_file(file).header.tensors.items() if name not in changed}
    return {name: TensorOffset(each.begin, ITEM_BYTES[each.dtype], each.shape) for name, each in entries.items()}
