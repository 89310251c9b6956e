"""Decoding settings: sampling or beam search, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from openbook.errors import OpenbookError, SettingError
from openbook.text.field_errors import nearest

MAX_STOPS = 100
MAX_BIASES = 10_000
MAX_BIAS = 100.0
MAX_STOP_LENGTH = 1_000

# Lowest and highest value; both are allowed.
_NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "length_penalty": (-10.0, 10.0),
}
_WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "top_k": (1, 2**24),
    "seed": (0, 2**63 - 1),
    "min_tokens": (0, 2**31),
    "no_repeat_ngram_size": (0, 1000),
    "max_tokens": (1, 2**31),
    "top_alternatives": (0, 2**24),
    "beam_size": (1, 1000),
    "n_best": (1, 1000),
}
_OPTIONAL = ("top_k", "seed")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to choose each token and when an answer ends. Values out of range raise OpenbookError with the range.

    Attributes:
        temperature: 0 always takes the most probable token (greedy); top_k, top_p and min_p then have no effect.
        top_k: sample from the k most probable tokens; None is off.
        top_p: sample from the fewest most probable tokens with at least this probability together; 1 is off.
        min_p: sample from tokens at least this probable, relative to the most probable; 0 is off.
        repetition_penalty: above 1, tokens of prompt and answer become less probable; 1 is off.
        presence_penalty: subtracted from the logits of tokens in the answer; 0 is off.
        frequency_penalty: subtracted as often as the answer has the token; 0 is off.
        logit_bias: added to the logits of single tokens: a mapping, or pairs, of ids and numbers from −100 to 100.
        seed: the same seed gives the same text; None takes a new one for every answer.
        min_tokens: end no answer before so many tokens.
        max_tokens: end an answer after so many tokens.
        no_repeat_ngram_size: no n-gram of this size occurs twice, prompt included; 0 is off.
        stop: stop sequences: texts before which an answer ends.
        top_alternatives: return so many of the most probable other tokens with each token.
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    min_tokens: int = 0
    max_tokens: int = 256
    no_repeat_ngram_size: int = 0
    stop: tuple[str, ...] = ()
    top_alternatives: int = 0

    def __post_init__(self) -> None:
        _check_ranges(self)
        object.__setattr__(self, "stop", _checked_stops(self.stop))
        object.__setattr__(self, "logit_bias", _checked_biases(self.logit_bias))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sampling":
        """From named values. An unknown name raises OpenbookError too."""
        return cls(**_known(values, cls))


EarlyStopping = Literal["never", "heuristic", "always"]
"""When a beam search ends, see `BeamSearch`."""


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """How to search for the most probable sequences. Values out of range raise OpenbookError with the range.

    Attributes:
        beam_size: how many prefixes to follow at once. One beam is greedy: it takes the most probable token each time
            and stops at the first end token.
        n_best: how many finished sequences to return, best first.
        length_penalty: a sequence scores Σ log p(token) / length^length_penalty: 0 favours short ones, 1 is the mean,
            above 1 favours long ones.
        min_tokens, max_tokens, no_repeat_ngram_size: as for sampling.
        early_stopping: when the search for a prompt ends.
            "never": when no open beam can still enter the n-best, whatever follows.
            "heuristic": when `beam_size` sequences are finished, and no open beam would be among them if it ended now.
            "always": when `beam_size` sequences are finished.
            They are "never", False and True of transformers.
    """

    beam_size: int = 5
    n_best: int = 1
    length_penalty: float = 1.0
    min_tokens: int = 0
    max_tokens: int = 256
    no_repeat_ngram_size: int = 0
    early_stopping: EarlyStopping = "heuristic"

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.n_best > self.beam_size:
            raise SettingError(
                f"`n_best` is {self.n_best}, more than the `beam_size` {self.beam_size}; give a larger `beam_size`"
            )
        if self.early_stopping not in get_args(EarlyStopping):
            modes = ", ".join(get_args(EarlyStopping))
            raise SettingError(f"`early_stopping` is {_shown(self.early_stopping)}; give {modes}")

    def score(self, log_probability: float, length: int) -> float:
        """Σ log p / length^penalty."""
        return log_probability / float(length) ** self.length_penalty


SEARCH_ONLY = {field.name for field in fields(BeamSearch)} - {field.name for field in fields(Sampling)}
SAMPLING_ONLY = {field.name for field in fields(Sampling)} - {field.name for field in fields(BeamSearch)}


def decoding_settings(
    defaults: Mapping[str, Any], given: Mapping[str, Any], *, prefer_search: bool
) -> BeamSearch | Sampling:
    """A beam search or sampling, whichever the `given` settings belong to.

    Args:
        defaults: of the model file; those of the other way are ignored.
        given: by the user; they override the defaults.
        prefer_search: which way to choose if `given` fits both.

    Raises:
        OpenbookError: a name is unknown, a value is out of range, or some are for one way and some for the other.
    """
    _known(given, BeamSearch, Sampling)
    for_search, for_sampling = sorted(given.keys() & SEARCH_ONLY), sorted(given.keys() & SAMPLING_ONLY)
    if for_search and for_sampling:
        raise SettingError(
            f"`{for_search[0]}` is for a beam search and `{for_sampling[0]}` for sampling; leave out one of them"
        )
    way = BeamSearch if for_search or (prefer_search and not for_sampling) else Sampling
    names = {field.name for field in fields(way)}
    return way(**{name: value for name, value in {**defaults, **given}.items() if name in names})


def _known(values: Mapping[str, Any], *kinds: Any) -> Mapping[str, Any]:
    known = list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))
    for name in values:
        if name not in known:
            raise OpenbookError(f"{_shown(name)} is no decoding setting{nearest(str(name), known)}")
    return values


def _check_ranges(settings: Any) -> None:
    """Check every number of a dataclass against the tables above."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if field.name in _NUMBERS:
            lowest, highest = _NUMBERS[field.name]
            if not (whole or isinstance(value, float)) or not lowest <= value <= highest:  # true of NaN too
                raise SettingError(f"`{field.name}` is {_shown(value)}; give a number from {lowest:g} to {highest:g}")
        if field.name in _WHOLE_NUMBERS and not (value is None and field.name in _OPTIONAL):
            least, most = _WHOLE_NUMBERS[field.name]
            if not whole or not least <= value <= most:
                raise SettingError(f"`{field.name}` is {_shown(value)}; give a whole number from {least} to {most}")


def _checked_stops(stops: Any) -> tuple[str, ...]:
    if not isinstance(stops, list | tuple) or len(stops) > MAX_STOPS:
        raise SettingError(f"`stop` is {_shown(stops)}; give a list of at most {MAX_STOPS} texts")
    for text in stops:
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_LENGTH:
            raise SettingError(f"`stop` has {_shown(text)}; give texts of 1 to {MAX_STOP_LENGTH} characters")
    return tuple(stops)


def _checked_biases(biases: Any) -> tuple[tuple[int, float], ...]:
    try:
        found = dict(biases)
    except (TypeError, ValueError):
        found = None
    if found is None or len(found) > MAX_BIASES:
        raise SettingError(
            f"`logit_bias` is {_shown(biases)}; give at most {MAX_BIASES:,} token ids with a number each"
        )
    for token, bias in found.items():
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < 2**31:
            raise SettingError(f"`logit_bias` has {_shown(token)}; give token ids, whole numbers from 0")
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not number or not -MAX_BIAS <= bias <= MAX_BIAS:
            raise SettingError(f"`logit_bias` of {token} is {_shown(bias)}; give a number from -100 to 100")
    return tuple(sorted((token, float(bias)) for token, bias in found.items()))


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
