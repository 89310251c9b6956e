"""An architecture and its tensors, compiled into the flat program that the native library interprets.

Operators and their fields are described in `native/program.h`. Names of tensors are those of the model file.
"""

import math
from collections.abc import Mapping
from ctypes import Array, Structure, c_int32
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.generation.engines.native import library
from openbook.generation.engines.native.library import call
from openbook.model_file.arrays import StoredArray
from openbook.model_file.dtypes import DTYPE_NAMES, INT8
from openbook.model_file.quantized_specs import GROUP, OFFSET_SUFFIX, SCALE_SUFFIX
from openbook.transformer import architecture
from openbook.transformer.architecture import Position
from openbook.transformer.rope_scaling import frequencies, scaled_frequencies

EMBED, ADD_TABLE, NORM, LINEAR, FEED, ADD, ATTEND, KEEP, EXPERTS, LOGITS = range(10)
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "gelu_sigmoid", "silu", "relu_squared")
NORMS = ("none", "rms", "layer")
CAUSAL, BOTH_WAYS, AT_SOURCE = range(3)


class Weight(NamedTuple):
    """A matrix (…, out, in) as a model file keeps it.

    `numbers` are float32, float16, bfloat16 (as uint16), int8 with `scale` float32 (…, out, 1), int8 groups with
    `scale` float16 (…, out, in / 32), or two 4-bit numbers a byte (…, out, in / 2) with `scale` and perhaps `offset`
    float16 (…, out, in / 32).
    """

    format: str
    numbers: NDArray[Any]
    scale: NDArray[Any] | None = None
    offset: NDArray[Any] | None = None

    @classmethod
    def of(cls, array: StoredArray) -> "Weight":
        """A tensor of floats."""
        return cls(DTYPE_NAMES[array.dtype], array.numbers)


def quantized(parts: Mapping[str, StoredArray]) -> Weight:
    """A quantized matrix, from its parts by the suffixes of their names in a model file."""
    numbers, scale = parts[""].numbers, parts[SCALE_SUFFIX].numbers
    if parts[""].dtype == INT8:
        return Weight("int8" if scale.dtype == np.float32 else "int8_groups", numbers, scale)
    offset = parts[OFFSET_SUFFIX].numbers
    # An offset of -8 scales needs no place in memory. In float16 that is another sign and three more in the exponent.
    bits = scale.view(np.uint16)
    implied = np.array_equal((bits ^ 0x8000) + np.uint16(0xC00), offset.view(np.uint16)) and bool((bits & 0x7C00).all())
    return Weight("int4", numbers, scale, None if implied else offset)


@dataclass
class Program:
    """What has been compiled so far; `model` is the library's handle, into which matrices and vectors go at once."""

    model: int
    tensors: Mapping[str, Weight]
    matrices: dict[str, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    matrix_count: int = 0
    widths: list[int] = field(default_factory=list)
    norms: list[Structure] = field(default_factory=list)
    rotaries: list[Structure] = field(default_factory=list)
    attentions: list[Structure] = field(default_factory=list)
    feed_forwards: list[Structure] = field(default_factory=list)
    experts: list[Structure] = field(default_factory=list)
    slots: list[Structure] = field(default_factory=list)
    rotary_of: dict[tuple[Position, int], int] = field(default_factory=dict)
    shared: dict[tuple[str, int], int] = field(default_factory=dict)
    held: list[Weight] = field(default_factory=list)
    """What the library has been shown and will read when it packs."""

    def register(self, width: int) -> int:
        """A new register for vectors of this width."""
        self.widths.append(width)
        return len(self.widths) - 1

    def shared_register(self, width: int, purpose: str) -> int:
        """A register that all layers use in turn."""
        if (purpose, width) not in self.shared:
            self.shared[purpose, width] = self.register(width)
        return self.shared[purpose, width]

    def linear(
        self, given: int, into: list[int], parts: list[str], norm: int = -1, add: int | None = None
    ) -> Structure:
        """Products of one register with several matrices; with `add`, a spare register, what is there stays."""
        return op(
            LINEAR,
            input=given,
            norm=norm,
            out=into,
            aux=-1 if add is None else add,
            add=add is not None,
            matrix=[self.matrix(f"{part}.weight") for part in parts],
            bias=[self.bias(part) for part in parts],
        )

    def matrix(self, name: str) -> int:
        """The number of a matrix, handed to the library when it is first asked for; experts' are one after another."""
        if name not in self.matrices:
            self.matrices[name] = self.matrix_count
            weight = self.tensors[name]
            for each in _each_matrix(weight):
                outputs, inputs = each.numbers.shape
                if each.format == "int4":
                    inputs *= 2
                _check_scales(name, each, outputs, inputs)
                call(
                    "matrix",
                    self.model,
                    library.FORMATS[each.format],
                    outputs,
                    inputs,
                    each.numbers,
                    each.scale,
                    each.offset,
                )
                self.held.append(each)
                self.matrix_count += 1
        return self.matrices[name]

    def vector(self, numbers: NDArray[Any]) -> int:
        """The number of a vector of float32."""
        call("vector", self.model, np.ascontiguousarray(numbers, dtype=np.float32), numbers.size)
        self.sizes.append(numbers.size)
        return len(self.sizes) - 1

    def plain(self, name: str) -> NDArray[np.float32]:
        """A small tensor as float32."""
        weight = self.tensors[name]
        if weight.format == "bfloat16":
            return (weight.numbers.astype(np.uint32) << 16).view(np.float32)
        numbers: NDArray[np.float32] = weight.numbers.astype(np.float32)
        return numbers if weight.scale is None else numbers * weight.scale

    def bias(self, name: str) -> int:
        """The number of the bias of a linear layer, or -1."""
        return self.vector(self.plain(f"{name}.bias")) if f"{name}.bias" in self.tensors else -1

    def expert_bias(self, name: str) -> int:
        """The number of the first expert's bias, the others follow; or -1."""
        if f"{name}.bias" not in self.tensors:
            return -1
        first, *_ = [self.vector(row) for row in self.plain(f"{name}.bias")]
        return first

    def norm(self, name: str, spec: architecture.Norm) -> int:
        """The number of a norm, or -1 where there is none."""
        if spec.kind == "none":
            return -1
        weight = self.vector(self.plain(f"{name}.weight") + np.float32(spec.offset))
        bias = self.bias(name) if spec.bias else -1
        self.norms.append(library.Norm(NORMS.index(spec.kind), weight, bias, spec.epsilon))
        return len(self.norms) - 1

    def rotary(self, position: Position, head_width: int) -> int:
        """The number of a way of rotating, or -1 where the position does not rotate."""
        if position.kind != "rotary":
            return -1
        key = position, head_width
        if key not in self.rotary_of:
            scaling = position.rope_scaling
            dynamic = scaling is not None and scaling.kind == "dynamic"
            fixed = -1 if dynamic else self.vector(scaled_frequencies(head_width, position.base, scaling))
            self.rotaries.append(
                library.Rotary(
                    head_width // 2,
                    fixed,
                    dynamic,
                    1.0 if scaling is None else scaling.attention_factor,
                    position.base,
                    1.0 if scaling is None else scaling.factor,
                    1.0 if scaling is None else float(scaling.original_context),
                )
            )
            self.rotary_of[key] = len(self.rotaries) - 1
        return self.rotary_of[key]


def op(kind: int, **fields: Any) -> Structure:
    """An operator; what is not given is absent."""
    absent = {"input": -1, "norm": -1, "aux": -1, "detail": -1, "scale": 1.0}
    filled = {name: _three(fields.get(name, [])) for name in ("out", "matrix", "bias")}
    return library.Op(kind=kind, **(absent | fields | filled))


def _three(numbers: int | list[int]) -> Array[c_int32]:
    given = [numbers] if isinstance(numbers, int) else numbers
    return (c_int32 * 3)(*given, *[-1] * (3 - len(given)))


def _each_matrix(weight: Weight) -> list[Weight]:
    """The matrix itself, or those of a stack of experts, each in one piece."""
    stacked = weight.numbers.ndim > 2

    def one(array: NDArray[Any] | None, expert: int) -> NDArray[Any] | None:
        return None if array is None else np.ascontiguousarray(array[expert] if stacked else array)

    count = len(weight.numbers) if stacked else 1
    parts = ((one(weight.numbers, e), one(weight.scale, e), one(weight.offset, e)) for e in range(count))
    return [Weight(weight.format, numbers, scale, offset) for numbers, scale, offset in parts if numbers is not None]


def _check_scales(name: str, weight: Weight, outputs: int, inputs: int) -> None:
    """Raise OpenbookError unless scales and offsets are as many as the library will read."""
    if weight.scale is None and weight.format not in ("int8", "int8_groups", "int4"):
        return
    grouped = weight.format != "int8"
    wanted, dtype = (outputs * -(-inputs // GROUP), np.float16) if grouped else (outputs, np.float32)
    for part, numbers in (("scale", weight.scale), ("offset", weight.offset)):
        if part == "offset" and numbers is None:
            continue
        if numbers is None or numbers.size != wanted or numbers.dtype != dtype:
            raise OpenbookError(f"tensor {name}: its {part}s do not fit its {outputs} rows of {inputs} numbers")


def compile_program(model: int, spec: architecture.Architecture, tensors: Mapping[str, Weight]) -> None:
    """Hand the library all that it needs to run this model.

    Raises:
        OpenbookError: a tensor does not fit the architecture.
    """
    program = Program(model, tensors)
    encoder: list[Structure] = []
    decoder: list[Structure] = []
    if spec.encoder is not None:
        source = _Stack(program, spec, "encoder", encoder).run()
        cross = [_keep_source(program, spec, number, source, encoder) for number in range(len(spec.decoder.blocks))]
        _Stack(program, spec, "decoder", decoder, cross).run()
    else:
        _Stack(program, spec, "decoder", decoder).run()
    sizes = (c_int32 * 3)(spec.vocab_size, (spec.source_vocab_size or spec.vocab_size) if encoder else 0, spec.context)
    lists: list[tuple[Any, list[Any]]] = [
        (library.Op, decoder),
        (library.Op, encoder),
        (c_int32, program.widths),
        (library.Norm, program.norms),
        (library.Rotary, program.rotaries),
        (library.Attention, program.attentions),
        (library.FeedForward, program.feed_forwards),
        (library.Experts, program.experts),
        (library.Slot, program.slots),
    ]
    counts = (c_int32 * len(lists))(*(len(items) for _, items in lists))
    call("program", model, sizes, counts, *((kind * max(1, len(items)))(*items) for kind, items in lists))
    call("pack", model)


def _attention(
    program: Program,
    name: str,
    spec: architecture.Attention,
    mode: int,
    position: Position | None,
    bias: int,
    first: int,
) -> int:
    """The number of an attention, with a slot of its own in the cache."""
    program.slots.append(library.Slot(mode, spec.key_value_heads, spec.head_width))
    rotary = -1 if position is None else program.rotary(position, spec.head_width)
    program.attentions.append(
        library.Attention(
            heads=spec.heads,
            key_value_heads=spec.key_value_heads,
            head_width=spec.head_width,
            slot=len(program.slots) - 1,
            mode=mode,
            window=spec.window or 0,
            softmax=spec.attention_function == "softmax",
            sinks=program.vector(program.plain(f"{name}.sinks")) if spec.sinks else -1,
            bias=bias,
            bias_first=first,
            bias_count=0 if bias < 0 else program.sizes[bias] // spec.heads,
            query_norm=program.norm(f"{name}.query_norm", spec.query_key_norm),
            key_norm=program.norm(f"{name}.key_norm", spec.query_key_norm),
            rotary=rotary,
            scale=spec.head_width**-0.5 if spec.scale is None else spec.scale,
            softcap=spec.attention_softcap or 0.0,
        )
    )
    return len(program.attentions) - 1


def _keep_source(
    program: Program, spec: architecture.Architecture, number: int, source: int, ops: list[Structure]
) -> int:
    """Keys and values of the encoder's output for one layer of the decoder; the number of its cross-attention."""
    name, attention = f"decoder.blocks.{number}.cross_attention", spec.decoder.blocks[number].cross_attention
    assert attention is not None
    width = attention.key_value_heads * attention.head_width
    key, value = program.shared_register(width, "key"), program.shared_register(width, "value")
    ops.append(program.linear(source, [key, value], [f"{name}.key", f"{name}.value"]))
    index = _attention(program, name, attention, AT_SOURCE, None, -1, 0)
    ops.append(op(KEEP, detail=index, out=[source, key, value]))
    return index


class _Stack:
    """The operators of one stack, appended to `ops`."""

    def __init__(
        self,
        program: Program,
        spec: architecture.Architecture,
        name: str,
        ops: list[Structure],
        cross: list[int] | None = None,
    ) -> None:
        self.program, self.architecture, self.name, self.ops = program, spec, name, ops
        self.spec = spec.stacks[name]
        self.cross = cross
        self.x = program.register(spec.width)
        self.spare = program.shared_register(spec.width, "spare")

    def run(self) -> int:
        """Embedding, positions, blocks, final norm and logits; the register that holds the stack's output."""
        encoder, spec = self.name == "encoder", self.architecture
        table = (
            "source_embedding.weight" if encoder and spec.source_vocab_size is not None else "token_embedding.weight"
        )
        self.ops.append(op(EMBED, out=self.x, matrix=self.program.matrix(table), scale=spec.embedding_scale))
        self._positions()
        self._norm_in_place(f"{self.name}.embedding_norm", self.spec.embedding_norm)
        bias, first = self._relative_bias()
        for number, block in enumerate(self.spec.blocks):
            self._block(number, block, bias, first)
        final = f"{self.name}.final_norm", self.spec.final_norm
        if encoder:
            self._norm_in_place(*final)
            return self.x
        head = "token_embedding" if spec.tied_embeddings else "to_logits"
        logit_bias = self.program.bias("to_logits") if spec.logit_bias else -1
        self.ops.append(
            op(LOGITS, input=self.x, norm=self.program.norm(*final), matrix=self.program.matrix(f"{head}.weight"),
               bias=logit_bias, scale=spec.logit_scale, cap=spec.logit_softcap or 0.0)
        )  # fmt: skip
        return self.x

    def _positions(self) -> None:
        position, context, width = self.spec.position, self.architecture.context, self.architecture.width
        if position.kind == "learned":
            table = self.program.vector(self.program.plain(f"{self.name}.position.weight"))
        elif position.kind == "sinusoidal":
            table = self.program.vector(_waves(position, context, width))
        else:
            return
        self.ops.append(op(ADD_TABLE, out=self.x, bias=table))

    def _relative_bias(self) -> tuple[int, int]:
        """The table of biases [head][distance], -1 if there is none, and its first distance."""
        position = self.spec.position
        if position.kind != "relative":
            return -1, 0
        causal = self.name == "decoder"
        reach = min(position.max_distance, self.architecture.context)
        distances = np.arange(0 if causal else -reach, reach + 1)
        buckets = _buckets(distances, position, causal)
        weight = self.program.plain(f"{self.name}.position.weight")
        return self.program.vector(weight[buckets].T), int(distances[0])

    def _block(self, number: int, block: architecture.Block, bias: int, first: int) -> None:
        name = f"{self.name}.blocks.{number}"
        position = block.position or self.spec.position
        mode = CAUSAL if self.name == "decoder" else BOTH_WAYS
        own = bias if position.kind == "relative" else -1
        index = _attention(self.program, f"{name}.self_attention", block.attention, mode, position, own, first)
        self._attend(f"{name}.self_attention", block, block.attention, index, ("query", "key", "value"))
        if block.cross_attention is not None and self.cross is not None:
            self._attend(f"{name}.cross_attention", block, block.cross_attention, self.cross[number], ("query",))
        self._feed_forward(f"{name}.feed_forward", block)

    def _attend(
        self, name: str, block: architecture.Block, spec: architecture.Attention, index: int, parts: tuple[str, ...]
    ) -> None:
        program, residual = self.program, f"{name}_residual"
        inner, shared = spec.heads * spec.head_width, spec.key_value_heads * spec.head_width
        query, context = program.shared_register(inner, "query"), program.shared_register(inner, "context")
        into = [query, *(program.shared_register(shared, part) for part in parts[1:])]
        before = program.norm(f"{residual}.before", block.before)
        self.ops.append(program.linear(self.x, into, [f"{name}.{part}" for part in parts], before))
        self.ops.append(op(ATTEND, detail=index, input=context, out=into))
        self._add(residual, block, context, f"{name}.output")

    def _feed_forward(self, name: str, block: architecture.Block) -> None:
        program, residual, spec = self.program, f"{name}_residual", block.feed_forward
        program.feed_forwards.append(
            library.FeedForward(ACTIVATIONS.index(spec.activation), spec.gated, spec.limit or 0.0, spec.up_offset)
        )
        detail = len(program.feed_forwards) - 1
        before = program.norm(f"{residual}.before", block.before)
        if spec.experts is not None:
            made = program.shared_register(self.architecture.width, "made")
            self.ops.append(op(EXPERTS, input=self.x, norm=before, out=made, detail=self._experts(name, spec, detail)))
            self._finish(residual, block, made)
            return
        hidden, aux = program.shared_register(spec.width, "hidden"), program.shared_register(spec.width, "aux")
        parts = [f"{name}.gate", f"{name}.up"] if spec.gated else [f"{name}.up"]
        self.ops.append(
            op(FEED, input=self.x, norm=before, detail=detail, out=hidden, aux=aux,
               matrix=[program.matrix(f"{part}.weight") for part in parts], bias=[program.bias(part) for part in parts])
        )  # fmt: skip
        self._add(residual, block, hidden, f"{name}.down")

    def _experts(self, name: str, spec: architecture.FeedForward, detail: int) -> int:
        program, experts = self.program, spec.experts
        assert experts is not None
        biases = {part: program.expert_bias(f"{name}.{part}") for part in ("gate", "up", "down")}
        program.experts.append(
            library.Experts(
                experts.count,
                experts.experts_per_token,
                experts.normalize_weights,
                detail,
                program.matrix(f"{name}.router.weight"),
                program.bias(f"{name}.router"),
                program.matrix(f"{name}.gate.weight") if spec.gated else -1,
                program.matrix(f"{name}.up.weight"),
                program.matrix(f"{name}.down.weight"),
                biases["gate"],
                biases["up"],
                biases["down"],
                spec.width,
            )
        )
        return len(program.experts) - 1

    def _add(self, residual: str, block: architecture.Block, given: int, part: str) -> None:
        """x = outer(x + after(part · given)); in one operator where nothing stands between."""
        if block.after.kind == "none":
            self.ops.append(self.program.linear(given, [self.x], [part], add=self.spare))
            self._norm_in_place(f"{residual}.outer", block.outer)
            return
        made = self.program.shared_register(self.architecture.width, "made")
        self.ops.append(self.program.linear(given, [made], [part]))
        self._finish(residual, block, made)

    def _finish(self, residual: str, block: architecture.Block, made: int) -> None:
        """x = outer(x + after(made))."""
        after = self.program.norm(f"{residual}.after", block.after)
        if after >= 0:
            self.ops.append(op(NORM, input=made, norm=after, out=made))
        self.ops.append(op(ADD, input=made, out=self.x))
        self._norm_in_place(f"{residual}.outer", block.outer)

    def _norm_in_place(self, name: str, spec: architecture.Norm) -> None:
        norm = self.program.norm(name, spec)
        if norm >= 0:
            self.ops.append(op(NORM, input=self.x, norm=norm, out=self.x))


def _waves(position: Position, context: int, width: int) -> NDArray[np.float32]:
    """Sinusoidal positions, (context, width)   (Vaswani et al. 2017, section 3.5)."""
    positions = (np.arange(context) + position.offset).astype(np.float32)
    angles = positions[:, None] * frequencies(width, position.base)
    pairs = np.stack((np.sin(angles), np.cos(angles)), axis=-2 if position.concatenated else -1)
    return pairs.reshape(context, width)


def _buckets(back: NDArray[Any], position: Position, causal: bool) -> NDArray[np.int64]:
    """The bucket of a key that lies `back` tokens before its query   (Raffel et al. 2020, section 2.1)."""
    one_way = position.buckets if causal else position.buckets // 2
    exact = one_way // 2
    first = 0 if causal else (back < 0) * one_way
    far = back.clip(min=0) if causal else np.abs(back)
    steps = np.float32(math.log(position.max_distance / exact))
    ratio = np.log(far.clip(min=1).astype(np.float32) / np.float32(exact)) / steps * np.float32(one_way - exact)
    later = exact + ratio.astype(np.int64)
    return np.asarray(first + np.where(far < exact, far, later.clip(max=one_way - 1)))
