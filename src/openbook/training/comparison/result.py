"""What is measured of each kind of model in a comparison."""

from dataclasses import dataclass

KINDS = ("encoder-decoder", "decoder-only")


@dataclass(frozen=True)
class ComparisonResult:
    """Figures of one kind. Loss and quality are those of the held-out pairs."""

    kind: str
    layers: str
    width: int
    parameters: int
    seconds: float
    """Of the whole training."""
    steps: int
    tokens_per_second: float
    """Target tokens trained on per second of the training loop."""
    epochs: float
    nats_per_token: float
    bits_per_byte: float
    perplexity: float
    bleu: float
    chrf: float
    latency: float
    """Seconds to translate a sentence alone."""
    sentences_per_second: float
    """In batches."""
    megabytes: float | None
    """Peak memory of the process while it trained; None where the system does not tell."""
    model: str
    curve: tuple[tuple[float, float], ...]
    """(seconds, held-out bits per byte) of each validation."""
