"""What preparation read, removed and left out."""

from dataclasses import dataclass

from openbook.text.formatting import format_bytes, format_count


@dataclass(frozen=True)
class FileReport:
    """What was done with one file.

    Attributes:
        source: the file.
        encoding: its character encoding, or its format.
        bytes_read: size of the file.
        bytes_kept: of its text in the corpus.
        chapters: how many were found.
        gutenberg_characters: length of the Project Gutenberg header and footer that were removed.
    """

    source: str
    encoding: str
    bytes_read: int
    bytes_kept: int
    chapters: int
    gutenberg_characters: int


@dataclass(frozen=True)
class Report:
    """What was done with all files, for people (`lines`) and for programs (`report.json`).

    Attributes:
        files: those that were read.
        problems: a line for each file that was left out: its name, what is wrong, the cure.
        exact_passages: removed because the same text occurs earlier.
        near_passages: removed because nearly the same text occurs earlier.
    """

    files: tuple[FileReport, ...] = ()
    problems: tuple[str, ...] = ()
    exact_passages: int = 0
    exact_bytes: int = 0
    near_passages: int = 0
    near_bytes: int = 0

    def lines(self) -> list[str]:
        """Sentences about what was read and what was removed."""
        read = sum(file.bytes_read for file in self.files)
        lines = [f"Read {format_count(len(self.files), 'file')}, {format_bytes(read)}."]
        if stripped := [file for file in self.files if file.gutenberg_characters]:
            lines.append(f"Removed the Project Gutenberg header and footer of {format_count(len(stripped), 'file')}.")
        for kind, passages, amount in (
            ("that occur twice", self.exact_passages, self.exact_bytes),
            ("that nearly repeat another", self.near_passages, self.near_bytes),
        ):
            if passages:
                lines.append(f"Removed {format_count(passages, 'passage')} ({format_bytes(amount)}) {kind}.")
        return [*lines, *(f"Left out {problem}" for problem in self.problems)]
