"""Calls of tools: their format is learned from templates, and they are read out of answers in any pieces."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.web.serve.grammar import GrammarTokenizer, OutputFormat
from openbook.web.serve.tool_calls import ToolCallReader
from openbook.web.serve.tool_format import ToolFormat, tool_format

SAID = "{% for m in messages %}<|turn|>{{ m.role }}: {{ m.content }}"
END = "<|end|>{% endfor %}{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
TAGGED = "{% for call in m.tool_calls or [] %}\n<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
BARE = (
    '{% for call in m.tool_calls or [] %}{"name": "{{ call.function.name }}", '
    '"parameters": {{ call.function.arguments | tojson }}}{% endfor %}'
)
LISTED = "{% if m.tool_calls %}[CALLS]{{ m.tool_calls | map(attribute='function') | list | tojson }}{% endif %}"
NAMES = frozenset({"weather", "time"})
CALLS = [("weather", {"city": "Bath"}), ("time", {})]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a"], "bytes", 258, ["<|end|>", "<|turn|>"])


def learned(tokenizer, written):
    chat = ChatTokenizer(tokenizer, TOOLS + SAID + written + END)
    try:
        return tool_format(chat)
    finally:
        chat.template.close()


def test_formats_are_learned(tokenizer):
    assert learned(tokenizer, TAGGED) == ToolFormat("<tool_call>\n", "\n</tool_call>", "name", "arguments")
    assert learned(tokenizer, BARE) == ToolFormat("", "", "name", "parameters")
    assert learned(tokenizer, LISTED) == ToolFormat("[CALLS]", "", "name", "arguments", in_list=True)
    assert learned(tokenizer, "") is None
    assert tool_format(ChatTokenizer(tokenizer, SAID + END)) is None


def answer(written, calls):
    """An answer with these calls, as a model writes it."""
    objects = [json.dumps({written.name_key: name, written.arguments_key: given}) for name, given in calls]
    if written.in_list:
        return f"{written.opening}[{', '.join(objects)}]{written.closing}"
    return "\n".join(f"{written.opening}{each}{written.closing}" for each in objects)


def read(written, pieces, **options):
    reader = ToolCallReader(written, NAMES, **options)
    text, calls = "", []
    for piece in pieces:
        more, found = reader.feed(piece)
        text += more
        calls += found
    return text + reader.flush(), [(call.name, json.loads(call.arguments)) for call in calls]


FORMATS = [
    ToolFormat("<tool_call>\n", "\n</tool_call>", "name", "arguments"),
    ToolFormat("[CALLS]", "", "name", "arguments", in_list=True),
]


@given(st.sampled_from(FORMATS), st.text("ab <{[", max_size=12), st.lists(st.integers(0, 200), max_size=8))
def test_calls_are_read_in_any_pieces(written, before, cuts):
    whole = before + answer(written, CALLS)
    places = sorted({0, *(min(cut, len(whole)) for cut in cuts), len(whole)})
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    assert read(written, pieces) == (before, CALLS)
    assert read(written, pieces, several=False) == (before, CALLS[:1])


@given(
    st.sampled_from([*FORMATS, ToolFormat("", "", "name", "parameters")]),
    st.text('ab{}[]" <tool_call>\n:', max_size=40),
)
def test_what_is_no_call_is_text(written, text):
    assert read(written, list(text)) == (text, []) or written.opening.strip() in text
    assert read(written, [text])[1] == []


def test_a_bare_call_is_the_whole_answer():
    written = ToolFormat("", "", "name", "parameters")
    assert read(written, list(answer(written, CALLS[:1]))) == ("", CALLS[:1])
    unknown = answer(written, [("nobody", {})])
    assert read(written, list(unknown)) == (unknown, [])
    assert read(written, ["Hello {", "}"]) == ("Hello {}", [])


PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Bath"]}}, "required": ["city"]}
DECLARED = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


@pytest.mark.parametrize(
    "written", [*FORMATS, ToolFormat("", "", "name", "parameters"), ToolFormat("<|turn|>", "", "name", "arguments")]
)
def test_a_grammar_accepts_calls_as_they_are_declared_and_no_others(tokenizer, written):
    vocabulary = GrammarTokenizer(tokenizer, tokenizer.vocab_size)
    right, wrong = ([("weather", {"city": city})] for city in ("Bath", "Rome"))
    special = tokenizer.special_ids

    def accepts(text, *, required):
        schema = written.call_schema(DECLARED)
        mask = vocabulary.compile(
            OutputFormat.call(written.opening, schema, written.closing, special, required=required)
        )()
        for token in tokenizer.encode(text, allow_special=True):
            if not mask.allowed()[token]:
                return False
            mask.accept(token)
        return bool(mask.allowed()[tokenizer.end_id])

    for required in (True, False):
        assert accepts(answer(written, right), required=required)
        assert not accepts(answer(written, wrong), required=required)
        assert accepts("Rain, or {so}.", required=required) != required
    if written.opening:
        assert accepts("Well: " + answer(written, right), required=False)
        assert not accepts("Well: " + answer(written, wrong), required=False)
