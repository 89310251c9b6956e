"""Files of conversations: what is read, what is wrong with them, and which tokens are learned."""

import json
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.training.data.conversation_files import Conversation, encode_with_answer_mask, read_conversations
from text.chat.chat_examples import TEMPLATES, chat, talk, tokenizer


def written(folder: Path, *lines: object) -> Path:
    path = folder / "talks.jsonl"
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines) + "\n")
    return path


def test_conversations_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"messages": talk(["a", "b"]), "id": 3}, "", {"prompt": "c", "answer": "d", "tools": [{"name": "f"}]},
        {"prompt": "e", "completion": "f"},
    )  # fmt: skip
    found = list(read_conversations(path))
    assert [list(each.messages) for each in found] == [talk(["a", "b"]), talk(["c", "d"]), talk(["e", "f"])]
    assert [each.variables for each in found] == [{}, {"tools": [{"name": "f"}]}, {}]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[]", "should be a JSON object"),
        ("{", "is not JSON"),
        ('{"prompt": "a"}', "the texts prompt and answer"),
        ('{"prompt": "a", "answer": "b", "response": "c"}', "the texts prompt and answer"),
        ('{"messages": []}', "a list of 1 to"),
        ('{"messages": [{"role": "assistant"}]}', "the content of message 1 should be text"),
        ('{"messages": [{"content": "x"}]}', "message 1 should have a role"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "there is no answer to learn"),
        ('{"prompt": "a", "prompt": "b", "answer": "c"}', 'the key "prompt" twice'),
        ("[" * 1000, "nested more than"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "a", "answer": "b"}, line)
    with pytest.raises(OpenbookError, match=complaint) as error:
        list(read_conversations(path))
    assert "talks.jsonl: line 2" in str(error.value)


@pytest.mark.parametrize("name", ["turns", "system first", "instructions"])
@pytest.mark.parametrize("spelled", ["", "<|im_end|> and </s>"])
def test_only_answers_are_learned(name: str, spelled: str) -> None:
    contents = ["what?", f"this {spelled}".strip(), f"and now {spelled}".strip(), "that"]
    ids, answers, _ = encode_with_answer_mask(chat(name), Conversation(tuple(talk(contents)), {}))
    assert ids == chat(name).encode(talk(contents), add_generation_prompt=False)
    learned = tokenizer().decode([number for number, answer in zip(ids, answers, strict=True) if answer])
    end = " </s>" if name == "instructions" else "<|im_end|>"
    space = " " if name == "instructions" else ""
    assert learned == f"{space}{contents[1]}{end}{space}{contents[3]}{end}"


CHANGED = "(message['content'] if loop.last or message['role'] == 'user' else '…') +"


def test_answers_that_are_rewritten_later_are_left_out() -> None:
    template = TEMPLATES["turns"].replace("message['content'] +", CHANGED)
    ids, answers, _ = encode_with_answer_mask(
        ChatTokenizer(tokenizer(), template), Conversation(tuple(talk(["a", "b", "c", "d"])), {})
    )
    assert tokenizer().decode([n for n, answer in zip(ids, answers, strict=True) if answer]) == "d<|im_end|>"
    with pytest.raises(OpenbookError, match="does not write answers behind the text that asks for them"):
        encode_with_answer_mask(
            ChatTokenizer(tokenizer(), "{{ messages | length }}"), Conversation(tuple(talk(["a", "b"])), {})
        )
