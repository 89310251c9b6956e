"""Which tensors of a checkpoint hold the numbers of an architecture, checked before any of them is read."""

import re
from collections.abc import Mapping, Sequence

from openbook.errors import OpenbookError
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.tensor_mapping import KeyTable, TensorMapping, full_shape, tensor_mappings
from openbook.interop.huggingface.weights import TensorSource
from openbook.model_file.header import DAMAGED, Shape

EMBEDDING, LOGITS = "token_embedding.weight", "to_logits.weight"
TIED = "if logits use the token embedding, let config.json say tie_word_embeddings true; else copy or download it again"

Mappings = dict[str, list[TensorMapping]]
"""Our tensor → where its parts are."""


class _MissingError(OpenbookError):
    """A key table asks for a tensor that is not there."""


def resolve(
    family: Family, tables: Sequence[KeyTable], shapes: Mapping[str, Shape], weights: TensorSource, tied: bool
) -> Mappings:
    """Find our tensors in a checkpoint by the first of the key tables whose tensors are all there.

    Args:
        family: whose names the checkpoint uses.
        tables: the family's key tables for the architecture.
        shapes: our tensors, in the order in which the model uses them.
        weights: the checkpoint's tensors.
        tied: whether the logits use the token embedding.

    Raises:
        OpenbookError: a tensor is missing, has the wrong shape, or is part of no such model.
    """
    unprefixed = not any(name.startswith(family.prefix) for name in weights.names)
    absent = family.prefix if unprefixed else ""
    missing = []
    for table in tables:
        try:
            found = _find(table, shapes, weights, absent)
        except _MissingError as error:
            missing.append(error)
            continue
        _check_shapes(shapes, found, weights)
        _check_unused(family, found, weights, absent, tied)
        return found
    raise missing[0]


def _find(table: KeyTable, shapes: Mapping[str, Shape], weights: TensorSource, absent: str) -> Mappings:
    found: Mappings = {}
    for mapping in tensor_mappings(shapes, table):
        mapping = mapping.renamed(mapping.theirs.removeprefix(absent))
        if mapping.optional and mapping.theirs not in weights:
            mapping = mapping.renamed("")
        for name in mapping.names:
            if name not in weights:
                cure = TIED if mapping.ours == LOGITS else DAMAGED
                raise _MissingError(f"tensor {name} is missing, which {mapping.ours} of the model needs; {cure}")
        found.setdefault(mapping.ours, []).append(mapping)
    return found


def _check_shapes(shapes: Mapping[str, Shape], found: Mappings, weights: TensorSource) -> None:
    parts: dict[tuple[str, bool], list[tuple[TensorMapping, Shape]]] = {}
    for ours, mappings in found.items():
        for mapping in mappings:
            part = shapes[ours][len(mapping.our_index) :]
            parts.setdefault((mapping.theirs, mapping.mxfp4), []).append((mapping, part))
    parts.pop(("", False), None)
    for (theirs, mxfp4), each in parts.items():
        expected, shape = full_shape(each), weights.shape(theirs, mxfp4)
        if expected != shape:
            raise OpenbookError(f"tensor {theirs}, shape: {list(shape)} should be {list(expected)} by config.json")


def _check_unused(family: Family, found: Mappings, weights: TensorSource, absent: str, tied: bool) -> None:
    """Refuse tensors that nothing uses, but for known leftovers and copies of a tied embedding."""
    used = {name for mappings in found.values() for mapping in mappings for name in mapping.names}
    copies = {name.removeprefix(absent) for name in family.tied_copies}
    embedding = found[EMBEDDING][0].theirs
    for name in weights.names:
        if name in used or re.fullmatch(family.ignored, name):
            continue
        if name not in copies or (name == "lm_head.weight" and not tied):
            cure = "save the model without it if it is no part of it, or upgrade openbook"
            raise OpenbookError(f"tensor {name} is not part of a {family.name} model and may change the result; {cure}")
        if not weights.equal(name, embedding):
            raise OpenbookError(
                f"tensor {name} should repeat {embedding} by config.json, but differs from it; "
                "let config.json say tie_word_embeddings false if it is part of the model"
            )
