"""Marian: sinusoidal positions, sines before cosines; norms after each sum; a bias for each token."""

from dataclasses import replace
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
from openbook.interop.huggingface.tensor_mapping import KeyTable
from openbook.transformer.architecture import Architecture, Position

ABSENT = {**COMMON, "vocab_size": 58101}
VARIANT = Variant(
    pre_norm=False,
    embedding_norm=False,
    position=lambda width: Position(kind="sinusoidal", concatenated=True),
    logit_bias=True,
)


def read(config: ConfigFields) -> Architecture:
    """Where the embeddings are not shared, sources have a vocabulary of their own."""
    shared = config.boolean("share_encoder_decoder_embeddings", True)
    written = config.optional_integer("decoder_vocab_size")
    architecture = read_encoder_decoder(config, VARIANT)
    if shared:
        config.only("decoder_vocab_size", architecture.vocab_size)
        return architecture
    source = architecture.vocab_size
    return replace(architecture, vocab_size=source if written is None else written, source_vocab_size=source)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    source = architecture.source_vocab_size
    return {
        **write_encoder_decoder(architecture, VARIANT),
        "vocab_size": architecture.vocab_size if source is None else source,
        "decoder_vocab_size": architecture.vocab_size,
        "share_encoder_decoder_embeddings": source is None,
    }


def tables(architecture: Architecture) -> list[KeyTable]:
    """One embedding, or one for each side."""
    table = encoder_decoder_table(VARIANT)
    if architecture.source_vocab_size is None:
        return with_embedding_names(table)
    separate = {"token_embedding": "model.decoder.embed_tokens", "source_embedding": "model.encoder.embed_tokens"}
    return [table | separate]


FAMILY = Family(
    name="Marian",
    model_types=("marian",),
    class_name="MarianMTModel",
    absent=ABSENT,
    read=read,
    write=write,
    tables=tables,
    prefix="model.",
    pair_tokenizer="MarianTokenizer",
    ignored=SINUSOIDS,
    tied_copies=TIED_COPIES,
)
