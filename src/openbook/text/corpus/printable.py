"""Strings from a file, made safe to show: a terminal obeys control characters, whoever wrote them."""


def printable(text: str, keep_lines: bool = False) -> str:
    """`text` with every control, formatting or unassigned character written as an escape such as `\\x1b`.

    Args:
        text: any string, also with half a surrogate pair in it.
        keep_lines: whether line breaks and tabs stay as they are.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if keep_lines else ""
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in text
    )


def excerpt(text: str, length: int = 40) -> str:
    """The beginning of `text`, safe to show."""
    return printable(text[:length]) + ("…" if len(text) > length else "")
