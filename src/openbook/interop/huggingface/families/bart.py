"""BART and mBART: learned positions whose first two rows are never used, normalised embeddings.

BART normalises after each sum; mBART before each sublayer, and at the end.
"""

from dataclasses import replace

from openbook.interop.huggingface.families.common_encoder_decoder import ABSENT as COMMON
from openbook.interop.huggingface.families.common_encoder_decoder import (
    TIED_COPIES,
    VERSIONS,
    Variant,
    encoder_decoder_table,
    read_encoder_decoder,
    with_embedding_names,
    write_encoder_decoder,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Position

POST_NORM = Variant(
    pre_norm=False, embedding_norm=True, position=lambda width: Position(kind="learned"), logit_bias=True
)
PRE_NORM = replace(POST_NORM, pre_norm=True)

ABSENT = {**COMMON, "vocab_size": 50265}

FAMILY = Family(
    name="BART",
    model_types=("bart",),
    class_name="BartForConditionalGeneration",
    absent=ABSENT,
    read=lambda config: read_encoder_decoder(config, POST_NORM),
    write=lambda architecture: write_encoder_decoder(architecture, POST_NORM),
    tables=lambda _: with_embedding_names(encoder_decoder_table(POST_NORM)),
    prefix="model.",
    ignored=VERSIONS,
    tied_copies=TIED_COPIES,
    tokenizer=LegacyLayout(prefix=("<s>",), suffix=("</s>",)),
)
MULTILINGUAL = replace(
    FAMILY,
    name="mBART",
    model_types=("mbart",),
    class_name="MBartForConditionalGeneration",
    read=lambda config: read_encoder_decoder(config, PRE_NORM),
    write=lambda architecture: write_encoder_decoder(architecture, PRE_NORM),
    tables=lambda _: with_embedding_names(encoder_decoder_table(PRE_NORM)),
    tokenizer=LegacyLayout(first=("<s>", "<pad>", "</s>", "<unk>"), skipped=3),
)
