"""The module that an architecture describes, of whichever kind."""

from openbook.errors import OpenbookError
from openbook.transformer.architecture import Architecture
from openbook.transformer.base import Transformer
from openbook.transformer.decoder_only import DecoderOnly
from openbook.transformer.encoder_decoder import EncoderDecoder


def make_transformer(spec: Architecture, dropout: float = 0.0) -> Transformer:
    """An encoder-decoder where there is an encoder, else a decoder-only transformer; its matrices are not filled."""
    return DecoderOnly(spec, dropout) if spec.encoder is None else EncoderDecoder(spec, dropout)


def decoder_only(model: Transformer, wanted: str) -> DecoderOnly:
    """The model, if it is a decoder-only one; `wanted` says what cannot be done with another.

    Raises:
        OpenbookError: it is an encoder-decoder.
    """
    if not isinstance(model, DecoderOnly):
        raise OpenbookError(f"{wanted} takes a decoder-only model, and this one is an encoder-decoder: it translates")
    return model


def encoder_decoder(model: Transformer, wanted: str) -> EncoderDecoder:
    """The model, if it is an encoder-decoder; `wanted` says what cannot be done with another.

    Raises:
        OpenbookError: it is decoder-only.
    """
    if not isinstance(model, EncoderDecoder):
        raise OpenbookError(f"{wanted} takes an encoder-decoder, and this model is decoder-only")
    return model
