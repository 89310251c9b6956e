"""Panics of the tokenizers library, which are written in Rust and are no Exceptions, as errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from openbook.errors import OpenbookError


@contextmanager
def panics_named() -> Iterator[None]:
    """Around an encoding.

    Raises:
        OpenbookError: the text contains half a surrogate pair, or the library gives up on it.
    """
    try:
        yield
    except TypeError:
        raise OpenbookError("text: contains half a surrogate pair; give it as UTF-8") from None
    except (KeyboardInterrupt, SystemExit, Exception):
        raise
    except BaseException as error:
        raise OpenbookError(
            f"text: the tokenizer gives up on it ({str(error)[:100]}); shorten it, or take another tokenizer"
        ) from None
