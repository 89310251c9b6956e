"""Where the weights lie in a model file, so that a derivation can point at the very bytes."""

import os

from openbook.explanation.reader import TensorPlace
from openbook.model_file.file import open_model_file
from openbook.model_file.header import ITEM_BYTES


def tensor_places(path: str | os.PathLike[str]) -> dict[str, TensorPlace]:
    """The place of each tensor in a model file.

    Raises:
        OpenbookError: it is not a model file that could be loaded.
    """
    entries = open_model_file(path).header.tensors
    return {name: TensorPlace(each.begin, ITEM_BYTES[each.dtype], each.shape) for name, each in entries.items()}
