"""Values as JSON has them. A number that is not finite is an object, so that it is taken for no text and no number."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """The same in JSON's values, dataclasses as objects; {"number": "NaN"} for numbers not finite."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return value


def to_json(value: Any) -> str:
    """JSON of ASCII alone, in which no text can end a <script> element: "<", ">" and "&" are escaped too."""
    text = json.dumps(plain(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
