"""The plan of `--tiny`: a model that learns a few sentences by heart, small enough to follow by hand.

Nothing is measured: the steps take seconds on any machine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from openbook.errors import OpenbookError, SettingError
from openbook.text.formatting import format_bytes, format_count
from openbook.text.tokenizer.training import split_words
from openbook.training.plan.plan import Plan
from openbook.training.plan.rules import even
from openbook.training.recipe import make_recipe

MAXIMUM_BYTES = 20_000
"""Of the texts together; a longer one has too many words for a model that can be followed by hand."""

TINY: Mapping[str, Any] = {
    "tokenizer": "words",
    "layers": 1,
    "heads": 1,
    "position": "learned",
    "qk_norm": False,
    "activation": "relu",
    "gated": False,
    "dropout": 0.0,
    "bpe_dropout": 0.0,
    "label_smoothing": 0.0,
    "optimizer": "adamw",
    "adamw_lr": 0.02,
    "embedding_lr": 0.05,
    "lm_head_lr": 0.02,
    "norm_lr": 0.02,
    "weight_decay": 0.5,
    "validations": 5,
    "precision": "float32",
}
"""One layer with one head, without the parts that a first look does not need.

Weight decay keeps the scores small and so the attention spread.
"""

STEPS = 200


def plan_tiny(
    texts: Sequence[str], special_tokens: int, given: Mapping[str, Any], *, encoder: bool = False, sides: int = 1
) -> Plan:
    """Choose every field that is not given.

    Args:
        texts: all lines, or the sources and targets of all pairs.
        special_tokens: of the vocabulary.
        given: choices by name (see `Recipe`); they are kept.
        encoder: whether the model is an encoder-decoder.
        sides: how many of the texts one sequence of tokens holds.

    Raises:
        OpenbookError: a given choice is out of range.
    """
    splits = [split_words(text) for text in texts]
    words = {word for split in splits for word in split}
    longest = sides * (max(map(len, splits)) + 1)
    sequences = len(texts) // (sides if not encoder else 2)
    width = given.get("width", 4 if len(words) <= 8 else 8)
    heads = given.get("heads", TINY["heads"])
    context = given.get("context", max(8, 2 ** (longest - 1).bit_length()))
    shape = {
        "vocab_size": len(words) + special_tokens if given.get("tokenizer", "words") == "words" else 1024,
        "encoder_layers": int(encoder),
        "width": width,
        "key_value_heads": heads,
        "head_width": given.get("head_width", even(width // heads)),
        "feed_forward_width": 2 * width,
        "context": context,
        "batch_tokens": sequences * context,
        "micro_batch_size": sequences,
        "validation_tokens": sequences * context,
    }
    budget = {} if given.get("minutes") else {"steps": STEPS}
    recipe = make_recipe({**TINY, **shape, **budget, **given})
    steps = recipe.steps or 0
    reasons = {
        "minutes": "all texts in every step",
        "vocab_size": "all words",
        "layers": f"small enough to follow by hand, for {format_count(len(words), 'word')}",
        "dropout": "to be known by heart",
    }
    return Plan(recipe, reasons, float(steps * sequences * longest), float(steps), 10.0)


def too_large(size: int) -> OpenbookError:
    """What to say of texts of so many bytes."""
    return SettingError(
        f"`tiny`: is for a few sentences, up to {format_bytes(MAXIMUM_BYTES)}, and these have {format_bytes(size)}; "
        "leave it out"
    )
