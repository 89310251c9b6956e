"""What a model file has besides tensors, and how the header's metadata encodes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from openbook.errors import OpenbookError
from openbook.model_file.architecture_json import read_architecture, write_architecture
from openbook.model_file.header import DAMAGED
from openbook.text.field_errors import field_errors
from openbook.text.printable import excerpt
from openbook.text.strict_json import read_json
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.transformer.architecture import Architecture

FORMAT = 1

# The most characters of each field that is parsed here: far more than anyone needs, yet quick to parse.
# The tokenizer's text is kept as it is.
LIMITS = {
    "architecture": 4_000_000,
    "chat_template": 1_000_000,
    "special_tokens": 1_000_000,
    "generation": 100_000,
    "training": 4_000_000,
    "license": 1_000_000,
}
OPTIONAL = ("special_tokens", "source_tokenizer", "chat_template", "license")
REQUIRED = ("format", "architecture", "tokenizer", "generation", "training")

Penalty = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Generation(TypedDict, total=False):
    """Decoding defaults of a model; what is absent is left to the caller. A temperature of 0 is greedy.

    With a `beam_size` above 1, `length_penalty` and `early_stopping` are those of `generation.settings.BeamSearch`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    top_k: Annotated[int, Field(ge=1, le=2**24)]
    top_p: Share
    min_p: Share
    repetition_penalty: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    presence_penalty: Penalty
    beam_size: Annotated[int, Field(ge=1, le=1000)]
    length_penalty: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
    early_stopping: Literal["never", "heuristic", "always"]
    min_tokens: Annotated[int, Field(ge=0, le=2**31)]
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31)]
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)]


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """A model file without its tensors.

    Attributes:
        architecture: every part and size.
        tokenizer: the text of a tokenizer.json.
        special_tokens: what special tokens are for; None: found by the names in `text/tokenizer/special_tokens.py`.
        source_tokenizer: the tokenizer.json of sources, where it is another one.
        chat_template: a Jinja template.
        generation: decoding defaults.
        training: the training record, any JSON object. `inspect` knows the keys `data` (objects with `name` and
            `sha256`), `recipe`, `seed`, `steps`, `losses` (objects with `step` and numbers), `versions` and `date`, and
            shows others as they are.
        license: an SPDX name or a text.
        format: version of the metadata's fields.
    """

    architecture: Architecture
    tokenizer: str
    special_tokens: SpecialTokens | None = None
    source_tokenizer: str | None = None
    chat_template: str | None = None
    generation: Generation = field(default_factory=Generation)
    training: dict[str, Any] = field(default_factory=dict)
    license: str | None = None
    format: int = FORMAT

    def to_header(self) -> dict[str, str]:
        """Header fields, each as JSON, always in the same order; what is None is left out.

        Raises:
            OpenbookError: a number is not finite; a loss that became NaN is written as None.
        """
        values = {
            "special_tokens": None if self.special_tokens is None else self.special_tokens.to_dict(),
            "chat_template": self.chat_template,
            "generation": self.generation,
            "training": self.training,
            "license": self.license,
        }
        return {
            "format": str(self.format),
            "architecture": write_architecture(self.architecture),
            "tokenizer": self.tokenizer,
            **({} if self.source_tokenizer is None else {"source_tokenizer": self.source_tokenizer}),
            **{name: _write(name, value) for name, value in values.items() if value is not None},
        }

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises OpenbookError for whatever is wrong with it."""
        return Tokenizer.from_json(self.tokenizer, self.special_tokens)

    def make_source_tokenizer(self) -> Tokenizer:
        """The tokenizer of sources: the same, unless there is another."""
        return Tokenizer.from_json(self.source_tokenizer or self.tokenizer, self.special_tokens)

    @classmethod
    def from_header(cls, metadata: Mapping[str, str]) -> "ModelMetadata":
        """Parse and check what `to_header` wrote.

        Raises:
            OpenbookError: naming the field and the cure, without a file's name.
        """
        _check_format(metadata.get("format"))
        for name in REQUIRED:
            if name not in metadata:
                raise OpenbookError(f"the field {name} is missing; {DAMAGED}")
        for name in metadata:
            if name not in REQUIRED + OPTIONAL:
                raise OpenbookError(
                    f"unknown field {name}: another program wrote this file; make it again with openbook"
                )
        architecture = _read_architecture(metadata["architecture"])
        return cls(
            architecture=architecture,
            tokenizer=metadata["tokenizer"],
            special_tokens=_read_special_tokens(
                metadata, max(architecture.vocab_size, architecture.source_vocab_size or 0)
            ),
            source_tokenizer=metadata.get("source_tokenizer"),
            chat_template=_read_text("chat_template", metadata),
            generation=_read_generation(metadata["generation"]),
            training=_read_object("training", metadata["training"]),
            license=_read_text("license", metadata),
        )


_generation: TypeAdapter[Generation] = TypeAdapter(Generation)


def _check_format(text: str | None) -> None:
    if text is None or not text.isascii() or not text.isdigit():  # other programs write "pt" there, or nothing
        cure = "for a model of another program give `openbook import` the folder in which this file lies"
        raise OpenbookError(f"this safetensors file has no openbook format number in its metadata; {cure}")
    if len(text) > 9 or int(text) > FORMAT:
        raise OpenbookError(
            f"format {excerpt(text, 9)} was written by a newer openbook: upgrade, this one reads {FORMAT}"
        )
    if int(text) < FORMAT:
        raise OpenbookError(f"format {text} does not exist; {DAMAGED}")


def _read_architecture(text: str) -> Architecture:
    _read("architecture", text)  # duplicate keys and numbers that are not finite
    try:
        return read_architecture(text)
    except OpenbookError as error:
        raise OpenbookError(f"{error}; written by a newer openbook (upgrade), or {DAMAGED}") from None


def _read_special_tokens(metadata: Mapping[str, str], vocab_size: int) -> SpecialTokens | None:
    if "special_tokens" not in metadata:
        return None
    try:
        special = SpecialTokens.from_dict(_read_object("special_tokens", metadata["special_tokens"]))
    except OpenbookError as error:
        raise OpenbookError(f"field {error}; written by a newer openbook (upgrade), or {DAMAGED}") from None
    if special.largest_id >= vocab_size:
        raise OpenbookError(f"field special_tokens: id {special.largest_id:,} is beyond the vocabulary; {DAMAGED}")
    return special


def _read_generation(text: str) -> Generation:
    value = _read_object("generation", text)
    try:
        return _generation.validate_python(value)
    except ValidationError as error:
        first = field_errors(error, Generation)[0]
        raise OpenbookError(
            f"field generation, {first.path}: {first.problem}; correct it, or upgrade openbook"
        ) from None


def _read_object(name: str, text: str) -> dict[str, Any]:
    value = _read(name, text)
    if not isinstance(value, dict):
        raise OpenbookError(f"field {name} should be a JSON object; {DAMAGED}")
    return value


def _read_text(name: str, metadata: Mapping[str, str]) -> str | None:
    if name not in metadata:
        return None
    value = _read(name, metadata[name])
    if not isinstance(value, str):
        raise OpenbookError(f"field {name} should be a JSON string; {DAMAGED}")
    return value


def _read(name: str, text: str) -> Any:
    return read_json(f"field {name}", text, LIMITS[name])


def _write(name: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise OpenbookError(f"field {name} has a number that is not finite; write None instead") from None
