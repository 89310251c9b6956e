"""BART and mBART: learned positions whose first two rows are never used, normalised embeddings.

BART normalises after each sum; mBART before each sublayer, and at the end.
"""

from dataclasses import replace

from openbook.interop.huggingface.families.common_encoder_decoder import (
    COPIES,
    VERSIONS,
    Kind,
    pair_table,
    read_pair,
    spellings,
    write_tokenizer_pair,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Position

POST = Kind(pre=False, embedding_norm=True, position=lambda width: Position(kind="learned"), logit_bias=True)
PRE = replace(POST, pre=True)

FAMILY = Family(
    name="BART",
    model_types=("bart",),
    class_name="BartForConditionalGeneration",
    read=lambda fields: read_pair(fields, POST),
    write=lambda architecture: write_tokenizer_pair(architecture, POST),
    tables=lambda _: spellings(pair_table(POST)),
    prefix="model.",
    ignored=VERSIONS,
    tied_copies=COPIES,
    tokenizer=LegacyLayout(prefix=("<s>",), suffix=("</s>",)),
)
MULTILINGUAL = replace(
    FAMILY,
    name="mBART",
    model_types=("mbart",),
    class_name="MBartForConditionalGeneration",
    read=lambda fields: read_pair(fields, PRE),
    write=lambda architecture: write_tokenizer_pair(architecture, PRE),
    tables=lambda _: spellings(pair_table(PRE)),
    tokenizer=LegacyLayout(first=("<s>", "<pad>", "</s>", "<unk>"), skipped=3),
)
