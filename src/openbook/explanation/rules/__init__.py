"""One file of rules for each file of parts; importing this package enters them all in the table.

A new part brings a file of its own here, and is named below.
"""

from openbook.explanation.rules import attention, block, embedding, experts, feed_forward, model, norm, position
from openbook.explanation.rules import rope_scaling as rope_scaling

__all__ = ["attention", "block", "embedding", "experts", "feed_forward", "model", "norm", "position", "rope_scaling"]
