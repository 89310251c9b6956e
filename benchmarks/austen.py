"""The training yardstick `austen-1m`: six novels end to end, the first 1,115,394 bytes; the last tenth is held out."""

from pathlib import Path

NOVELS = ("emma", "mansfieldpark", "northangerabbey", "persuasion", "prideprejudice", "sensesensibility")
BYTES = 1_115_394


def make_austen(books: Path, folder: Path) -> tuple[Path, Path]:
    """Write the training and the held-out text into `folder`; gives their paths.

    Raises:
        SystemExit: the novels are not there; says where they are looked for.
    """
    missing = [name for name in NOVELS if not (books / f"{name}.txt").exists()]
    if missing:
        raise SystemExit(f"skipped: {books} has no {missing[0]}.txt; give the folder of the six novels with --books")
    text = b"".join((books / f"{name}.txt").read_bytes() for name in NOVELS)[:BYTES]
    border = int(len(text) * 0.9)
    train, held_out = folder / "train.txt", folder / "held-out.txt"
    train.write_bytes(text[:border])
    held_out.write_bytes(text[border:])
    return train, held_out
