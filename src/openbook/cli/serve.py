"""`openbook serve`: models behind the APIs that people's tools already speak."""

import os
from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import DEVICE, ENGINE, parse_size
from openbook.cli.sign_of_life import waiting_for_input
from openbook.errors import OpenbookError
from openbook.text.output import write

KEY_VARIABLE = "OPENBOOK_API_KEY"
DOOR, LIMITS, MODELS = "Who may use it", "How much", "Models"


def serve(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...", help="model files; the first answers where no model is named", show_default=False
        ),
    ],
    host: Annotated[
        str, typer.Option(help="the address to listen on; 0.0.0.0 is every machine", rich_help_panel=DOOR)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one", rich_help_panel=DOOR)] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help=f"the key that clients must send; may be given several times (or set {KEY_VARIABLE})",
            show_default=False,
            rich_help_panel=DOOR,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="a web page elsewhere that may use the server, such as http://localhost:3000",
            show_default=False,
            rich_help_panel=DOOR,
        ),
    ] = None,
    max_batch_tokens: Annotated[
        int | None,
        typer.Option(
            help="most tokens of all answers under way, prompts and room to answer together", rich_help_panel=LIMITS
        ),
    ] = None,
    max_queue: Annotated[
        int | None, typer.Option(help="most requests that wait; more get 429", rich_help_panel=LIMITS)
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            help="seconds that an answer may take, and have left when the server ends", rich_help_panel=LIMITS
        ),
    ] = 600.0,
    memory: Annotated[
        str | None,
        typer.Option(
            help="that model files in memory may take, such as 6GB; idle ones leave first (default: three quarters)",
            show_default=False,
            rich_help_panel=MODELS,
        ),
    ] = None,
    keep_alive: Annotated[
        float | None,
        typer.Option(
            help="seconds without a request after which a model leaves memory (default: never)",
            show_default=False,
            rich_help_panel=MODELS,
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="an answer is the same to the bit in any batch, with engines too that do not promise it; slower there",
            rich_help_panel=MODELS,
        ),
    ] = False,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="write prompts to the log, too")] = False,
    device: DEVICE = "auto",
    engine: ENGINE = "auto",
) -> None:
    """Serve models on this machine: a page to talk, and the APIs that your tools speak already.

    The clients of OpenAI, Anthropic, Ollama and LibreTranslate work as they are; they only need the address. Many
    requests are answered together, and an answer is the same alone or among others. The log, a line of JSON for each
    request, goes to standard error.

    [bold]Examples[/bold]

      openbook serve austen.openbook                     then open http://127.0.0.1:8000
      openbook serve austen.openbook en-de.openbook      several models, by the names of their files
      openbook serve austen.openbook --port 0 --max-queue 16
      openbook serve austen.openbook --host 0.0.0.0 --api-key SECRET     for other machines, too
      openbook serve austen.openbook --allow-origin http://localhost:3000

    [bold]In Python[/bold]

      from openai import OpenAI
      client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="any")
      client.completions.create(model="austen", prompt="It is a truth", max_tokens=40)

    [bold]In the shell[/bold]

      curl http://127.0.0.1:8000/v1/completions -d '{"prompt": "It is a truth", "max_tokens": 40}'
      curl http://127.0.0.1:8000/translate -d '{"q": "A man sleeps.", "source": "en", "target": "de"}'
    """
    try:
        from openbook.web.serving import ServerOptions, serve_models
    except ModuleNotFoundError as error:
        raise OpenbookError(f"serving needs the package {error.name}: pip install 'openbook[serve]'") from None
    from openbook.training.plan.machine import machine_memory

    from_environment = os.environ.get(KEY_VARIABLE)
    options = ServerOptions(
        host=host,
        port=port,
        keys=api_key or ([from_environment] if from_environment else []),
        origins=allow_origin or (),
        max_batch_tokens=max_batch_tokens,
        max_queue=max_queue,
        timeout=timeout,
        keep_alive=keep_alive,
        memory=machine_memory() * 0.75 if memory is None else parse_size("--memory", memory),
        engine=engine,
        device=device,
        exact=exact,
        log_prompts=log_prompts,
    )
    with waiting_for_input():
        serve_models(models, options, write)
