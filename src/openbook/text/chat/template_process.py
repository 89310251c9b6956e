"""The process that renders a chat template; see `template.py`. It reads and writes JSON, one line each way.

The first line is empty, the second holds the template, each later one a conversation. Limits on the process stop what
the sandbox does not, and the parent kills it when it is late.
"""

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MAXIMUM_MEMORY = 1 << 30
"""Bytes."""
CPU_SECONDS = 60
"""For one conversation."""
MAXIMUM_CHARACTERS = 8_000_000
"""That a template may write."""


class Generation(Extension):
    """`{% generation %} … {% endgeneration %}`, which marks the model's answer: its content, unchanged."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """See jinja2.ext.Extension."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(template: str) -> jinja2.Template:
    """The template with the functions and filters that chat templates rely on."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment.from_string(template)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes it for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> NoReturn:
    """What a template calls for a conversation that it refuses."""
    raise jinja2.TemplateError(message)


def render(template: jinja2.Template, variables: dict[str, Any]) -> str:
    """The text that a template writes. Raises ValueError if it is too long."""
    parts, length = [], 0
    for part in template.generate(**variables):
        length += len(part)
        if length > MAXIMUM_CHARACTERS:
            raise ValueError(f"it writes more than {MAXIMUM_CHARACTERS:,} characters")
        parts.append(part)
    return "".join(parts)


def limit_memory() -> None:
    """Limit the memory of this process, where the system can."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (MAXIMUM_MEMORY, MAXIMUM_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time() -> None:
    """End this process if it computes for longer from now on: the parent may be gone."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer each line of standard input until it ends."""
    limit_memory()
    template: jinja2.Template | None = None
    not_compiled: dict[str, Any] = {}
    for line in sys.stdin.buffer:
        limit_time()
        request = json.loads(line)
        reply: dict[str, Any]
        try:
            if "template" in request:
                template = compile_template(request["template"])
            reply = not_compiled
            if template is not None and "variables" in request:
                reply = {"text": render(template, request["variables"])}
        except (Exception, RecursionError, MemoryError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:1000]}
            if template is None:
                reply = not_compiled = reply | {"compiling": True}
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
