"""The positions of the tokens that an attention part compares."""

from openbook.explanation.reader import Reader
from openbook.transformer.block import Stack


def stack_around(read: Reader) -> Stack:
    """The stack that the part at work belongs to."""
    path = read.path
    while not isinstance(part := read.model.get_submodule(path), Stack):
        path = path.rpartition(".")[0]
    return part


def is_cross_attention(read: Reader) -> bool:
    """Whether the part at work attends to another sequence than its own."""
    return read.path.endswith("cross_attention")


def positions(read: Reader) -> tuple[str, str]:
    """The paths of the recorded positions of queries and of keys."""
    source = read.argument("source_positions")
    query = read.argument("positions") or source  # an encoder has no others
    key = source if is_cross_attention(read) else read.argument("key_positions") or query
    assert query is not None and key is not None
    return query, key
