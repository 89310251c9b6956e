"""What a family is: how its config.json is read and written, and where its tensors are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import KeyTable
from openbook.interop.huggingface.weights import TensorSource
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
        absent: what an absent field of config.json means: the defaults of the family's own configuration.
        read: config.json → architecture; `ConfigFields.finish` is called afterwards.
        write: architecture → the fields of a config.json. It need not check that the architecture fits: what it wrote
            is read again and must give the same.
        refuses: architecture → why transformers refuses to load it, though config.json has a field for all of it; None
            where it loads.
        adapt: corrects the architecture by what only the tensors show.
        tables: architecture → its key tables; an import takes the first whose tensors are all there, an export the
            first.
        prefix: how their names begin, except in files that leave it out.
        ignored: regular expression of tensors that are no part of the model.
        tokenizer: how tokenizer files older than tokenizer.json are to be read.
        pair_tokenizer: the class of transformers for a source and a target vocabulary, if there is one.
        tied_copies: tensors that may repeat the token embedding where logits use it.
    """

    name: str
    model_types: tuple[str, ...]
    class_name: str
    absent: Mapping[str, Any]
    read: Callable[[ConfigFields], Architecture]
    write: Callable[[Architecture], dict[str, Any]]
    tables: Callable[[Architecture], Sequence[KeyTable]]
    refuses: Callable[[Architecture], str | None] = lambda architecture: None
    adapt: Callable[[Architecture, TensorSource], Architecture] = lambda architecture, weights: architecture
    prefix: str = ""
    ignored: str = r".*rotary_emb\.inv_freq"
    tokenizer: LegacyLayout = PLAIN
    pair_tokenizer: str | None = None
    tied_copies: Sequence[str] = field(default=("lm_head.weight",))
