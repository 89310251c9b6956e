"""Conversations: through the template, with all that was said before, stopped by Ctrl-C."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from openbook.cli import chat as talking
from openbook.errors import OpenbookError
from openbook.generation.text import stream
from openbook.model import Model
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.data.conversation_files import read_conversations
from openbook.training.recipe import build_architecture
from strategies import build as build_model
from training.training_examples import recipe

TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
)
VOCABULARY = 258


def make(template: str | None = TEMPLATE) -> Model:
    content = train_tokenizer(["a"], "bytes", VOCABULARY, ["<|end|>", "<|turn|>"]).to_json()
    spec = build_architecture(recipe(vocab_size=VOCABULARY, context=400, batch_tokens=400))
    contents = ModelMetadata(
        architecture=spec,
        tokenizer=content,
        special_tokens=SpecialTokens(end=(256,)),
        chat_template=template,
        generation={"temperature": 0.0, "max_tokens": 4},
    )
    torch.manual_seed(0)
    return Model(contents, build_model(spec))


class Recording:
    """Stands before an engine and writes down what it is asked."""

    def __init__(self, engine: object) -> None:
        self.engine, self.prompts = engine, []

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def prefill(self, prompts: list[list[int]], *rest: object) -> object:
        self.prompts += prompts
        return self.engine.prefill(prompts, *rest)


def recorded(model: Model) -> Recording:
    model.engine = Recording(model.engine)
    return model.engine


def read(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids)


def test_a_model_is_asked_through_its_template() -> None:
    model = make()
    engine = recorded(model)
    model.ask("hi <|end|>")
    assert read(model.tokenizer, engine.prompts[-1]) == "<|turn|>user: hi <|end|><|end|><|turn|>assistant: "
    assert engine.prompts[-1].count(256) == 1
    model.ask("hi", raw=True)
    assert read(model.tokenizer, engine.prompts[-1]) == "hi"
    without = make(None)
    engine = recorded(without)
    without.ask("hi")
    assert read(without.tokenizer, engine.prompts[-1]) == "hi"


def lines(monkeypatch: pytest.MonkeyPatch, *said: str | type[BaseException]) -> None:
    coming: Iterator[str | type[BaseException]] = iter([*said, EOFError])

    def answer(prompt: str = "") -> str:
        each = next(coming)
        if isinstance(each, str):
            return each
        raise each

    monkeypatch.setattr("builtins.input", answer)


def test_a_conversation_remembers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = make()
    engine = recorded(model)
    lines(monkeypatch, "one", "", "two")
    talking.hold_conversation(model, "brief", max_tokens=2)
    first, second = (read(model.tokenizer, ids) for ids in engine.prompts[-2:])
    assert first == "<|turn|>system: brief<|end|><|turn|>user: one<|end|><|turn|>assistant: "
    assert second.startswith(first) and second.endswith("<|end|><|turn|>user: two<|end|><|turn|>assistant: ")
    answers = capsys.readouterr().out.split("\n")
    assert answers[0] == second[len(first) :].split("<|end|>")[0]


def test_ctrl_c_stops_an_answer_and_keeps_the_conversation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make()
    engine = recorded(model)
    lines(monkeypatch, "one", "two", KeyboardInterrupt)
    stopped = []

    def stopping(*given: object, **named: object) -> Iterator[object]:
        for number, chunk in enumerate(stream(*given, **named)):
            if number == 1 and not stopped:
                stopped.append(True)
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr("openbook.model.stream", stopping)
    talking.hold_conversation(model)
    assert stopped and " …\n" in capsys.readouterr().out
    assert "user: one" in read(model.tokenizer, engine.prompts[-1])
    assert "user: two" in read(model.tokenizer, engine.prompts[-1])


def test_what_does_not_fit_is_left_out_from_the_oldest_on() -> None:
    model = make()
    engine = recorded(model)
    context = model.metadata.architecture.context
    said = [{"role": ("user", "assistant")[i % 2], "content": f"{i}:" + "x" * (context // 4)} for i in range(5)]
    list(model.reply([{"role": "system", "content": "s"}, *said], max_tokens=1))
    text = read(model.tokenizer, engine.prompts[0])
    assert len(engine.prompts[0]) <= context
    assert text.startswith("<|turn|>system: s<|end|><|turn|>user: ") and "user: 4:" in text and "0:" not in text


@pytest.mark.parametrize("messages", ["Hello", b"Hello", {"role": "user"}, ["Hello"], [{"content": "Hello"}], None])
def test_what_is_no_list_of_messages_is_refused(messages: Any) -> None:
    with pytest.raises(OpenbookError, match=r"^messages: give a list of them"):
        make().reply(messages)


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(OpenbookError, match="has no chat template"):
        talking.hold_conversation(make(None))


def test_commands_steer_a_conversation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = make()
    engine = recorded(model)
    saved, lost = tmp_path / "chat.jsonl", tmp_path / "none" / "chat.jsonl"
    lines(monkeypatch, "one", "/reset", "two", f"/save {saved}", f"/save {saved}", f"/save {lost}", "/save", "/system",
          "/system be brief", "/system", "/restet", "/usr/bin", "/exit", "never")  # fmt: skip
    talking.hold_conversation(model, "be kind", max_tokens=1)
    asked = [read(model.tokenizer, ids) for ids in engine.prompts]
    assert [text.split("<|end|>")[0] for text in asked] == [
        "<|turn|>system: be kind", "<|turn|>system: be kind", "<|turn|>system: be brief"
    ]  # fmt: skip
    assert "one" not in asked[1] and "user: /usr/bin" in asked[2]
    (conversation,) = read_conversations(saved)
    assert [each["role"] for each in conversation.messages] == ["system", "user", "assistant"]
    assert capsys.readouterr().err.splitlines() == [
        "openbook: the conversation begins again",
        f"openbook: {saved}: 3 messages",
        f"openbook: {saved}: exists; give another name",
        f"openbook: {lost}: the folder {lost.parent} does not exist; make it first",
        "openbook: /save takes the name of a file, as in: /save chat.jsonl",
        "openbook: the system prompt is: be kind",
        "openbook: the conversation begins again, with this system prompt",
        "openbook: the system prompt is: be brief",
        "openbook: /restet is no command; did you mean reset? (with a space before it, it is a message)",
    ]


def test_a_terminal_is_told_how_to_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines(monkeypatch, "/help")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    talking.hold_conversation(make())
    greeting, *helped = capsys.readouterr().out.strip().splitlines()
    assert "/exit or Ctrl-D ends" in greeting
    assert [line.split()[0] for line in helped] == ["/help", "/reset", "/system", "/save", "/exit"]


def test_what_cannot_be_answered_leaves_the_conversation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = "{% if 'one' in messages[-1].content %}{{ raise_exception('not this') }}{% endif %}"
    model = make(refusing + TEMPLATE)
    engine = recorded(model)
    lines(monkeypatch, "one", "two")
    talking.hold_conversation(model, max_tokens=1)
    assert [read(model.tokenizer, ids) for ids in engine.prompts] == ["<|turn|>user: two<|end|><|turn|>assistant: "]
    assert "not this" in capsys.readouterr().err
