"""The same random weights for each program that `decoding.py` compares, each in its own format."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """Sizes of a random Llama: pre-norm, rotary, gated feed-forward, embeddings and logits apart."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocab_size: int
    context: int


def write_models(shape: Shape, folder: Path) -> None:
    """A folder of transformers, model files of ours (float32, int8, int4) and GGUF files (float32, q8_0, q4_0)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from openbook.interop.exporting import export_model
    from openbook.interop.importing import import_model
    from openbook.interop.tokenizers import write_tokenizer
    from openbook.text.tokenizer.training import train_tokenizer

    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=shape.context,
            eos_token_id=None,
            bos_token_id=None,
        )
    )
    theirs.save_pretrained(folder / "hf")
    tokenizer = train_tokenizer([Path(__file__).read_text()], "bpe", 300)
    write_tokenizer(folder / "hf", tokenizer.to_json(), tokenizer.special)
    for dtype in ("float32", "int8", "int4"):
        import_model(folder / "hf", folder / f"{dtype}.openbook", dtype=dtype)
    for dtype in ("float32", "q8_0", "q4_0"):
        export_model(folder / "float32.openbook", folder / f"{dtype}.gguf", "gguf", dtype=dtype)
    print(f"{sum(weight.numel() for weight in theirs.parameters()):,} parameters\n")


CTRANSLATE2 = """
import json, sys
from pathlib import Path
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

source, target, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
raw = (source / "model.safetensors").read_bytes()
size = int.from_bytes(raw[:8], "little")
header = json.loads(raw[8 : 8 + size])
config = json.loads((source / "config.json").read_text())

def tensor(name):
    begin, end = header[name]["data_offsets"]
    return np.frombuffer(raw[8 + size + begin : 8 + size + end], np.float32).reshape(header[name]["shape"]).copy()

heads, width = config["num_attention_heads"], config["hidden_size"]
spec = transformer_spec.TransformerDecoderModelSpec.from_config(
    config["num_hidden_layers"], heads, activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True,
    rms_norm=True, rotary_dim=0, rotary_interleave=False, rotary_base=10000.0, num_heads_kv=heads,
)
decoder = spec.decoder
decoder.scale_embeddings = False
decoder.embeddings.weight = tensor("model.embed_tokens.weight")
decoder.layer_norm.gamma = tensor("model.norm.weight")
decoder.projection.weight = tensor("lm_head.weight")
for number, layer in enumerate(decoder.layer):
    at = f"model.layers.{number}"
    layer.self_attention.layer_norm.gamma = tensor(f"{at}.input_layernorm.weight")
    parts = [tensor(f"{at}.self_attn.{part}_proj.weight") for part in "qkv"]
    layer.self_attention.linear[0].weight = np.concatenate(parts)
    layer.self_attention.linear[1].weight = tensor(f"{at}.self_attn.o_proj.weight")
    layer.ffn.layer_norm.gamma = tensor(f"{at}.post_attention_layernorm.weight")
    layer.ffn.linear_0.weight = tensor(f"{at}.mlp.gate_proj.weight")
    layer.ffn.linear_0_noact.weight = tensor(f"{at}.mlp.up_proj.weight")
    layer.ffn.linear_1.weight = tensor(f"{at}.mlp.down_proj.weight")
spec.register_vocabulary([str(number) for number in range(config["vocab_size"])])
spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "0"
spec.config.layer_norm_epsilon = config["rms_norm_eps"]
spec.validate()
spec.optimize(quantization=None if kind == "float32" else kind)
Path(target).mkdir()
spec.save(target)
"""


def write_ctranslate2(folder: Path, python: Path, dtype: str) -> str | None:
    """A folder for CTranslate2, written by the interpreter that has it; why not, if it cannot be."""
    command = [str(python), "-c", CTRANSLATE2, str(folder / "hf"), str(folder / f"ct2-{dtype}"), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]


def bytes_per_token(shape: Shape, bits: float, rows: int, columns: float) -> float:
    """Of the matrices, read once a step for all rows, and of float32 keys and values, for one token.

    Args:
        shape: of the model.
        bits: of a number of a matrix, scales counted.
        rows: in the batch.
        columns: tokens that a new one attends to, on average.
    """
    block = 4 * shape.width**2 + 3 * shape.width * shape.feed_forward
    matrices = shape.layers * block + shape.width * shape.vocab_size
    return matrices * bits / 8 / rows + 4 * shape.layers * 2 * shape.width * columns


if __name__ == "__main__":  # for looking at the files alone
    write_models(Shape(**json.loads(sys.argv[1])), Path(sys.argv[2]))
