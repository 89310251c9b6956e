"""Bodies for a server that are nearly right: fields of all shapes, values of all kinds, some that are no JSON."""

import json
import random
from typing import Any

TEXTS = ["", "x", "It is a truth", "é漢字🙂", "\x00\x1b[31m", "<|end|>", "a" * 3000, "\ud800", "STOP", " " * 50]
NUMBERS = [0, 1, 2, 3, 5, -1, 0.5, 1.0, 2.5, 100, 1e-9, 1e300, 2**31, 2**63, -(2**63), 10**30]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], {"type": "text"}, [1, 2, 3], ["a", "b"], [[1], [2, 3]]]

MESSAGES = {
    "role": ["user", "assistant", "system", "tool", "developer", "nobody"],
    "content": [*TEXTS, [{"type": "text", "text": "x"}], [{"type": "image_url"}], None],
}
SCHEMAS: list[Any] = [
    {},
    {"type": "object"},
    {"type": "nothing"},
    {"const": "x"},
    {"$ref": "#"},
    {"enum": [1, "a", None]},
    True,
    5,
    {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
    {"pattern": "(", "type": "string"},
]
TOOLS: list[Any] = [[{"type": "function", "function": {"name": "f", "parameters": schema}}] for schema in SCHEMAS] + [
    [{"type": "function"}],
    [{"name": "f", "input_schema": {"type": "object"}}],
]

COMMON: dict[str, list[Any]] = {
    "max_tokens": [1, 2, 3, 5, 8, 0, -1],
    "temperature": [0, 0.7, 2, -1],
    "top_p": [0, 0.5, 1, 2],
    "top_k": [1, 5, 0],
    "min_p": [0, 0.5],
    "seed": [0, 5, -1],
    "n": [1, 2, 5, 0],
    "stop": [*TEXTS, TEXTS[1:4]],
    "stream": [True, False],
    "logit_bias": [{"5": 1}, {"x": 1}, {"5": 1000}, {"999999": 1}],
    "presence_penalty": [0, 1, -2],
    "frequency_penalty": [0, 1, -2],
    "repetition_penalty": [1, 1.5, 0],
    "stream_options": [{"include_usage": True}],
    "response_format": [
        {"type": "json_object"},
        *({"type": "json_schema", "json_schema": {"schema": schema}} for schema in SCHEMAS),
    ],
    "best_of": [1, 2, 3],
    "beam_size": [1, 2, 4],
    "min_tokens": [0, 2],
    "user": TEXTS,
    "metadata": [{"a": "b"}],
}

PATHS: dict[str, dict[str, list[Any]]] = {
    "/v1/completions": COMMON | {"prompt": [*TEXTS, *OTHERS], "echo": [True, False], "logprobs": [0, 1, 5, 200]},
    "/v1/chat/completions": COMMON
    | {
        "logprobs": [True, False],
        "top_logprobs": [0, 3, 200],
        "tools": TOOLS,
        "tool_choice": ["auto", "required", "none"],
        "continue_final_message": [True],
    },
    "/v1/responses": {
        "input": [*TEXTS, *OTHERS],
        "max_output_tokens": [1, 3, 8],
        "temperature": [0, 1],
        "stream": [True],
    },
    "/v1/messages": {
        "max_tokens": [1, 3, 8],
        "system": TEXTS,
        "stop_sequences": [TEXTS[1:4]],
        "stream": [True, False],
        "temperature": [0, 1],
        "tools": TOOLS,
    },
    "/api/chat": {
        "stream": [True, False],
        "options": [{"num_predict": 3}, {"seed": 1, "num_predict": 2}],
        "format": SCHEMAS,
    },
    "/api/generate": {"prompt": TEXTS, "stream": [True, False], "options": [{"num_predict": 3}], "raw": [True]},
    "/translate": {
        "q": [*TEXTS, TEXTS[:3]],
        "source": ["en", "auto", "xx"],
        "target": ["de", "xx"],
        "format": ["text"],
    },
    "/tokenize": {"prompt": [*TEXTS, *OTHERS], "add_special_tokens": [True, False]},
    "/detokenize": {"tokens": [*OTHERS, [10**9]]},
}
CHATS = ("/v1/chat/completions", "/v1/messages", "/api/chat")


def bodies(chosen: random.Random) -> tuple[str, bytes]:
    """A path and a body for it: most fields as they should be, some of another kind, now and then damaged."""
    path = chosen.choice(list(PATHS))
    fields = PATHS[path]
    names = chosen.sample(sorted(fields), chosen.randint(0, min(6, len(fields))))
    body = {name: chosen.choice(fields[name]) for name in names}
    if path in CHATS:
        body["messages"] = [
            {name: chosen.choice(values) for name, values in MESSAGES.items()} for _ in range(chosen.randint(0, 4))
        ]
    if path.startswith("/v1/"):
        body.setdefault("max_tokens" if path != "/v1/responses" else "max_output_tokens", 4)
    if path == "/v1/completions":
        body.setdefault("prompt", "x")
    while chosen.random() < 0.3:
        body[chosen.choice([*fields, "model", "nonsense"])] = chosen.choice([*NUMBERS, *TEXTS, *OTHERS])
    content = json.dumps(body).encode()
    if chosen.random() < 0.05:
        place = chosen.randrange(len(content))
        content = content[:place] + bytes([chosen.randrange(256)]) + content[place + chosen.randint(0, 3) :]
    return path, content
