"""The decoder that a tokenizer.json lacks, which turns tokens back into text."""

from typing import Any

META_SPACE = "▁"


def missing_decoder(content: dict[str, Any]) -> dict[str, Any] | None:
    """The decoder that undoes the pre-tokenizer or normalizer; None where there is a decoder, or none is known.

    Args:
        content: of a tokenizer.json.
    """
    if content.get("decoder") is not None:
        return None
    for step in _steps(content.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "ByteLevel":
            return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        if step.get("type") == "Metaspace":
            return step
    steps = _steps(content.get("normalizer"), "normalizers")
    if not any(step.get("type") == "Replace" and step.get("content") == META_SPACE for step in steps):
        return None
    model = content.get("model")
    byte_fallback = isinstance(model, dict) and model.get("byte_fallback") is True
    prepended = any(step.get("type") == "Prepend" for step in steps)
    decoders = [
        {"type": "Replace", "pattern": {"String": META_SPACE}, "content": " "},
        *([{"type": "ByteFallback"}] if byte_fallback else []),
        {"type": "Fuse"},
        *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prepended else []),
    ]
    return {"type": "Sequence", "decoders": decoders}


def _steps(value: Any, inside: str) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer or normalizer, those of sequences too."""
    if not isinstance(value, dict):
        return []
    nested = value.get(inside)
    if value.get("type") == "Sequence" and isinstance(nested, list):
        return [step for each in nested for step in _steps(each, inside)]
    return [value]
