"""Models in parts give the same model file as whole ones; what is wrong with parts is named with the cure."""

import shutil
from pathlib import Path

import gguf
import pytest
from gguf_files import Words, random_model, write_gguf

from openbook.errors import OpenbookError
from openbook.interop.gguf.parts import part_paths
from openbook.interop.importing import import_model


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    write_gguf(tmp_path / "it.gguf", "llama 3", random_model("llama 3"), "Q8_0", split_max_tensors=8)
    return sorted(tmp_path.glob("it-*.gguf"))


def refused(path: Path, match: str) -> None:
    with pytest.raises(OpenbookError, match=match) as caught:
        import_model(path, path.with_name("it.openbook"), overwrite=True)
    assert str(caught.value).startswith(str(path))


def test_any_part_gives_the_model_of_the_whole(parts: list[Path], tmp_path: Path) -> None:
    assert [part.name for part in parts] == [f"it-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    write_gguf(tmp_path / "whole.gguf", "llama 3", random_model("llama 3"), "Q8_0")
    import_model(tmp_path / "whole.gguf", tmp_path / "whole.openbook")
    for part in parts:
        import_model(part, tmp_path / "it.openbook", overwrite=True)
        assert (tmp_path / "it.openbook").read_bytes() == (tmp_path / "whole.openbook").read_bytes()
    # A name alone makes no part.
    (tmp_path / "whole.gguf").rename(tmp_path / "new-00002-of-00009.gguf")
    import_model(tmp_path / "new-00002-of-00009.gguf", tmp_path / "it.openbook", overwrite=True)
    assert (tmp_path / "it.openbook").read_bytes() == (tmp_path / "whole.openbook").read_bytes()


def test_what_is_wrong_with_parts_is_said(parts: list[Path], tmp_path: Path) -> None:
    first, second, third = parts
    content = second.read_bytes()
    second.unlink()
    refused(first, r"part 2 of 3, it-00002-of-00003.gguf, is missing; copy or download it into the same folder")
    shutil.copy(third, second)
    refused(first, r"it-00002-of-00003.gguf: is not the part that its name says")
    second.write_bytes(content[:-40])
    refused(third, r"it-00002-of-00003.gguf: tensor .* are not in the file")
    second.write_bytes(content)
    shutil.copy(second, tmp_path / "renamed.gguf")
    refused(tmp_path / "renamed.gguf", r"is one of 3 parts of a model, .*NAME-00001-of-00003.gguf")
    with pytest.raises(OpenbookError, match="input"):
        import_model(first, first, overwrite=True)


def test_names_of_parts() -> None:
    assert part_paths(Path("a/x-00002-of-00002.gguf")) == [Path(f"a/x-0000{n}-of-00002.gguf") for n in (1, 2)]
    for name in ("x.gguf", "x-00003-of-00002.gguf", "x-00000-of-00002.gguf", "x-00001-of-99999.gguf"):
        assert part_paths(Path(name)) == [Path(name)]


def test_the_other_byte_order_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"), endianess=gguf.GGUFEndian.BIG)
    refused(tmp_path / "it.gguf", r"for big-endian machines, .*gguf-convert-endian COPY little")


@pytest.mark.parametrize(
    ("pre", "match"),
    [
        (
            "deepseek-llm",
            r"field tokenizer.ggml.pre: deepseek-llm is not known here, .*import the model's Hugging Face",
        ),
        (None, r"field tokenizer.ggml.pre: is missing, so it is unknown how .*import the model's Hugging Face folder"),
    ],
)
def test_a_pre_tokenizer_that_is_not_known_is_named_with_the_cure(pre: str | None, match: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"), words=Words(pre))
    refused(tmp_path / "it.gguf", match)


def test_a_folder_of_gguf_files_is_refused_with_the_cure(parts: list[Path]) -> None:
    refused(parts[0].parent, "has GGUF files and no config.json; give one of the GGUF files")
