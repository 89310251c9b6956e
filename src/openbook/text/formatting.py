"""Numbers for people: sizes and counts."""


def format_bytes(amount: int) -> str:
    """A size: 812 bytes, 27 KB, 1.2 MB, 3.4 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount // 1000} KB" if amount >= 1000 else format_count(amount, "byte")


def format_count(number: float, noun: str, plural: str | None = None) -> str:
    """A number and its noun: 1 file, 2,071 files, 0.5 minutes, 2 matrices.

    Args:
        number: how many.
        noun: for one.
        plural: for several, where it is not the noun with an s.
    """
    shown = f"{number:,}" if isinstance(number, int) else f"{number:,g}"
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"
