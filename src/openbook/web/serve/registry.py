"""The models that are served: opened when they are asked for, kept as long as memory and `keep_alive` allow."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.model_file.file_state import FileState
from openbook.model_file.metadata import ModelMetadata
from openbook.text.printable import printable_path
from openbook.web.serve.errors import ApiError, not_found
from openbook.web.serve.loaded import LoadedModel, Loader
from openbook.web.serve.logs import log

SUFFIX = ".openbook"
LATEST = ":latest"
"""What some clients put after the name of a model that has no tag."""
SWEEP_SECONDS = 1.0


@dataclass(eq=False)
class Entry:
    """A model file, and the model while it is in memory.

    Attributes:
        id: its name for clients.
        path: of the file.
        metadata: all but its tensors.
        state: of the file when it was last read.
        loaded: the model, if it is in memory.
        keep_alive: seconds after its last request after which it leaves memory; None: never.
        used: when it was last used, on the clock of `time.monotonic`.
    """

    id: str
    path: Path
    metadata: ModelMetadata
    state: FileState | None
    keep_alive: float | None = None
    loaded: LoadedModel | None = None
    used: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 0 if self.state is None else self.state.size

    @property
    def modified(self) -> float:
        """When the file was written, in seconds since 1970."""
        return 0.0 if self.state is None else self.state.modified / 1e9

    def is_current(self) -> bool:
        """Whether it is in memory as its file is now; a file that is gone changes nothing."""
        return self.loaded is not None and FileState.of(self.path) in (None, self.state)

    @property
    def expires_in(self) -> float | None:
        """Seconds until it leaves memory, if nothing asks for it; None: it stays."""
        if self.loaded is None or self.keep_alive is None:
            return None
        return max(0.0, self.used + self.keep_alive - time.monotonic())


class ModelRegistry:
    """Models by name. All of it runs on the event loop; opening a model runs on a thread."""

    def __init__(
        self, paths: Sequence[Path], loader: Loader, *, memory: float, keep_alive: float | None = None
    ) -> None:
        """Args:
        paths: of the model files; the first is what a request gets that names none.
        loader: opens them.
        memory: bytes that the files of the models in memory may have together; a single one may have more.
        keep_alive: seconds, see `Entry`; None: for good.

        Raises:
            OpenbookError: a file cannot be read, or two have one name.
        """
        self._loader, self._memory = loader, memory
        self._opening = asyncio.Lock()
        self.entries: list[Entry] = []
        for path in paths:
            name = _name(path)
            if any(entry.id == name for entry in self.entries):
                raise OpenbookError(f"{printable_path(path)}: another model is named {name}, too; rename one of them")
            state = FileState.of(path)
            self.entries.append(Entry(name, path, loader.metadata(path), state, keep_alive))

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return [entry.id for entry in self.entries]

    @property
    def loaded(self) -> list[Entry]:
        """Those in memory."""
        return [entry for entry in self.entries if entry.loaded is not None]

    def entry(self, name: str | None) -> Entry:
        """A model by name; the first if there is none.

        Raises:
            ApiError: there is no such model.
        """
        if name is None:
            return self.entries[0]
        for given in (name, name.removesuffix(LATEST), name.removesuffix(SUFFIX)):
            for entry in self.entries:
                if entry.id == given:
                    return entry
        raise not_found(f"there is no model {name[:100]}; there are {', '.join(self.names)}", "model_not_found")

    def metadata(self, name: str | None) -> ModelMetadata:
        """All of a model but its tensors."""
        return self.entry(name).metadata

    async def model(self, name: str | None) -> LoadedModel:
        """A model, opened if it is not in memory or if its file has changed.

        Raises:
            ApiError: there is no such model, it cannot be opened, or memory is full of models at work.
        """
        entry = self.entry(name)
        if not entry.is_current():
            async with self._opening:
                if not entry.is_current():
                    await self._open(entry, FileState.of(entry.path))
        entry.used = time.monotonic()
        assert entry.loaded is not None
        return entry.loaded

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[LoadedModel]:
        """A model that stays in memory meanwhile."""
        loaded = await self.model(name)
        loaded.users += 1
        try:
            yield loaded
        finally:
            self.release(loaded)

    def release(self, loaded: LoadedModel) -> None:
        """One user fewer; a model that was replaced or unloaded meanwhile leaves memory with its last one."""
        loaded.users -= 1
        entry = next((each for each in self.entries if each.loaded is loaded), None)
        if entry is None:
            if not loaded.users:
                loaded.close()
            return
        entry.used = time.monotonic()
        if entry.keep_alive == 0 and not loaded.users:
            self._unload(entry, "keep_alive is 0")

    def keep_alive(self, name: str | None, seconds: float | None) -> None:
        """How long a model stays in memory after its last request: None is for good, 0 not at all."""
        entry = self.entry(name)
        entry.keep_alive = seconds
        if seconds == 0 and entry.loaded is not None and not entry.loaded.users:
            self._unload(entry, "keep_alive is 0")

    async def sweep(self) -> None:
        """Unload, for ever, what nobody asked for as long as its `keep_alive`."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for entry in self.loaded:
                if entry.expires_in == 0 and entry.loaded is not None and not entry.loaded.users:
                    self._unload(entry, "nobody asked for it")

    def close(self) -> None:
        """Unload all, whatever they do."""
        for entry in self.loaded:
            self._unload(entry, "the server ends", say=False)

    async def _open(self, entry: Entry, state: FileState | None) -> None:
        changed = entry.loaded is not None
        if not changed:
            self._make_room(entry)
        started = time.perf_counter()
        try:
            loaded = await asyncio.to_thread(self._loader.load, entry.id, entry.path)
        except OpenbookError as error:
            if entry.loaded is None:
                raise ApiError(503, str(error), code="model_not_loaded") from None
            log(
                "the model file changed and cannot be read; the model as it was answers", model=entry.id, why=str(error)
            )
            entry.state = state
            return
        previous, entry.loaded, entry.state, entry.metadata = entry.loaded, loaded, state, loaded.metadata
        if previous is not None and not previous.users:
            previous.close()
        event = "model reloaded: its file changed" if changed else "model loaded"
        log(event, model=entry.id, engine=loaded.engine_name, seconds=round(time.perf_counter() - started, 3))

    def _make_room(self, wanted: Entry) -> None:
        """Unload idle models, the longest unused first, until this one fits beside the others.

        Raises:
            ApiError: those that are left are at work.
        """
        while (others := self.loaded) and sum(each.size for each in others) + wanted.size > self._memory:
            idle = [each for each in others if each.loaded is not None and not each.loaded.users]
            if not idle:
                raise ApiError(503, "memory is full of other models at work; try again soon", retry_after=5)
            self._unload(min(idle, key=lambda each: each.used), f"{wanted.id} needs its memory")

    def _unload(self, entry: Entry, why: str, *, say: bool = True) -> None:
        loaded, entry.loaded = entry.loaded, None
        if loaded is not None:
            loaded.close()
            if say:
                log("model unloaded", model=entry.id, why=why)


def _name(path: Path) -> str:
    return printable_path(path.name).removesuffix(SUFFIX)
