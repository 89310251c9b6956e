"""The score of whole text files, of any size."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from openbook.errors import OpenbookError
from openbook.progress import Track, silent
from openbook.text.corpus.chunking import token_safe_chunks
from openbook.text.corpus.readers.document import read_document
from openbook.text.corpus.report import FileReport, Report
from openbook.text.input_files import find_files
from openbook.text.printable import printable_path
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import Unknown, UnknownCounter, total_unknown
from openbook.training.evaluation.perplexity import Score, score_text, sliding_windows
from openbook.transformer.transformer import Transformer

CHUNK_CHARACTERS = 1 << 16
BATCH_TOKENS = 4096


def score_files(
    model: Transformer,
    tokenizer: Tokenizer,
    inputs: Sequence[str | Path],
    *,
    context: int | None = None,
    stride: int | None = None,
    encoding: str | None = None,
    track: Track = silent,
) -> Score:
    """Score files, unfiltered, each after an end-of-text token. Their tokens go to a temporary file, not to memory.

    Args:
        model: a decoder-only model.
        tokenizer: the model's.
        inputs: files, folders, globs.
        context: tokens of each window; the model's context if None.
        stride: tokens between windows; half the context if None.
        encoding: of the files; if None, it is found out for each.
        track: shows progress.

    Raises:
        OpenbookError: a file cannot be read, there is none, or a number is out of range.
    """
    context = _in_range("context", context, model.architecture.context)
    stride = _in_range("stride", max(1, context // 2) if stride is None else stride, context)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens"
        counter = UnknownCounter(tokenizer)
        report, unknown = _write_tokens(tokenizer, inputs, encoding, path, counter)
        tokens = np.memmap(path, np.uint32, "r")
        windows = sliding_windows(len(tokens), min(context, len(tokens) - 1), stride)
        rows = max(1, BATCH_TOKENS // context)
        with track("Scoring", len(tokens)) as advance:
            score = score_text(
                model,
                tokens,
                sum(file.bytes_kept for file in report.files),
                windows,
                context=context,
                rows=rows,
                unknown=unknown,
                names=counter.most_common(),
                advance=advance,
            )
    return replace(score, notes=tuple(report.notes()))


def _write_tokens(
    tokenizer: Tokenizer, inputs: Sequence[str | Path], encoding: str | None, path: Path, counter: UnknownCounter
) -> tuple[Report, Unknown]:
    """Write the tokens of all files; return what was read, and what of it is unknown."""
    files: list[FileReport] = []
    unknown: list[Unknown] = []
    with path.open("wb") as out:
        for file in find_files(inputs):
            try:
                document = read_document(file, encoding)
                out.write(np.array([tokenizer.end_id], np.uint32).tobytes())
                text_bytes = replaced = 0
                for text in token_safe_chunks(document.chunks, CHUNK_CHARACTERS):
                    ids = tokenizer.encode(text)
                    out.write(np.array(ids, np.uint32).tobytes())
                    unknown.append(counter.count(text, ids))
                    text_bytes += len(text.encode())
                    replaced += text.count("\ufffd")
            except OSError as error:
                raise OpenbookError(f"{file}: cannot be read ({error.strerror})") from None
            files.append(
                FileReport(
                    printable_path(file),
                    document.encoding,
                    document.bytes,
                    text_bytes,
                    guess=document.guess,
                    replaced_characters=replaced,
                    notes=document.notes,
                )
            )
    if not any(file.bytes_kept for file in files):
        raise OpenbookError("there is no text to score; name some files")
    return Report(tuple(files)), total_unknown(unknown)


def _in_range(name: str, value: int | None, most: int) -> int:
    value = most if value is None else value
    if not 1 <= value <= most:
        raise OpenbookError(f"{name} {value}: must be from 1 to {most}")
    return value
