"""Generation defaults: generation_config.json, and the same fields in an older config.json."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.weights import read_small_json
from openbook.model_file.metadata import Generation
from openbook.text.field_errors import field_errors

MAX_BYTES = 1_000_000
TOP_K = 50
"""The default of transformers for a file that asks for sampling."""
RENAMED = {
    "repetition_penalty": "repetition_penalty",
    "length_penalty": "length_penalty",
    "beam_size": "num_beams",
    "min_tokens": "min_new_tokens",
    "max_tokens": "max_new_tokens",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
}
"""Settings that mean the same there: our name → theirs."""
EARLY_STOPPING = {False: "heuristic", True: "always", "never": "never"}
"""Their value of `early_stopping` → ours."""
_adapter: TypeAdapter[Generation] = TypeAdapter(Generation)


def read_generation_config(folder: Path) -> Generation:
    """The generation defaults that the folder states; what no file says is left open.

    Raises:
        OpenbookError: a field has the wrong type or is out of range.
    """
    path = folder / "generation_config.json"
    if not path.exists():
        return Generation()
    fields = ConfigFields(read_small_json(path, MAX_BYTES), path.name)
    found: dict[str, Any] = {}
    if fields.boolean("do_sample", False):
        found = {
            "temperature": fields.number("temperature", 1.0),
            "top_k": fields.integer("top_k", TOP_K) or None,
            "top_p": fields.number("top_p", 1.0),
            "min_p": fields.number("min_p", 0.0),
        }
    elif "do_sample" in fields:
        found = {"temperature": 0.0}
    found["repetition_penalty"] = fields.optional_number("repetition_penalty")
    for ours in ("beam_size", "min_tokens", "max_tokens", "no_repeat_ngram_size"):
        found[ours] = fields.optional_integer(RENAMED[ours])
    if (found["beam_size"] or 1) > 1:
        found["length_penalty"] = fields.optional_number("length_penalty")
        found["early_stopping"] = fields.one_of("early_stopping", EARLY_STOPPING)
    try:
        return _adapter.validate_python({name: value for name, value in found.items() if value is not None})
    except ValidationError as error:
        first = field_errors(error, Generation)[0]
        raise fields.error(first.path, first.problem) from None


def write_generation_config(generation: Generation, ids: dict[str, Any]) -> dict[str, Any]:
    """The fields that `read_generation_config` reads, after `ids`, those of special tokens."""
    written: dict[str, Any] = dict(ids)
    temperature = generation.get("temperature")
    if temperature == 0:
        written["do_sample"] = False
    elif temperature is not None:
        written["do_sample"] = True
        written |= {name: generation[name] for name in ("temperature", "top_p", "min_p") if name in generation}
        written["top_k"] = generation.get("top_k", 0)
    for ours, theirs in RENAMED.items():
        if ours in generation:
            written[theirs] = generation[ours]  # type: ignore[literal-required]
    if "early_stopping" in generation:
        theirs_of = {ours: theirs for theirs, ours in EARLY_STOPPING.items()}
        written["early_stopping"] = theirs_of[generation["early_stopping"]]
    return written
