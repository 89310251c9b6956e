"""How embeddings follow from token ids, and logits from vectors."""

from openbook.explanation.expression import Expression, tanh
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.embedding import LMHead, SourceEmbedding, TokenEmbedding


@rule(TokenEmbedding, "output")
def token_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The trained vector of this token."""
    assert isinstance(read.part, TokenEmbedding)
    weight = read.weight("weight", read.recorded(read.into(), b, t, name="token"), d)
    if read.part.scale == 1.0:
        return weight
    return weight * read.constant("scale", read.part.scale, "embedding_scale of the architecture")


@rule(SourceEmbedding, "output")
def source_embedding(read: Reader, b: Expression, s: Expression, d: Expression) -> Expression:
    """The trained vector of this token of the source."""
    assert isinstance(read.part, SourceEmbedding)
    token = read.recorded(read.into(), b, s, name="token")
    if read.part.weight is None:
        weight = read.weight_of_model("token_embedding.weight", token, d, name="token_embedding.weight")
    else:
        weight = read.weight("weight", token, d)
    if read.part.scale == 1.0:
        return weight
    return weight * read.constant("scale", read.part.scale, "embedding_scale of the architecture")


@rule(LMHead, "uncapped")
def uncapped_logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    """How well the last vector of token t matches word v of the vocabulary as the next token, before the cap."""
    return _logits(read, b, t, v)


@rule(LMHead, "logits")
def logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    """How well the last vector of token t matches token v of the vocabulary as the next one."""
    assert isinstance(read.part, LMHead)
    if read.part.cap is None:
        return _logits(read, b, t, v)
    cap = read.constant("cap", read.part.cap, "logit_softcap of the architecture")
    return cap * tanh(read.recorded(read.own("uncapped"), b, t, v) / cap)


def _logits(read: Reader, b: Expression, t: Expression, v: Expression) -> Expression:
    assert isinstance(read.part, LMHead)
    path = read.into()
    d = read.each("d", read.shape(path)[-1])
    if read.part.weight is None:
        weight = read.weight_of_model("token_embedding.weight", v, d, name="token_embedding.weight")
    else:
        weight = read.weight("weight", v, d)
    result = read.total("d", read.recorded(path, b, t, d, name="x") * weight)
    if read.part.scale != 1.0:
        result = read.constant("scale", read.part.scale, "logit_scale of the architecture") * result
    return result if read.part.bias is None else result + read.weight("bias", v)
