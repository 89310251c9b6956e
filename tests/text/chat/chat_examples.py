"""Chat templates in the manner of several families, with a small tokenizer for them."""

from functools import cache
from typing import Any

from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
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
def chat(name: str) -> ChatTokenizer:
    return ChatTokenizer(tokenizer(), TEMPLATES[name])


def talk(contents: list[str]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
