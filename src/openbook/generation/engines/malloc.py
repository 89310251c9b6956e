"""What the process does with memory that it frees."""

import ctypes


def keep_freed_memory() -> None:
    """Let the process keep what it frees, for its next step, where it allocates by glibc.

    By default glibc hands large blocks back at once: a step of a model of 135 M numbers then waits for some 150,000
    pages to be given and cleared, a sixth of its time. Blocks of over 32 MB go back all the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another allocator, or another system
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**25)
