"""LibreTranslate's shape: sentences and texts through the served translators."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.web.serve.bodies import MANY, Body
from openbook.web.serve.errors import bad_request
from openbook.web.serve.generation import Result
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.prompts import SourcePrompt
from openbook.web.serve.registry import ModelRegistry
from openbook.web.serve.request import GenerationRequest
from openbook.web.serve.responses import json_response, whole
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["LibreTranslate"])

UNNAMED = ("source", "target")
"""The codes of a translator that does not say which languages it knows."""
BEAMS = 5
FORM = "application/x-www-form-urlencoded"
_PAIR = re.compile(r"([a-z]{2,3})[-_]([a-z]{2,3})(?![a-z])")

NAMES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
    "source": "Source",
    "target": "Target",
}

Text = Annotated[str, Field(max_length=2**20)]
Code = Annotated[str, Field(min_length=1, max_length=100)]


class TranslateBody(Body):
    """Texts to translate, line by line; source "auto" where there is one language to read."""

    q: Text | Annotated[list[Text], Field(min_length=1, max_length=MANY)]
    source: Code
    target: Code
    format: Literal["text"] | None = None
    alternatives: Annotated[int, Field(ge=0, le=20)] = 0
    api_key: Annotated[str, Field(max_length=1000)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


CONTENT = {kind: {"schema": TranslateBody.model_json_schema()} for kind in ("application/json", FORM)}
"""What /translate takes, for its description."""


@dataclass(frozen=True)
class TranslatorLanguages:
    """What a served translator reads and writes.

    Attributes:
        model: its id.
        sources: codes of languages it reads.
        targets: codes of languages it writes.
        told: whether it has tokens for them, and must be told.
    """

    model: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    told: bool

    def covers(self, source: str, target: str) -> bool:
        """Whether it translates from one into the other."""
        known = source == "auto" or source in self.sources
        return known and target in self.targets and (source != target or not self.told)


def languages_of(model: str, metadata: ModelMetadata) -> TranslatorLanguages | None:
    """The languages of a model, by its tokens or by a name such as `en-de`; None if it does not translate."""
    special = _special_tokens(metadata.tokenizer, metadata.special_tokens)
    if metadata.architecture.encoder is None and special.separator is None:
        return None
    if special.languages:
        codes = tuple(sorted(special.languages))
        return TranslatorLanguages(model, codes, codes, told=True)
    named = _PAIR.match(model)
    source, target = named.groups() if named else UNNAMED
    return TranslatorLanguages(model, (source,), (target,), told=False)


@lru_cache(maxsize=32)
def _special_tokens(tokenizer: str, special: SpecialTokens | None) -> SpecialTokens:
    """The roles of special tokens; where the model file does not have them, the tokenizer is read for their names."""
    return Tokenizer.from_json(tokenizer).special if special is None else special


def translators(registry: ModelRegistry) -> Iterator[TranslatorLanguages]:
    """The languages of each served translator."""
    for entry in registry.entries:
        found = languages_of(entry.id, entry.metadata)
        if found is not None:
            yield found


def choose(known: Sequence[TranslatorLanguages], body: TranslateBody) -> TranslatorLanguages:
    """The translator for a request.

    Raises:
        ApiError: none translates that, or the source has to be named.
    """
    if not known:
        raise bad_request("no translator is served; start the server with one", "source")
    named = [each for each in known if body.model in (None, each.model)]
    if not named:
        raise bad_request(f"model: {body.model} is no served translator", "model")
    fitting = [each for each in named if each.covers(body.source, body.target)]
    if not fitting:
        pairs = "; ".join(sorted({f"{_listed(each.sources)} → {_listed(each.targets)}" for each in named}))
        raise bad_request(f"source, target: {body.source} → {body.target} is not served; there is {pairs}", "source")
    if body.source == "auto" and (fitting[0].told or len({each.sources for each in fitting}) > 1):
        raise bad_request('source: name the language; "auto" is for servers that read only one', "source")
    return fitting[0]


@router.post("/translate", openapi_extra={"requestBody": {"required": True, "content": CONTENT}})
async def translate(request: Request) -> Response:
    """Translate a text or several, given as JSON or as a form."""
    body = _parsed(await request.body(), request.headers.get("content-type", ""))
    service = service_of(request)
    chosen = choose(list(translators(service.registry)), body)
    texts = [body.q] if isinstance(body.q, str) else body.q
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    if isinstance(body.q, str) and not lines:
        raise bad_request("q: is empty; give a text", "q")
    if len(lines) > MANY:
        raise bad_request(f"q: {len(lines):,} lines; give at most {MANY:,} at a time", "q")
    if not lines:
        return json_response(_answer(body, chosen, [[text] for text in texts]))
    source, target = (body.source, body.target) if chosen.told else (None, None)
    best = body.alternatives + 1
    asked = GenerationRequest(
        model=chosen.model,
        prompts=[SourcePrompt(line, target_language=target, source_language=source) for line in lines],
        settings={"n_best": best, "beam_size": max(best, BEAMS)} if body.alternatives else {},
        search=True,
        fields={"n_best": "alternatives", "beam_size": "alternatives"},
    )
    generation = await service.begin(asked, request)

    def answer(result: Result) -> dict[str, Any]:
        return _answer(body, chosen, list(_texts(texts, _by_line(result, len(lines)))))

    return await whole(request, generation, answer)


@router.get("/languages")
async def languages(request: Request) -> Response:
    """The languages that are read, each with those it is translated into."""
    targets: dict[str, set[str]] = {}
    for each in translators(service_of(request).registry):
        for source in each.sources:
            targets.setdefault(source, set()).update(set(each.targets) - {source})
        for target in each.targets:
            targets.setdefault(target, set())
    return json_response(
        [{"code": code, "name": NAMES.get(code, code), "targets": sorted(targets[code])} for code in sorted(targets)]
    )


def _parsed(content: bytes, content_type: str) -> TranslateBody:
    """The request, which these clients send as a form or as JSON.

    Raises:
        ApiError, RequestValidationError: it is neither, or a field is wrong.
    """
    given: Any
    if content.lstrip()[:1] != b"{" and content_type.startswith(FORM):
        given = _form(content)
    else:
        try:
            given = json.loads(content)
        except (ValueError, RecursionError):
            raise bad_request(f"the request is neither JSON nor a form ({FORM})") from None
    try:
        return TranslateBody.model_validate(given)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found, body=given) from None


def _form(content: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MANY, strict_parsing=True)
    except ValueError:
        raise bad_request("the form cannot be read; send JSON") from None
    given: dict[str, Any] = dict(pairs)
    texts = [value for name, value in pairs if name == "q"]
    if len(texts) > 1:
        given["q"] = texts
    if re.fullmatch("[0-9]{1,9}", given.get("alternatives", "")):
        given["alternatives"] = int(given["alternatives"])
    return given


def _by_line(result: Result, lines: int) -> list[list[str]]:
    """The translations of each line, best first."""
    texts = [choice.text.strip() for choice in sorted(result.choices, key=lambda choice: choice.index)]
    each = len(texts) // lines
    return [texts[number * each : (number + 1) * each] for number in range(lines)]


def _texts(texts: Sequence[str], translated: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The translations of each text, best first; its lines stay lines, and empty ones stay empty."""
    left = iter(translated)
    for text in texts:
        lines = [next(left) if line.strip() else [line] for line in text.splitlines()]
        count = max((len(each) for each in lines), default=1)
        yield ["\n".join(each[min(number, len(each) - 1)] for each in lines) for number in range(count)]


def _answer(body: TranslateBody, chosen: TranslatorLanguages, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The answer, for one text or for a list of them."""
    fields: Mapping[str, list[Any]] = {
        "translatedText": [text[0] for text in texts],
        "alternatives": [[other for other in dict.fromkeys(text[1:]) if other != text[0]] for text in texts],
        "detectedLanguage": [{"language": chosen.sources[0], "confidence": 0.0} for _ in texts],
    }
    wanted = ["translatedText", *(["alternatives"] if body.alternatives else [])]
    wanted += ["detectedLanguage"] if body.source == "auto" else []
    return {name: fields[name][0] if isinstance(body.q, str) else fields[name] for name in wanted}


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(codes[:20]) + (f" and {len(codes) - 20:,} more" if len(codes) > 20 else "")


SHAPE = Shape(
    name="libretranslate",
    router=router,
    paths=("/translate", "/languages"),
    error_body=lambda problem, request_id: {"error": problem.message},
    error_event=lambda problem, request_id: sse({"error": problem.message}),
    ping=b"",
    key_in_body=True,
)
