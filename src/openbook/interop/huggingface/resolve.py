"""Which tensors of a folder hold the numbers of an architecture, checked before any of them is read."""

import re
from collections.abc import Iterable

from openbook.errors import OpenbookError
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.tensor_mapping import Link, Shape, Table, extent, links
from openbook.interop.huggingface.weights import Source
from openbook.model_file.header import DAMAGED
from openbook.model_file.meta_model import expected_shapes
from openbook.transformer.architecture import Architecture

EMBEDDING = "token_embedding.weight"


class _MissingError(OpenbookError):
    """A table asks for a tensor that is not there."""


def resolve(family: Family, architecture: Architecture, weights: Source) -> dict[str, list[Link]]:
    """Our tensors, in the order in which the model uses them, each with the links to what is in the folder.

    Raises:
        OpenbookError: a tensor is missing, has the wrong shape, or belongs to nothing.
    """
    bare = not any(name.startswith(family.prefix) for name in weights.places)
    faults = []
    for table in family.tables(architecture):
        try:
            found = _by_table(table, architecture, weights, family.prefix if bare else "")
        except _MissingError as fault:
            faults.append(fault)
            continue
        _check_shapes(architecture, found, weights)
        _check_rest(family, architecture, found, weights, family.prefix if bare else "")
        return found
    raise faults[0]


def _by_table(table: Table, architecture: Architecture, weights: Source, absent: str) -> dict[str, list[Link]]:
    found: dict[str, list[Link]] = {}
    for link in links(architecture, table):
        link = link.renamed(link.theirs.removeprefix(absent))
        if link.optional and link.theirs not in weights:
            link = link.renamed("")
        for name in link.names:
            if name not in weights:
                raise _MissingError(f"tensor {name} is missing, which {link.ours} of the model comes from; {DAMAGED}")
        found.setdefault(link.ours, []).append(link)
    return found


def _check_shapes(architecture: Architecture, found: dict[str, list[Link]], weights: Source) -> None:
    shapes = expected_shapes(architecture)
    parts: dict[tuple[str, bool], list[tuple[Link, Shape]]] = {}
    for ours, each in found.items():
        for link in each:
            parts.setdefault((link.theirs, link.packed), []).append((link, shapes[ours][len(link.ours_at) :]))
    parts.pop(("", False), None)
    for (theirs, packed), of_it in parts.items():
        expected, shape = extent(of_it), weights.shape(theirs, packed)
        if expected != shape:
            raise OpenbookError(f"tensor {theirs}, shape: {list(shape)} should be {list(expected)} by config.json")


def _check_rest(
    family: Family, architecture: Architecture, found: dict[str, list[Link]], weights: Source, absent: str
) -> None:
    used = {name for each in found.values() for link in each for name in link.names}
    copies = {name.removeprefix(absent) for name in family.tied_copies}
    embedding = found[EMBEDDING][0].theirs
    for name in _left_over(weights.places, used):
        if re.fullmatch(family.ignored, name):
            continue
        if name not in copies or (name == "lm_head.weight" and not architecture.tied_embeddings):
            raise OpenbookError(f"tensor {name} is nothing that a {family.name} model has; it may change the result")
        if not weights.same(name, embedding):
            raise OpenbookError(f"tensor {name} should repeat {embedding} by config.json, but differs from it")


def _left_over(names: Iterable[str], used: set[str]) -> list[str]:
    return [name for name in names if name not in used]
