"""Numbers for people: sizes and counts."""


def format_bytes(amount: int) -> str:
    """A size: 812 bytes, 27 KB, 1.2 MB, 3.4 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount // 1000} KB" if amount >= 1000 else format_count(amount, "byte")


def format_count(number: int, noun: str) -> str:
    """A number and its noun: 1 file, 2,071 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
