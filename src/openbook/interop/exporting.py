"""Model files → what other programs load."""

import os

from openbook.errors import OpenbookError
from openbook.interop.gguf.exporting import export_gguf
from openbook.interop.huggingface.exporting import export_folder
from openbook.progress import Track, silent

FORMATS = ("hf", "gguf")


def export_model(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    to: str,
    *,
    dtype: str | None = None,
    gigabytes: float = 5.0,
    overwrite: bool = False,
    track: Track = silent,
) -> str:
    """Write a model in another format, see `export_folder` and `export_gguf`; what was made, in a sentence.

    Raises OpenbookError for a format or a size that is none, and as they do.
    """
    if to not in FORMATS:
        raise OpenbookError(f"--to {to}: must be one of {', '.join(FORMATS)}")
    if not 0 < gigabytes <= 1e6:
        raise OpenbookError(f"--shard-gigabytes {gigabytes:g}: must be more than 0")
    if to == "gguf":
        made = export_gguf(model, output, dtype=dtype, overwrite=overwrite, track=track)
    else:
        size = int(gigabytes * 1e9)
        made = export_folder(model, output, dtype=dtype, shard=size, overwrite=overwrite, track=track)
    return f"{output}: a {made.family} model in {len(made.files)} file{'s' * (len(made.files) > 1)} of weights"
