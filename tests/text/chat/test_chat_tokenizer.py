"""Conversations as text and tokens: equal to transformers', and nothing that people write becomes special."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from openbook.errors import OpenbookError
from openbook.text.chat.template import ChatTemplate
from text.chat.chat_examples import NAMES, TEMPLATES, chat, talk, tokenizer


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


texts = st.text(st.sampled_from("ab <>/s|\n\t{}%é猫😀'\"\\")) | st.sampled_from(
    ["hello", " padded \n", "<think>\nhm</think>\n\nyes", "{{ bos_token }}", "{% raw %}"]
)


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
        ("{% set n = 6000000 %}{{ 'ab' * n }}", "writes more than 8,000,000 characters"),
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
        ("{% if %}", "cannot be compiled: TemplateSyntaxError"),
        ("{{ 1" + "+1" * 1_000_000 + " }}", "more than 1 s|too much memory"),
        ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "cannot be compiled: RecursionError"),
        ("{{ undefined.attribute }}", "UndefinedError"),
    ],
)
def test_hostile_templates_end_soon(template: str, complaint: str) -> None:
    hostile = ChatTemplate(template, {}, seconds=1)
    with pytest.raises(OpenbookError, match=complaint):  # else it would have no end
        hostile.render(talk(["hi"]))
    with pytest.raises(OpenbookError, match=complaint):  # and again, after its process was ended
        hostile.render(talk(["hi"]))


def test_compiling_a_template_tells_what_is_wrong_with_it() -> None:
    with pytest.raises(OpenbookError, match="cannot be compiled: TemplateSyntaxError"):
        ChatTemplate("{% for %}", {}).check()
    sound = ChatTemplate("{{ raise_exception('no') }}", {})
    sound.check()
    sound.check()
    with pytest.raises(OpenbookError, match="refuses the conversation: TemplateError: no"):
        sound.render(talk(["hi"]))


def test_conversations_have_a_greatest_length() -> None:
    with pytest.raises(OpenbookError, match="8,000,000 are allowed"):
        chat("turns").encode(talk(["x" * 8_000_001]))


@pytest.mark.parametrize("name", ["turns", "system first", "instructions"])
@pytest.mark.parametrize("prompt", ["what can you do", "  padded  ", "<|im_end|> is text", "assistant", "user"])
def test_the_tokens_that_the_template_wrote(name: str, prompt: str) -> None:
    talker = chat(name)
    ids, written = talker.encode(talk([prompt])), talker.template_token_indices(prompt)
    assert 0 < len(written) < len(ids)
    own = [token for index, token in enumerate(ids) if index not in written]
    assert talker.tokenizer.decode(own).strip() == prompt.strip()
