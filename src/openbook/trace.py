"""Watch a forward pass: `note` marks a value worth seeing, `trace` collects what was noted.

    with trace(model) as recorded:
        model(tokens)
    recorded["decoder.blocks.0.self_attention.scores"].value

Outside `trace` a note is an identity that costs one look-up, so it can stay in the hot path.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import Tensor, nn


@dataclass(frozen=True)
class Record:
    """One noted value.

    `path` is the noting module's path and the value's name, `decoder.blocks.0.self_attention.scores`.
    """

    path: str
    module: str
    name: str
    value: Tensor


@dataclass
class Trace(Mapping[str, Record]):
    """Everything noted in one forward pass, by path, in the order in which it was computed.

    `inputs` maps each module that ran to the recorded values it was called with: a path for each tensor among its
    positional arguments, inside tuples too, or None where the tensor was not recorded.
    Together with the records this is the graph of what depends on what.
    """

    records: dict[str, Record] = field(default_factory=dict)
    inputs: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    _modules: list[str] = field(default_factory=list)
    _origin: dict[int, str] = field(default_factory=dict)

    def __getitem__(self, path: str) -> Record:
        if path not in self.records:
            near = ", ".join(self.nearest(path))
            raise KeyError(f'nothing is recorded under "{path}"; the nearest are: {near}')
        return self.records[path]

    def __contains__(self, path: object) -> bool:
        return path in self.records

    def nearest(self, path: str) -> list[str]:
        """The recorded paths that look most like this one."""
        return get_close_matches(str(path), self.records, n=3, cutoff=0.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def origin(self, value: Tensor) -> str | None:
        """The path under which this tensor object was recorded, or None."""
        path = self._origin.get(id(value))
        return path if path is not None and self.records[path].value is value else None

    def _record(self, name: str, value: Tensor) -> None:
        module = self._modules[-1] if self._modules else ""
        path = f"{module}.{name}" if module else name
        if path in self.records:
            raise ValueError(f"{path} is noted twice in one forward pass; give the second note a name of its own")
        # The record keeps the tensor alive, so its id stays unique as long as the trace exists.
        self.records[path] = Record(path, module, name, value)
        self._origin[id(value)] = path


def _tensors(arguments: tuple[object, ...]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, tuple):
            yield from _tensors(argument)


_active: ContextVar[Trace | None] = ContextVar("openbook_trace", default=None)


def note(name: str, value: Tensor, view: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Return `value` unchanged; inside `trace`, record it under the running module's path and this name.

    What is recorded is `view(value)` where there is a view, for values that a pass lays out in another order.
    """
    active = _active.get()
    if active is not None:
        active._record(name, value if view is None else view(value))
    return value


def tracing() -> bool:
    """Whether a trace is being recorded: fused kernels then give way to the formulas they hide."""
    return _active.get() is not None


@contextmanager
def trace(model: nn.Module) -> Iterator[Trace]:
    """Record every note of `model`'s next forward pass. It keeps the values themselves, so run it without gradients."""
    recorded = Trace()
    paths = {module: path for path, module in model.named_modules()}

    def enter(module: nn.Module, arguments: tuple[object, ...]) -> None:
        if _active.get() is not recorded:
            return  # another thread runs the model, or an inner trace records it
        recorded.inputs[paths[module]] = tuple(recorded.origin(tensor) for tensor in _tensors(arguments))
        recorded._modules.append(paths[module])

    def leave(module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        if _active.get() is recorded:
            recorded._modules.pop()

    handles = []
    for module in paths:
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, always_call=True))
    token = _active.set(recorded)
    try:
        yield recorded
    finally:
        _active.reset(token)
        for handle in handles:
            handle.remove()
