"""A GGUF model in one file, or in parts that are named `NAME-00001-of-00003.gguf` and so on.

The first part has the fields of the model; each says in `split.no` and `split.count` which part it is
(https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split).
"""

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.gguf.block_types import readable_types
from openbook.interop.gguf.header import MAGIC, GgufHeader, GgufTensor, read_header
from openbook.model_file.file_type import content_problem, path_problem
from openbook.model_file.header import looks_like_safetensors
from openbook.text.printable import excerpt
from openbook.text.strict_json import DAMAGED

PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MAX_PARTS = 2_000


@dataclass(frozen=True)
class GgufFiles:
    """The fields of a model, its tensors, and which file holds each tensor."""

    header: GgufHeader
    paths: Mapping[str, Path]


def part_paths(path: Path) -> list[Path]:
    """All parts of the model that a path is the file or a part of, by its name."""
    found = PART.fullmatch(path.name)
    count = int(found["count"]) if found else 0
    if found is None or not 1 <= int(found["number"]) <= count <= MAX_PARTS:
        return [path]
    return [path.with_name(f"{found['name']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def read_files(path: Path) -> GgufFiles:
    """Read and check the headers of a file, or of all parts where it is one.

    Raises:
        OpenbookError: a part is missing or damaged, or another model's; without the name of `path`.
    """
    header, count = _read_part(path)
    parts = part_paths(path)
    if count == 1:
        return GgufFiles(header, dict.fromkeys(header.tensors, path))
    if len(parts) != count:
        raise OpenbookError(
            f"is one of {count:,} parts of a model, which its name does not say; give the parts their names, such as "
            f"NAME-00001-of-{count:05}.gguf"
        )
    fields: dict[str, object] = {}
    tensors: dict[str, GgufTensor] = {}
    paths: dict[str, Path] = {}
    for number, part in enumerate(parts):
        if not part.exists():
            where = f"part {number + 1:,} of {count:,}, {excerpt(part.name, 200)}"
            raise OpenbookError(f"{where}, is missing; copy or download it into the same folder")
        try:
            header, its_count = _read_part(part)
            if (header.fields.get("split.no"), its_count) != (number, count):
                raise OpenbookError("is not the part that its name says; copy or download it again")
            for name in header.tensors.keys() & tensors.keys():
                raise OpenbookError(f"tensor {excerpt(name, 100)}: is in {paths[name].name} too; {DAMAGED}")
        except OpenbookError as error:
            raise OpenbookError(f"{part.name}: {error}") from None
        fields = fields or header.fields
        tensors |= header.tensors
        paths |= dict.fromkeys(header.tensors, part)
    total = fields.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise OpenbookError(f"its parts have {len(tensors):,} tensors, not {excerpt(str(total))}; {DAMAGED}")
    return GgufFiles(GgufHeader(fields, tensors), paths)


def _read_part(path: Path) -> tuple[GgufHeader, int]:
    """The header of a file, and of how many it is one."""
    header = read_file_header(path)
    count = header.fields.get("split.count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_PARTS:
        raise OpenbookError(f"field split.count: {excerpt(str(count))} should be 1 to {MAX_PARTS:,}; {DAMAGED}")
    return header, max(1, count)


def read_file_header(path: Path) -> GgufHeader:
    """The checked header of a file. Raises OpenbookError saying what is wrong, without the file's name."""
    problem = path_problem(path)
    if problem is not None:
        raise OpenbookError(problem)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if looks_like_safetensors(data[:9]):
            raise OpenbookError("is one file of a folder; give the folder that holds its config.json")
        if data[:4] != MAGIC:
            raise OpenbookError(content_problem(data[:1000]))
        return read_header(data, readable_types())
