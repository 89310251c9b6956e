"""Rules for embeddings, which follow from token ids, and for logits, which follow from vectors."""

from openbook.explanation.expression import Expression, running, tanh
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.embedding import LMHead, SourceEmbedding, TokenEmbedding


@rule(TokenEmbedding, "output")
def token_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The trained vector of token t."""
    assert isinstance(read.part, TokenEmbedding)
    weight = read.weight("weight", read.recorded(read.input_of(), b, t, name="token"), d)
    return _scaled(read, weight, read.part.scale)


@rule(SourceEmbedding, "output")
def source_embedding(read: Reader, b: Expression, s: Expression, d: Expression) -> Expression:
    """The trained vector of token s of the source."""
    assert isinstance(read.part, SourceEmbedding)
    token = read.recorded(read.input_of(), b, s, name="token")
    return _scaled(read, _tied_weight(read, token, d), read.part.scale)


@rule(LMHead, "uncapped")
def uncapped_logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    """How well the vector of token t matches token v as the next one, before the cap."""
    return _logits(read, b, t, v)


@rule(LMHead, "logits")
def logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    """How well the vector of token t matches token v of the vocabulary as the next one."""
    assert isinstance(read.part, LMHead)
    if read.part.cap is None:
        return _logits(read, b, t, v)
    cap = read.setting("cap", read.part.cap, "logit_softcap")
    return cap * tanh(read.noted("uncapped", b, t, v) / cap)


def _logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    assert isinstance(read.part, LMHead)
    path = read.input_of()
    d = running("d", read.shape(path)[-1])
    result = read.sum("d", read.recorded(path, b, t, d, name="x") * _tied_weight(read, v, d))
    if read.part.scale != 1.0:
        result = read.setting("scale", read.part.scale, "logit_scale") * result
    return result if read.part.bias is None else result + read.weight("bias", v)


def _tied_weight(read: Reader, *index: Expression) -> Expression:
    """The part's own table, or the token embedding that it shares."""
    assert isinstance(read.part, SourceEmbedding | LMHead)
    if read.part.weight is None:
        return read.model_weight("token_embedding.weight", *index, name="token_embedding.weight")
    return read.weight("weight", *index)


def _scaled(read: Reader, embedding: Expression, scale: float) -> Expression:
    return embedding if scale == 1.0 else embedding * read.setting("scale", scale, "embedding_scale")
