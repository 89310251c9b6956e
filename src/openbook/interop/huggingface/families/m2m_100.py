"""M2M-100 and NLLB: sinusoidal positions, counted from 2, sines before cosines; norms before each sublayer."""

from typing import Any

from openbook.interop.huggingface.families.common_encoder_decoder import ABSENT as COMMON
from openbook.interop.huggingface.families.common_encoder_decoder import (
    SINUSOIDS,
    TIED_COPIES,
    Variant,
    encoder_decoder_table,
    read_encoder_decoder,
    with_embedding_names,
    write_encoder_decoder,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Architecture, Position


def sinusoidal(width: int) -> Position:
    """The last wave is 10,000 times as slow as the first: i of the D/2 turns by 10,000^(−i / (D/2 − 1))."""
    half = max(2, width // 2)
    return Position(kind="sinusoidal", base=10_000.0 ** (half / (half - 1)), concatenated=True, offset=2)


VARIANT = Variant(pre_norm=True, embedding_norm=False, position=sinusoidal, logit_bias=False)
ABSENT = {**COMMON, "vocab_size": 128112, "activation_function": "relu", "scale_embedding": True}


def read(config: ConfigFields) -> Architecture:
    """Positions count what is not padding, whose id the offset comes from."""
    if config.integer("pad_token_id", 1) != 1:
        raise config.error("pad_token_id", "should be 1, from which positions are counted on")
    return read_encoder_decoder(config, VARIANT)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    return {**write_encoder_decoder(architecture, VARIANT), "pad_token_id": 1}


FAMILY = Family(
    name="M2M-100",
    model_types=("m2m_100",),
    class_name="M2M100ForConditionalGeneration",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: with_embedding_names(encoder_decoder_table(VARIANT)),
    prefix="model.",
    ignored=SINUSOIDS,
    tied_copies=TIED_COPIES,
    tokenizer=LegacyLayout(first=("<s>", "<pad>", "</s>", "<unk>"), skipped=3),
)
