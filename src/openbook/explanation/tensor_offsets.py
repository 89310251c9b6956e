"""Where the weights lie in a model file, so that a derivation can name the bytes of each."""

import os
from pathlib import Path

from openbook.explanation.reader import TensorOffset
from openbook.model_file.adapter import LORA_A, base_of, read_adapter
from openbook.model_file.header import ITEM_BYTES
from openbook.model_file.opening import open_model_file
from openbook.model_file.quantized_specs import PACKED, model_specs


def tensor_offsets(path: str | os.PathLike[str]) -> dict[str, TensorOffset]:
    """The offset of each tensor in a model file; for an adapter those of its base, without the tensors that it changes.

    Raises:
        OpenbookError: the file is missing or damaged.
    """
    adapter = read_adapter(path)
    changed = set() if adapter is None else {name[: -len(LORA_A)] for name in adapter[1]}
    file = path if adapter is None else base_of(Path(path), adapter[0])
    entries = open_model_file(file).header.tensors
    whole = model_specs({name: (info.dtype, info.shape) for name, info in entries.items()})
    return {
        name: TensorOffset(
            entries[name].begin, ITEM_BYTES[entries[name].dtype], shape, 2 if entries[name].dtype == PACKED else 1
        )
        for name, (_, shape) in whole.items()
        if name not in changed
    }
