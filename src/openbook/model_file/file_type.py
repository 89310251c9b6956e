"""What a path is that is not a model file, and what to do about it."""

from pathlib import Path

PICKLE = "refused, because loading a pickle runs whatever program it was made to hold"
CONVERT = "save the model as safetensors with the program that made it"
ADAPTER_FIELD = "openbook_adapter"
"""The metadata field that tells an adapter from a model file."""
_ADAPTER_WITHIN = 100  # bytes from the beginning of a file that show whether it is an adapter

# The first bytes of a file → what it is, and the cure.
_SIGNATURES = (
    (b"PK\x03\x04", f"looks like a zip file, perhaps a PyTorch checkpoint (.pt, .bin): {PICKLE}; {CONVERT}"),
    (b"\x80", f"looks like a pickle (.pkl, .pt, .bin): {PICKLE}; {CONVERT}"),
    (b"GGUF", "is a GGUF file; turn it into a model file with `openbook import`"),
    (b"\x89HDF", f"is an HDF5 file (.h5); {CONVERT}"),
    (b"\x1f\x8b", "is compressed (gzip); unpack it first"),
    (
        b"version https://git-lfs",
        "is only a pointer to the model (Git LFS); fetch the model itself with `git lfs pull`",
    ),
    (b"<", "looks like a web page; download the file itself, not the page that shows it"),
    (b"{", "looks like JSON; give the model file, or `openbook import` the folder in which this file lies"),
    (b"%PDF", "is a PDF; train on it with `openbook train`"),
)


def looks_like_safetensors(path: Path) -> bool:
    """Whether this is a plain file that begins as every safetensors file does, a model file among them."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[5:] == b"\0\0\0{"


def looks_like_adapter(path: Path) -> bool:
    """Whether this plain file begins as adapters do. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return f'"{ADAPTER_FIELD}"'.encode() in file.read(_ADAPTER_WITHIN)


def path_problem(path: Path) -> str | None:
    """Why `path` cannot be read, with the cure; None for a file with bytes in it."""
    if path.is_dir():
        if (path / "config.json").exists():
            return "is a folder, it looks like one of Hugging Face; turn it into a model file with `openbook import`"
        inside = sorted(file.name for file in path.glob("*.openbook"))[:3]
        return "is a folder; give a model file" + (f" in it, such as {', '.join(inside)}" if inside else "")
    if not path.exists():
        suffixed = path.with_name(f"{path.name}.openbook")
        return "there is no such file" + (f"; did you mean {suffixed}?" if suffixed.exists() else "; check its name")
    if not path.is_file():
        return "is not a plain file; copy its contents to one"
    if path.stat().st_size == 0:
        return "is empty; copy, download or train it again"
    return None


def content_problem(start: bytes) -> str:
    """What a file is that does not begin as a model file, from its first kilobyte, with the cure."""
    for signature, problem in _SIGNATURES:
        if start.removeprefix(b"\xef\xbb\xbf").startswith(signature):
            return problem
    if start.isascii() and start.decode().replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return "looks like text; train on it with `openbook train`"
    return "is no model file, or its beginning is damaged; copy or download it again"
