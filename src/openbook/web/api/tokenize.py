"""Tokens of a text and back, as vLLM has them; lm-eval's remote tokenizer asks for nothing else."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from openbook.text.chat.chat_tokenizer import clean_messages
from openbook.web.api.openai.chat import ChatBody, Message, Tool
from openbook.web.api.openai.errors import error_body, error_event
from openbook.web.serve.bodies import LONG, MANY, Body
from openbook.web.serve.errors import bad_request
from openbook.web.serve.loaded import LoadedModel
from openbook.web.serve.prompts import ChatPrompt, encode_prompt
from openbook.web.serve.responses import json_response
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["Tokens"])

Name = Annotated[str, Field(min_length=1, max_length=256)]


class TokenizeBody(Body):
    """A text or a conversation to tokenize; names of special tokens in a text mean those tokens.

    Attributes:
        add_special_tokens: begin a text with the tokens that every prompt begins with; if absent, they are there. A
            conversation has what its template writes.
        add_generation_prompt: end a conversation where the answer begins.
        continue_final_message: end it within its last message, the assistant's.
        return_token_strs: give each token's text too.
    """

    model: Name | None = None
    prompt: Annotated[str, Field(max_length=LONG)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MANY)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MANY)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(Body):
    """Tokens whose text is wanted."""

    model: Name | None = None
    tokens: Annotated[list[Annotated[int, Field(ge=0, lt=2**24)]], Field(max_length=2**20)]


@router.post("/tokenize")
async def tokenize(body: TokenizeBody, request: Request) -> Response:
    """The tokens of a text or a conversation."""
    if (body.prompt is None) == (body.messages is None):
        raise bad_request("prompt: give a text, or messages instead", "prompt")
    _check_fields(body)
    model = await service_of(request).model(body.model)
    ids = await asyncio.to_thread(_ids, model, body)
    texts = [model.tokenizer.token_text(each) for each in ids] if body.return_token_strs else None
    context = model.metadata.architecture.context
    return json_response({"count": len(ids), "max_model_len": context, "tokens": ids, "token_strs": texts})


@router.post("/detokenize")
async def detokenize(body: DetokenizeBody, request: Request) -> Response:
    """The text of tokens."""
    model = await service_of(request).model(body.model)
    return json_response({"prompt": await asyncio.to_thread(model.tokenizer.decode, body.tokens)})


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, model: Name | None = None) -> Response:
    """The special tokens of a model's tokenizer by their roles, and its chat template."""
    loaded = await service_of(request).model(model)
    tokenizer = loaded.tokenizer
    named = {role: tokenizer.token_text(number) for role, number in tokenizer.special.named_roles().items()}
    roles: dict[str, Any] = {"bos_token": None, "eos_token": None, "pad_token": None, "unk_token": None}
    beside = {"chat_template": loaded.metadata.chat_template, "model_max_length": loaded.metadata.architecture.context}
    return json_response({"tokenizer_class": "PreTrainedTokenizerFast", **roles, **named, **beside, "model": loaded.id})


def _check_fields(body: TokenizeBody) -> None:
    """Refuse the fields of conversations beside a text."""
    if body.messages is None:
        for name in ("tools", "add_generation_prompt", "continue_final_message"):
            if getattr(body, name):
                raise bad_request(f"{name}: is for messages; leave it out", name)
    elif body.add_generation_prompt and body.continue_final_message:
        raise bad_request(
            "continue_final_message: or add_generation_prompt; give one of them", "continue_final_message"
        )


def _ids(model: LoadedModel, body: TokenizeBody) -> list[int]:
    if body.prompt is not None:
        prefixed = body.add_special_tokens is not False
        encode = model.tokenizer.encode_prompt if prefixed else model.tokenizer.encode
        return encode(body.prompt, allow_special=True)
    given = {"messages": body.messages, "tools": body.tools, "continue_final_message": body.continue_final_message}
    conversation = ChatBody.model_validate(given).conversation()
    begins = body.add_generation_prompt is not False or bool(body.continue_final_message)
    chat = model.model.chat
    return list(encode_prompt(model, conversation).ids) if begins or chat is None else _ended(chat, conversation)


def _ended(chat: Any, conversation: ChatPrompt) -> list[int]:
    """A conversation without the beginning of an answer after it."""
    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    ids: list[int] = chat.encode(clean_messages(conversation.messages), add_generation_prompt=False, **tools)
    return ids


SHAPE = Shape(
    name="tokens",
    router=router,
    paths=("/tokenize", "/detokenize", "/tokenizer_info"),
    error_body=error_body,
    error_event=error_event,
)
