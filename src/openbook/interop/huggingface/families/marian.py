"""Marian: waves for positions, sines before cosines; norms after each sum; a bias for each token."""

from dataclasses import replace
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
from openbook.interop.huggingface.tensor_mapping import Table
from openbook.transformer.architecture import Architecture, Position

KIND = Kind(
    pre=False,
    embedding_norm=False,
    position=lambda width: Position(kind="sinusoidal", concatenated=True),
    logit_bias=True,
)


def read(fields: Fields) -> Architecture:
    """Where the embeddings are not shared, sources have a vocabulary of their own."""
    shared = fields.flag("share_encoder_decoder_embeddings", True)
    written = fields.maybe_whole("decoder_vocab_size")
    architecture = read_pair(fields, KIND)
    if shared:
        fields.only("decoder_vocab_size", architecture.vocab_size)
        return architecture
    source = architecture.vocab_size
    return replace(architecture, vocab_size=source if written is None else written, source_vocab_size=source)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    source = architecture.source_vocab_size
    return {
        **write_tokenizer_pair(architecture, KIND),
        "vocab_size": architecture.vocab_size if source is None else source,
        "decoder_vocab_size": architecture.vocab_size,
        "share_encoder_decoder_embeddings": source is None,
    }


def tables(architecture: Architecture) -> list[Table]:
    """One embedding, or one for each side."""
    table = pair_table(KIND)
    if architecture.source_vocab_size is None:
        return spellings(table)
    apart = {"token_embedding": "model.decoder.embed_tokens", "source_embedding": "model.encoder.embed_tokens"}
    return [table | apart]


FAMILY = Family(
    name="Marian",
    model_types=("marian",),
    class_name="MarianMTModel",
    read=read,
    write=write,
    tables=tables,
    prefix="model.",
    pair_tokenizer="MarianTokenizer",
    ignored=WAVES,
    tied_copies=COPIES,
)
