"""`openbook serve` from its options: models, door, limits, pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openbook.errors import SettingError
from openbook.generation.batching.limits import BatchLimits
from openbook.web.pages import page_routes
from openbook.web.serve.door import LOOPBACK, DoorSettings
from openbook.web.serve.loaded import Loader
from openbook.web.serve.logs import set_up_logs
from openbook.web.serve.registry import ModelRegistry
from openbook.web.serve.service import Service, ServiceSettings
from openbook.web.server import create_app, run
from openbook.web.sockets import listen


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What `openbook serve` may be told.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        keys: any of which opens the door; none: it stands open, on this machine alone.
        origins: of pages elsewhere that may use the server.
        max_batch_tokens, max_queue: as of `BatchLimits`.
        timeout: seconds that an answer may take, and that answers have to end when the server does.
        keep_alive: seconds after its last request after which a model leaves memory; None: never.
        memory: bytes that the files of the models in memory may have together.
        engine, device, exact: as of `Loader`.
        log_prompts: whether prompts go to the log.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()
    max_batch_tokens: int | None = None
    max_queue: int | None = None
    timeout: float = 600.0
    keep_alive: float | None = None
    memory: float
    engine: str = "auto"
    device: str = "auto"
    exact: bool = False
    log_prompts: bool = False

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            SettingError: a number is out of range, or the door would stand open to other machines.
        """
        for name, least in (("max_batch_tokens", 1), ("max_queue", 0), ("timeout", 1), ("keep_alive", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < 2**31:
                raise SettingError(f"`{name}` is {value:g}; give a number from {least}")
        if not self.is_local and not self.keys:
            raise SettingError(
                f"`host` {self.host}: other machines could use the server; give an `api_key`, or listen on 127.0.0.1"
            )
        if any(not key or not key.isprintable() for key in self.keys):
            raise SettingError("`api_key` is empty or not printable; give a text such as one of `openssl rand -hex 16`")

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach the server."""
        return self.host in LOOPBACK


def serve_models(paths: Sequence[Path], options: ServerOptions, say: Callable[[str], None]) -> None:
    """Serve models until Ctrl-C or SIGTERM.

    Args:
        paths: model files; the first answers requests that name none.
        options: how.
        say: prints a line.

    Raises:
        OpenbookError: a file cannot be read, or an option cannot be.
    """
    options.check()
    given = {"max_batch_tokens": options.max_batch_tokens, "max_queue": options.max_queue}
    limits = BatchLimits(**{name: value for name, value in given.items() if value is not None})
    limits = replace(limits, prefix_cache_bytes=limits.prefix_cache_bytes // max(1, len(paths)))
    loader = Loader(engine=options.engine, device=options.device, limits=limits, exact=options.exact)
    registry = ModelRegistry(paths, loader, memory=options.memory, keep_alive=options.keep_alive)
    service = Service(registry, ServiceSettings(timeout=options.timeout, log_prompts=options.log_prompts))
    door = DoorSettings(keys=options.keys, hosts=LOOPBACK if options.is_local else None, origins=options.origins)
    set_up_logs()
    with listen(options.host, options.port) as listening:
        address = _address(options.host, listening.getsockname()[1])
        say(f"Serving {', '.join(registry.names)} at {address}")
        say(f'For clients of OpenAI: base_url="{address}/v1", api_key={"yours" if options.keys else "any text"}')
        say("Ctrl-C ends it.")
        run(create_app(service, door, page_routes()), listening, options.timeout)


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
