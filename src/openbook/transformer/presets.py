"""Named architectures."""

from dataclasses import replace

from openbook.transformer.architecture import (
    NO_NORM,
    Architecture,
    Attention,
    Block,
    FeedForward,
    Norm,
    Position,
    Stack,
)


def original(vocab_size: int) -> Architecture:
    """The base model of "Attention Is All You Need" (Vaswani et al. 2017, table 3).

    Six layers each, width 512, eight heads, feed-forward 2048 with ReLU, norms after each sum, sinusoidal positions;
    both embeddings and the logits share one matrix, and embeddings are multiplied by √512 (section 3.4).
    """
    attention = Attention(heads=8, key_value_heads=8, head_width=64)
    encoding = Block(
        attention=attention,
        feed_forward=FeedForward(width=2048, activation="relu", gated=False, bias=True),
        before=NO_NORM,
        outer=Norm(kind="layer", bias=True),
    )
    decoding = replace(encoding, cross_attention=attention)
    position = Position(kind="sinusoidal")
    return Architecture(
        vocab_size=vocab_size,
        width=512,
        context=512,
        encoder=Stack(blocks=6 * (encoding,), position=position, final_norm=NO_NORM),
        decoder=Stack(blocks=6 * (decoding,), position=position, final_norm=NO_NORM),
        tied_embeddings=True,
        embedding_scale=512**0.5,
    )
