"""Conversations as text and tokens: equal to transformers', and nothing that people write becomes special."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from openbook.errors import OpenbookError
from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.text.chat.template import ChatTemplate
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.data.conversation_files import Conversation, encode_with_answer_mask, read_conversations
from text.text_examples import prose

NAMES = ["</s>", "<s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<pad>"]

# Each in the manner of a family of models: its markers, its loops, its tests and the filters it uses.
TEMPLATES = {
    "turns": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "system first": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message.role }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}",
    "instructions": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}"
    "{% endfor %}",
    "macros": """{%- macro turn(role, text) %}
    {{- '<|im_start|>' ~ role ~ '\n' ~ text ~ '<|im_end|>\n' }}
{%- endmacro %}
{%- set ns = namespace(seen=0, last=messages|length - 1) %}
{%- if tools %}{{- turn('system', tools | tojson(indent=2)) }}{%- endif %}
{%- for message in messages[::-1] %}{% set ns.seen = ns.seen + 1 %}{% endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{% set text = message.content %}{% else %}{% set text = '' %}{% endif %}
    {%- if message.role == 'assistant' and '</think>' in text %}
        {%- set text = text.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {% generation %}{{ turn(message.role, text) }}{% endgeneration %}
    {%- if loop.index > 30 %}{% break %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{{ ns.seen }}{%- endif %}""",
}


@cache
def tokenizer() -> Tokenizer:
    content = train_tokenizer([prose(30, 9)], "bpe", 500, NAMES).to_json()
    ids = Tokenizer.from_json(content, SpecialTokens(end=(0,))).special_ids
    special = SpecialTokens(
        end=(ids["</s>"], ids["<|im_end|>"]), beginning=ids["<s>"], padding=ids["<pad>"], prefix=(ids["<s>"],)
    )
    return Tokenizer.from_json(content, special)


@cache
def reference() -> PreTrainedTokenizerFast:
    backend = Backend.from_str(tokenizer().to_json())
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


@cache
def chat(name: str) -> ChatTokenizer:
    return ChatTokenizer(tokenizer(), TEMPLATES[name])


texts = st.text(st.sampled_from("ab <>/s|\n\t{}%é猫😀'\"\\")) | st.sampled_from(
    ["hello", " padded \n", "<think>\nhm</think>\n\nyes", "{{ bos_token }}", "{% raw %}"]
)


def talk(contents: list[str]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_and_ids_are_those_of_transformers(name: str) -> None:
    @given(st.lists(texts, min_size=1, max_size=5).map(talk), st.booleans())
    def same(messages: list[dict[str, Any]], add_generation_prompt: bool) -> None:
        if any(each in message["content"] for each in NAMES for message in messages):
            return  # there we differ on purpose, see below
        options = {"chat_template": TEMPLATES[name], "add_generation_prompt": add_generation_prompt}
        text = reference().apply_chat_template(messages, tokenize=False, **options)
        assert chat(name).render(messages, add_generation_prompt=add_generation_prompt)[0] == text
        ids = reference()(text, add_special_tokens=False)["input_ids"]
        assert chat(name).encode(messages, add_generation_prompt=add_generation_prompt) == ids
        assert ids.count(tokenizer().special.beginning) <= 1

    same()


def test_tools_and_a_system_message() -> None:
    messages = [{"role": "system", "content": "be brief"}, *talk(["hi"])]
    tools = [{"type": "function", "function": {"name": "é", "parameters": {"a": [1, None, True]}}}]
    for name in ("turns", "system first", "macros"):
        expected = reference().apply_chat_template(
            messages, tools=tools, tokenize=False, chat_template=TEMPLATES[name], add_generation_prompt=True
        )
        assert chat(name).render(messages, tools=tools)[0] == expected
    with pytest.raises(OpenbookError, match="refuses the conversation: TemplateError: roles must alternate"):
        chat("instructions").encode(messages)


@given(st.lists(st.sampled_from([*NAMES, "a", " ", "<|im_", "end|>", "\n"]), max_size=6).map("".join))
def test_what_people_spell_stays_text(spelled: str) -> None:
    talks = chat("turns")
    ids = talks.encode(talk([spelled]))
    special = set(tokenizer().special_ids.values())
    assert [number for number in ids if number in special] == [
        tokenizer().special_ids[name] for name in ("<|im_start|>", "<|im_end|>", "<|im_start|>")
    ]
    assert tokenizer().decode(ids) == f"<|im_start|>user\n{spelled}<|im_end|>\n<|im_start|>assistant\n"
    if not any(name in spelled for name in NAMES):
        assert ids == tokenizer().encode(tokenizer().decode(ids), allow_special=True)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than 1 seconds"),
        ("{{ 'a' * 10 ** 10 }}", "MemoryError"),
        ("{{ 'ab' * 6000000 }}", "writes more than 8,000,000 characters"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
        (
            "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "Memory|more than 1 s",
        ),
        ("{{ '%99999999999d' % 1 }}", "MemoryError"),
        ("{% include '/etc/passwd' %}", "TypeError|no loader"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ undefined.attribute }}", "UndefinedError"),
    ],
)
def test_hostile_templates_end_soon(template: str, complaint: str) -> None:
    hostile = ChatTemplate(template, {}, seconds=1)
    with pytest.raises(OpenbookError, match=complaint):  # else it would have no end
        hostile.render(talk(["hi"]))
    with pytest.raises(OpenbookError, match=complaint):  # and again, after its process was ended
        hostile.render(talk(["hi"]))


def test_conversations_have_a_greatest_length() -> None:
    with pytest.raises(OpenbookError, match="8,000,000 are allowed"):
        chat("turns").encode(talk(["x" * 8_000_001]))


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
    ids, answers = encode_with_answer_mask(chat(name), Conversation(tuple(talk(contents)), {}))
    assert ids == chat(name).encode(talk(contents), add_generation_prompt=False)
    learned = tokenizer().decode([number for number, answer in zip(ids, answers, strict=True) if answer])
    end = " </s>" if name == "instructions" else "<|im_end|>"
    space = " " if name == "instructions" else ""
    assert learned == f"{space}{contents[1]}{end}{space}{contents[3]}{end}"


CHANGED = "(message['content'] if loop.last or message['role'] == 'user' else '…') +"


def test_answers_that_are_rewritten_later_are_left_out() -> None:
    template = TEMPLATES["turns"].replace("message['content'] +", CHANGED)
    ids, answers = encode_with_answer_mask(
        ChatTokenizer(tokenizer(), template), Conversation(tuple(talk(["a", "b", "c", "d"])), {})
    )
    assert tokenizer().decode([n for n, answer in zip(ids, answers, strict=True) if answer]) == "d<|im_end|>"
    with pytest.raises(OpenbookError, match="does not write answers behind the text that asks for them"):
        encode_with_answer_mask(
            ChatTokenizer(tokenizer(), "{{ messages | length }}"), Conversation(tuple(talk(["a", "b"])), {})
        )


@pytest.mark.parametrize("name", ["turns", "system first", "instructions"])
@pytest.mark.parametrize("prompt", ["what can you do", "  padded  ", "<|im_end|> is text", "assistant", "user"])
def test_the_places_of_what_the_template_wrote(name: str, prompt: str) -> None:
    talker = chat(name)
    ids, places = talker.encode(talk([prompt])), talker.template_token_indices(prompt)
    assert 0 < len(places) < len(ids)
    own = [token for place, token in enumerate(ids) if place not in places]
    assert talker.tokenizer.decode(own).strip() == prompt.strip()
