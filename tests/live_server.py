"""`openbook serve` in a process of its own, with tiny models, for tests that speak to it as clients do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from generation.translators import architecture
from generation.translators import tokenizer as translating_tokenizer
from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import build_architecture
from openbook.transformer.transformer import Transformer
from strategies import build, randomise
from training.training_examples import recipe

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune must want a wife. "
TEMPLATE = (
    "<|begin|>{% if tools %}<|turn|>tools: {{ tools | tojson }}<|end|>{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}: {{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
)
CONTEXT = 65_536
"""Long enough for an answer that is still being written when its client goes."""
STARTS = 120
"""Seconds for a server to be ready, on a busy machine."""


def write_language_model(path: Path, template: str | None = None, seed: int = 0) -> Path:
    """A language model of random weights, with a chat template or without; each text begins with <|begin|>."""
    learned = train_tokenizer([TEXT * 20], "bpe", 320, ["<|end|>", "<|turn|>", "<|begin|>"])
    begin = learned.special_ids["<|begin|>"]
    spec = build_architecture(recipe(vocab_size=learned.vocab_size, context=CONTEXT, batch_tokens=CONTEXT))
    metadata = ModelMetadata(
        architecture=spec,
        tokenizer=learned.to_json(),
        special_tokens=replace(learned.special, beginning=begin, prefix=(begin,)),
        chat_template=template,
        generation={"temperature": 0.0, "max_tokens": 8},
    )
    save(path, metadata, build(spec, seed).state_dict())
    return path


def write_translator(path: Path) -> Path:
    """An encoder-decoder of random weights."""
    learned = translating_tokenizer()
    spec = architecture(learned.vocab_size)
    torch.manual_seed(0)
    model = Transformer(spec)
    randomise(model)
    metadata = ModelMetadata(architecture=spec, tokenizer=learned.to_json(), special_tokens=learned.special)
    save(path, metadata, model.state_dict())
    return path


@dataclass
class LiveServer:
    """A server that runs.

    Attributes:
        url: where, without a slash at the end.
        process: its process.
        models: the files that it serves, by name.
        log: the file that gets its standard error.
        key: that it wants, if any.
    """

    url: str
    process: "subprocess.Popen[str]"
    models: dict[str, Path]
    log: Path
    key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path, body=None, *, method=None, headers=None, timeout=60):
        """Status, headers and body of an answer; a body that is JSON is read."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json", **self.headers, **(headers or {})}
        request = urllib.request.Request(self.url + path, data, given, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.status, answer.headers, json.loads(content) if is_json and content else content

    def events(self, path, body):
        """The data of all events of a stream, the last one included."""
        status, _, content = self.ask(path, body)
        assert status == 200, content
        return [line.removeprefix("data: ") for line in content.decode().split("\n") if line.startswith("data: ")]

    def opened(self, path, body):
        """A connection on which this request has been sent."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=60)
        content = json.dumps(body).encode()
        given = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{given}content-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        return connection

    def gauge(self, name, model):
        """A number of /metrics."""
        text = self.ask("/metrics")[2].decode()
        return float(re.search(rf'^{name}\{{model="{model}"\}} (\S+)$', text, re.MULTILINE)[1])

    def records(self):
        """The lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def record_of(self, request_id):
        """The log's line about a request that has ended."""
        self.wait_until(lambda: f'"{request_id}"' in self.log.read_text(), "no line in the log")
        return next(each for each in self.records() if each.get("id") == request_id)

    def wait_until(self, is_so, what):
        """Wait as long as a slow machine may take; what never comes fails."""
        deadline = time.monotonic() + STARTS
        while not is_so():
            assert time.monotonic() < deadline, what
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)


@contextmanager
def serving(folder: Path, *models: Path, options=(), environment=None):
    """`openbook serve` on a free port of this machine, ready to answer."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "openbook", "serve", *map(str, models), "--port", "0", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
        )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line + log.read_text()
        server = LiveServer(found[0], process, {path.stem: path for path in models}, log)
        if "--api-key" in options:
            server.key = options[options.index("--api-key") + 1]
            server.headers = {"authorization": f"Bearer {server.key}"}
        server.wait_until(lambda: server.ask("/ready")[0] == 200, "the server is not ready")
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
