"""The linear layers of a model as PEFT names them: by their names in transformers, each with the matrices of ours."""

from collections.abc import Mapping
from dataclasses import dataclass

from openbook.interop.huggingface.conversion import choose_family
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.score_scale import query_factors
from openbook.interop.huggingface.tensor_mapping import TensorMapping, tensor_mappings
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.transformer.architecture import Architecture

HEAD = "to_logits.weight"


@dataclass(frozen=True)
class Part:
    """One of our matrices: rows `first` to `first + rows` of theirs (out, in), which is ours times `factor`."""

    ours: str
    first: int
    rows: int
    factor: float


@dataclass(frozen=True)
class Modules:
    """The linear layers of a base model.

    Attributes:
        family: whose names they have.
        parts: name of a layer → what it holds, in order.
        inputs: name of a layer → columns of its matrix.
        transposed: whether their matrices are stored as (in, out).
    """

    family: Family
    parts: Mapping[str, tuple[Part, ...]]
    inputs: Mapping[str, int]
    transposed: bool

    def outputs(self, name: str) -> int:
        """Rows of a layer's matrix."""
        return max(part.first + part.rows for part in self.parts[name])


def modules_of(architecture: Architecture) -> Modules:
    """The linear layers of a model in the form of its family.

    Matrices of experts, which are no layers of their own there, are left out.

    Raises:
        OpenbookError: no family has this shape.
    """
    family, _, described = choose_family(architecture)
    shapes, factors = expected_shapes(described), query_factors(architecture, described)
    parts: dict[str, list[Part]] = {}
    inputs, turned = {}, False
    for mapping in tensor_mappings(shapes, family.tables(described)[0]):
        name, first = mapping.theirs.removesuffix(".weight"), _first_row(mapping)
        shape = shapes[mapping.ours]
        layer = len(shape) == 2 and (".blocks." in mapping.ours or mapping.ours == HEAD)
        if not layer or first is None or not mapping.ours.endswith(".weight") or ".router." in mapping.ours:
            continue
        part = Part(mapping.ours, first, shape[0], factors.get(mapping.ours, 1.0))
        parts.setdefault(name, []).append(part)
        inputs[name] = shape[1]
        turned = turned or mapping.transposed
    return Modules(family, {name: tuple(each) for name, each in parts.items()}, inputs, turned)


def _first_row(mapping: TensorMapping) -> int | None:
    """The row of theirs at which ours begins; None where it is not simply some rows."""
    index = mapping.their_index[1:] if mapping.transposed else mapping.their_index
    if not index:
        return 0
    rows = index[0]
    return rows.start or 0 if isinstance(rows, slice) and rows.step in (None, 1) and len(index) == 1 else None
