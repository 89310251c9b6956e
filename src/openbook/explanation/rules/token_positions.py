"""Where the tokens stand that an attention part compares."""

from openbook.explanation.reader import Reader
from openbook.transformer.block import Stack


def stack_around(read: Reader) -> Stack:
    """The stack that the part at work belongs to."""
    path = read.path
    while not isinstance(part := read.model.get_submodule(path), Stack):
        path = path.rpartition(".")[0]
    return part


def crosses(read: Reader) -> bool:
    """Whether the part at work looks at another sequence than its own."""
    return read.path.endswith("cross_attention")


def positions(read: Reader) -> tuple[str, str]:
    """The recorded positions of queries and of keys."""
    source = read.argument("source_positions")
    own = read.argument("positions") or source  # an encoder has no others
    kept = source if crosses(read) else read.argument("key_positions") or own
    assert own is not None and kept is not None
    return own, kept
