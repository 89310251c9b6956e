"""The rules by which recorded numbers follow, one file for each file of `transformer/`.

Importing this package enters them in the table. A new part brings a file here and is imported below.
"""

from openbook.explanation.rules import attention, block, embedding, experts, feed_forward, model, norm, position
from openbook.explanation.rules import rope_scaling as rope_scaling

__all__ = ["attention", "block", "embedding", "experts", "feed_forward", "model", "norm", "position", "rope_scaling"]
