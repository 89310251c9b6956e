"""Models of other programs → model files: a folder of Hugging Face, or one GGUF file."""

import os
from pathlib import Path

from openbook.interop.gguf.importing import import_gguf
from openbook.interop.huggingface.importing import Imported, import_folder
from openbook.progress import Track, silent


def import_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    track: Track = silent,
) -> Imported:
    """Make a model file; see `import_folder` and `import_gguf`."""
    read = import_gguf if Path(path).is_file() else import_folder
    return read(path, output, dtype=dtype, track=track)
