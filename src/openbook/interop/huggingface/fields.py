"""The fields of a config.json: each is read with its type, and what nobody read is refused by name."""

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt

Value = TypeVar("Value")

HARMLESS = re.compile(
    r"""_name_or_path|name_or_path|tokenizer_class|_num_labels|save_step|architectures|model_type|auto_map|transformers_version|transformers\.js_config
    |torch_dtype|dtype|use_cache|initializer_\w+|init_std|\w*dropout|\w*drop\w*|layerdrop|\w+_pdrop|pretraining_tp
    |id2label|label2id|num_labels|problem_type|task_specific_params|finetuning_task|classif\w+|summary_\w+|gradient_\w+
    |return_dict|return_dict_in_generate|output_\w+|torchscript|tf_legacy_loss|use_bfloat16|prefix|tie_last_hidden_states
    |(bos|eos|pad|sep|cls|mask|unk|image|boi|eoi)_token_(id|index)|decoder_start_token_id|forced_[be]os_token_id
    |max_length|min_length|do_sample|early_stopping|num_beams|num_beam_groups|diversity_penalty|temperature|top_k|top_p
    |typical_p|repetition_penalty|length_penalty|no_repeat_ngram_size|encoder_no_repeat_ngram_size|bad_words_ids
    |num_return_sequences|remove_invalid_values|exponential_decay_length_penalty|suppress_tokens|begin_suppress_tokens
    |router_aux_loss_coef|router_jitter_noise|_attn_implementation\w*|attn_implementation|experts_implementation|unsloth_\w+|n_ctx""",
    re.VERBOSE,
)
"""Fields that do not affect the numbers a model computes: training, names, and generation, which is read separately."""

INERT: dict[str, Collection[Any]] = {
    "chunk_size_feed_forward": (0,),
    "pruned_heads": ({},),
    "add_cross_attention": (False,),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "cross_attention_hidden_size": (),
    "tie_encoder_decoder": (False,),
    "encoder_no_repeat_ngram_size": (0,),
    "quantization_config": (),
    "per_layer_config": ({},),
}
"""Fields that change nothing if they have one of these values, or null."""


class ConfigFields:
    """An object in a config.json whose fields are read one by one.

    Errors name the file and the field. An absent field has the default that `with_defaults` gave it; one that is null
    has none, except where a value is required.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.where = where
        self._written = frozenset(values)
        self._values = {name: value for name, value in values.items() if value is not None}
        self._taken: set[str] = set()
        self._defaults: Mapping[str, Any] = {}
        self.assumed: dict[str, int] = {}
        """Whole numbers that are absent and have their default: sizes, which may not be those of the tensors."""

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def with_defaults(self, defaults: Mapping[str, Any]) -> "ConfigFields":
        """Set what absent fields mean; returns self."""
        self._defaults = {**self._defaults, **defaults}
        return self

    def null_as_absent(self, name: str) -> "ConfigFields":
        """Let a field that is null have its default, as one that is absent has; returns self."""
        if name not in self._values:
            self._written -= {name}
        return self

    def integer(self, name: str, default: int | None = None, most: int = 2**31) -> int:
        """An integer from 0 to `most`; required where there is no default."""
        value = self.optional_integer(name)
        value = self.assume(name, self._required(name, default if value is None else value))
        if not 0 <= value <= most:
            raise self.error(name, f"{_shown(value)} should be from 0 to {most:,}")
        return value

    def optional_integer(self, name: str) -> int | None:
        """An integer, even one written as 50.0, or None where the field is null, or absent and without a default."""
        value = self._take(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self.error(name, f"{_shown(value)} should be a whole number")
        return None if value is None else self.assume(name, value)

    def assume(self, name: str, value: int) -> int:
        """The value; it is noted as assumed if the field is absent."""
        if name not in self._values:
            self.assumed[name] = value
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number; required where there is no default."""
        value = self.optional_number(name)
        return self._required(name, default if value is None else value)

    def optional_number(self, name: str) -> float | None:
        """A number, or None where the field is null, or absent and without a default."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(name, f"{_shown(value)} should be a number")
        return float(value)

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """True or false; required where there is no default."""
        value = self._take(name)
        value = self._required(name, default if value is None else value)
        if not isinstance(value, bool):
            raise self.error(name, f"{_shown(value)} should be true or false")
        return value

    def choice(self, name: str, choices: Mapping[str, Value], default: str | None = None) -> Value:
        """The meaning of a string, by this table."""
        word = self._take(name)
        word = self._required(name, default if word is None else word)
        if not isinstance(word, str) or word not in choices:
            raise self.error(name, f"{_shown(word)} is not one of {', '.join(choices)}")
        return choices[word]

    def optional_string(self, name: str) -> str | None:
        """A string, or None where the field is null, or absent and without a default."""
        value = self._take(name)
        if value is not None and not isinstance(value, str):
            raise self.error(name, f"{_shown(value)} should be a word")
        return value

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse any value but these; it may also be absent."""
        value = self._take(name)
        if value is not None and not any(value == each and type(value) is type(each) for each in allowed):
            known = f", only {' or '.join(_shown(each) for each in allowed)}" if allowed else ""
            raise self.error(name, f"{_shown(value)} would change the result and is not supported{known}")

    def one_of(self, name: str, meanings: Mapping[Any, Value]) -> Value | None:
        """The meaning of a value, by this table; None where the field is absent."""
        value = self._take(name)
        for each, meaning in meanings.items():
            if value == each and type(value) is type(each):
                return meaning
        if value is not None:
            raise self.error(name, f"is {excerpt(repr(value), 100)}, not one of {', '.join(map(repr, meanings))}")
        return None

    def nested(self, name: str) -> "ConfigFields | None":
        """An object inside this one; the caller calls its `finish`."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, f"{_shown(value)} should be an object")
        inside = ConfigFields(value, f"{self.where}, field {name}")
        inside.assumed = self.assumed
        return inside

    def strings(self, name: str, length: int) -> list[str] | None:
        """The first `length` of a list of strings; None where the field is absent."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value) or len(value) < length:
            raise self.error(name, f"should be a list of {length:,} words")
        return value[:length]

    def integers(self, name: str) -> list[int]:
        """A list of integers; empty where the field is absent."""
        value = self._take(name)
        if value is None:
            return []
        whole = isinstance(value, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in value)
        if not whole:
            raise self.error(name, "should be a list of whole numbers")
        return list(value)

    def ignore(self, *names: str) -> None:
        """Accept fields that change nothing here."""
        self._taken.update(names)

    def finish(self) -> None:
        """Refuse what nobody read, unless it is known to be harmless."""
        for name, value in self._values.items():
            if name in self._taken or HARMLESS.fullmatch(name):
                continue
            if name in INERT and any(value == each for each in INERT[name]):
                continue
            raise self.error(
                name,
                f"{_shown(value)} is not understood and may change the result; "
                "upgrade openbook, or take the field out if you know that it does not",
            )

    def error(self, name: str, reason: str) -> OpenbookError:
        """An error that names the field."""
        return OpenbookError(f"{self.where}, field {excerpt(name, 100)}: {reason}")

    def _take(self, name: str) -> Any:
        self._taken.add(name)
        return self._values.get(name) if name in self._written else self._defaults.get(name)

    def _required(self, name: str, value: Value | None) -> Value:
        if value is None:
            found = "is null; give its value" if name in self._written else "is missing; add it"
            raise self.error(name, f"{found}, or download the file again")
        return value


def _shown(value: object) -> str:
    return excerpt(str(value).lower() if isinstance(value, bool) else str(value), 60)
