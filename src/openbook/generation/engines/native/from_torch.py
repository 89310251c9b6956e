"""The tensors of a PyTorch model as the native engine takes them, shared where they lie."""

import torch

from openbook.errors import OpenbookError
from openbook.generation.engines.native.program import Weight
from openbook.model_file.int8 import Int8Weight
from openbook.transformer.transformer import Transformer


def as_weights(model: Transformer) -> dict[str, Weight]:
    """Every tensor by name. float16 becomes float32, which holds the same numbers.

    Raises:
        OpenbookError: the model is not on the processor.
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.device.type != "cpu":
            raise OpenbookError("the engine native works on processors: give --device cpu, or take --engine torch")
        if isinstance(tensor, Int8Weight):
            weights[name] = Weight("int8", tensor.int_data.numpy(), tensor.scale.numpy())
        elif tensor.dtype == torch.bfloat16:
            weights[name] = Weight("bfloat16", tensor.contiguous().view(torch.uint16).numpy())
        else:
            weights[name] = Weight("float32", tensor.float().numpy())
    return weights
