"""The process in which a chat template runs; see `chat.py`. Standard input and output: JSON, a line each way.

The first line is the template, those after it conversations. What the sandbox does not stop, the limits of the
process do, and whoever started it ends it when it is late.
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

MEMORY = 1 << 30
"""Bytes that the process may have."""
PROCESSOR_SECONDS = 60
"""For one conversation."""
LONGEST = 8_000_000
"""Characters that a template may write."""


class Generation(Extension):
    """`{% generation %} … {% endgeneration %}`, which marks what the model says: its content as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """See jinja2.ext.Extension."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compiled(template: str) -> jinja2.Template:
    """The template with the functions and filters that templates of chats rely on."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment.from_string(template)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as programs write it; Jinja's own filter escapes it for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> NoReturn:
    """What a template calls for a conversation that it does not take."""
    raise jinja2.TemplateError(message)


def render(template: jinja2.Template, variables: dict[str, Any]) -> str:
    """The text that a template writes. Raises ValueError where it is too long."""
    parts, length = [], 0
    for part in template.generate(**variables):
        length += len(part)
        if length > LONGEST:
            raise ValueError(f"it writes more than {LONGEST:,} characters")
        parts.append(part)
    return "".join(parts)


def limit_memory() -> None:
    """Give this process only so much memory, where the system can."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time() -> None:
    """End this process if it works for longer from now on: whoever started it may be gone."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + PROCESSOR_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer each line of standard input until it ends."""
    limit_memory()
    template: jinja2.Template | None = None
    fault = ""
    for line in sys.stdin.buffer:
        limit_time()
        asked = json.loads(line)
        reply: dict[str, Any]
        try:
            if "template" in asked:
                reply = {"ready": True}
                template = compiled(asked["template"])
            elif template is None:
                reply = {"error": fault}
            else:
                reply = {"text": render(template, asked["variables"])}
        except (Exception, RecursionError, MemoryError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:1000]}
            fault = fault or reply["error"]
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
