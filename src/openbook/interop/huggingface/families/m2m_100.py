"""M2M-100 and NLLB: waves for positions, counted from 2, sines before cosines; norms before each sublayer."""

from typing import Any

from openbook.interop.huggingface.families.common_encoder_decoder import (
    COPIES,
    WAVES,
    Kind,
    pair_table,
    read_pair,
    spellings,
    write_tokenizer_pair,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Architecture, Position


def waves(width: int) -> Position:
    """The last wave is 10,000 times as slow as the first: i of the D/2 turns by 10,000^(−i / (D/2 − 1))."""
    half = max(2, width // 2)
    return Position(kind="sinusoidal", base=10_000.0 ** (half / (half - 1)), concatenated=True, offset=2)


KIND = Kind(pre=True, embedding_norm=False, position=waves, logit_bias=False, activation="relu", scale=True)


def read(fields: Fields) -> Architecture:
    """Positions count what is not padding, whose id the offset comes from."""
    if fields.whole("pad_token_id", 1) != 1:
        raise fields.fault("pad_token_id", "should be 1, from which positions are counted on")
    return read_pair(fields, KIND)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    return {**write_tokenizer_pair(architecture, KIND), "pad_token_id": 1}


FAMILY = Family(
    name="M2M-100",
    model_types=("m2m_100",),
    class_name="M2M100ForConditionalGeneration",
    read=read,
    write=write,
    tables=lambda _: spellings(pair_table(KIND)),
    prefix="model.",
    ignored=WAVES,
    tied_copies=COPIES,
    tokenizer=LegacyLayout(first=("<s>", "<pad>", "</s>", "<unk>"), skipped=3),
)
