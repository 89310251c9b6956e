"""`openbook inspect`: show what a model file includes."""

from openbook.cli.arguments import JSON, MODEL
from openbook.text.output import write
from openbook.text.printable import json_line


def inspect(model: MODEL, as_json: JSON = False) -> None:
    """Show what a model file includes: architecture, parameters, tokenizer, training record.

    [bold]Examples[/bold]

      openbook inspect austen.openbook
      openbook inspect austen.openbook --json | jq '.parts[].tensors[] | [.name, .shape, .offset]'
    """
    from openbook.generation.engines.registry import choose_device_and_engine
    from openbook.model_file.display import render
    from openbook.model_file.inspection import describe
    from openbook.text.terminal import Terminal

    description = describe(model)
    _, choice = choose_device_and_engine()
    description["engine"] = {"name": choice.name, "why": choice.why}
    if as_json:
        write(json_line(description))
    else:
        render(description, Terminal())
