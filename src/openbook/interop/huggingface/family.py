"""What a family is: how its config.json is read and written, and where its tensors are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import Table
from openbook.interop.huggingface.weights import Weights
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Architecture

PLAIN = LegacyLayout()


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Attributes:
        name: what people call it.
        model_types: the values of `model_type` in a config.json that mean this family; the first is written.
        class_name: the class of transformers that an export names.
        read: config.json → architecture; `Fields.finish` is called afterwards.
        write: an architecture → the fields of a config.json. It need not check that the architecture fits: what it
            wrote is read again and must give the same.
        adapt: what the tensors of a folder say beyond its config.json.
        tables: the key tables of an architecture; a folder is read by the first whose tensors are all there, an export
            written by the first.
        prefix: with what their names begin, except in files that leave it out.
        ignored: regular expression of tensors that hold nothing of the model.
        tokenizer: how tokenizer files that are older than tokenizer.json are meant.
        pair_tokenizer: the class of transformers that reads two vocabularies of pieces with one table of ids, if any.
        tied_copies: tensors that only repeat the token embedding where `tied`.
    """

    name: str
    model_types: tuple[str, ...]
    class_name: str
    read: Callable[[Fields], Architecture]
    write: Callable[[Architecture], dict[str, Any]]
    tables: Callable[[Architecture], Sequence[Table]]
    adapt: Callable[[Architecture, Weights], Architecture] = lambda architecture, weights: architecture
    prefix: str = ""
    ignored: str = r".*rotary_emb\.inv_freq"
    tokenizer: LegacyLayout = PLAIN
    pair_tokenizer: str | None = None
    tied_copies: Sequence[str] = field(default=("lm_head.weight",))
