"""The tensors of a PyTorch model as the native engine takes them, shared where they lie."""

import torch
from torch import Tensor

from openbook.errors import SettingError
from openbook.generation.engines.native.program import Weight, quantized
from openbook.model_file.arrays import StoredArray
from openbook.model_file.quantization import named_parts
from openbook.model_file.quantized_weight import QuantizedWeight
from openbook.model_file.torch_dtypes import HEADER_NAMES
from openbook.transformer.transformer import Transformer


def as_weights(model: Transformer) -> dict[str, Weight]:
    """Every tensor by name.

    Raises:
        OpenbookError: the model is not on the processor.
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.device.type != "cpu":
            raise SettingError("the engine native works on processors: give `device`=cpu, or take `engine`=torch")
        if isinstance(tensor, QuantizedWeight):
            weights[name] = quantized({suffix: _stored(part) for suffix, part in named_parts(tensor).items()})
        else:
            weights[name] = Weight.of(_stored(tensor if tensor.dtype in HEADER_NAMES else tensor.float()))
    return weights


def _stored(tensor: Tensor) -> StoredArray:
    dtype = HEADER_NAMES[tensor.dtype]
    plain = tensor.detach().contiguous()
    return StoredArray(dtype, (plain.view(torch.uint16) if dtype == "BF16" else plain).numpy())
