"""What a person can set about an answer or a translation, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from openbook.errors import OpenbookError

MAXIMUM_STOPS = 100
MAXIMUM_STOP_LENGTH = 1_000

# Lowest and highest value; both are allowed.
_NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "length_penalty": (-10.0, 10.0),
}
_WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "top_k": (1, 2**24),
    "seed": (0, 2**63 - 1),
    "min_tokens": (0, 2**31),
    "no_repeat_ngram_size": (0, 1000),
    "max_tokens": (1, 2**31),
    "beam_size": (1, 1000),
    "n_best": (1, 1000),
}
_OPTIONAL = ("top_k", "seed")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen and when an answer ends. Values out of range raise OpenbookError with the range.

    `temperature` 0 always takes the most probable token, and top_k, top_p and min_p then have no effect.
    `top_k` None, `top_p` 1, `min_p` 0, `repetition_penalty` 1 and `presence_penalty` 0 are off.
    `seed` None takes a new one for every answer; the same seed gives the same text.
    `min_tokens` and `max_tokens` count the answer alone. No `no_repeat_ngram_size` tokens in a row come twice, those of the prompt
    counted; 0 is off. `stop` are texts before which the answer ends.
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    seed: int | None = None
    min_tokens: int = 0
    max_tokens: int = 256
    no_repeat_ngram_size: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_ranges(self)
        object.__setattr__(self, "stop", _checked_stops(self.stop))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sampling":
        """From named values. An unknown name raises OpenbookError too."""
        return cls(**_known(values, cls))


EarlyStopping = Literal["never", "heuristic", "always"]
"""When a beam search ends, see `BeamSearch`."""


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """How to search for the likeliest sequences. Values out of range raise OpenbookError with the range.

    `beams` beginnings are followed at once, and the `n_best` best finished sequences come out. One beam is greedy: it
    takes the likeliest token each time, and ends with the first that ends. A sequence scores
    Σ log p(token) / length^`length_penalty`: 0 likes short ones, 1 is the mean, above 1 likes long ones. `min_tokens`,
    `max_tokens` and `no_repeat_ngram_size` are as for sampling.
    `early_stopping` says when the search for a prompt ends, in the terms of transformers:
    "never": when no open beam can still enter the n-best, whatever follows ("never" there);
    "heuristic": when `beam_size` sequences are finished and no open beam would beat them if it ended now (False there);
    "always": when `beam_size` sequences are finished (True there).
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
            raise OpenbookError(f"n_best is {self.n_best}, more than the beam_size {self.beam_size}; give a larger one")
        if self.early_stopping not in get_args(EarlyStopping):
            raise OpenbookError(
                f"early_stopping is {_shown(self.early_stopping)}; give {', '.join(get_args(EarlyStopping))}"
            )

    def score(self, log_probability: float, length: int) -> float:
        """Σ log p / length^penalty."""
        return log_probability / float(length) ** self.length_penalty


def decoding(defaults: Mapping[str, Any], given: Mapping[str, Any], *, search: bool) -> BeamSearch | Sampling:
    """A beam search or sampling, whichever what is `given` belongs to.

    Args:
        defaults: what the model file says; each way takes what is its own.
        given: what a person says; it goes before.
        search: which way to go if that could be either.

    Raises:
        OpenbookError: a name is unknown, a value is out of range, or some are for one way and some for the other.
    """
    _known(given, BeamSearch, Sampling)
    names = {way: {field.name for field in fields(way)} for way in (BeamSearch, Sampling)}
    for_search = sorted(given.keys() & names[BeamSearch] - names[Sampling])
    for_sampling = sorted(given.keys() & names[Sampling] - names[BeamSearch])
    if for_search and for_sampling:
        raise OpenbookError(
            f"{for_search[0]} is for a beam search and {for_sampling[0]} for sampling; leave out one of them"
        )
    way = BeamSearch if for_search or (search and not for_sampling) else Sampling
    return way(**{name: value for name, value in {**defaults, **given}.items() if name in names[way]})


def _known(values: Mapping[str, Any], *kinds: Any) -> Mapping[str, Any]:
    known = list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))
    for name in values:
        if name not in known:
            raise OpenbookError(f"{_shown(name)} is no setting of an answer; there are {', '.join(known)}")
    return values


def _check_ranges(settings: Any) -> None:
    """Check every number of a dataclass against the tables above."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if field.name in _NUMBERS:
            lowest, highest = _NUMBERS[field.name]
            if not (whole or isinstance(value, float)) or not lowest <= value <= highest:  # true of NaN too
                raise OpenbookError(f"{field.name} is {_shown(value)}; give a number from {lowest:g} to {highest:g}")
        if field.name in _WHOLE_NUMBERS and not (value is None and field.name in _OPTIONAL):
            least, most = _WHOLE_NUMBERS[field.name]
            if not whole or not least <= value <= most:
                raise OpenbookError(f"{field.name} is {_shown(value)}; give a whole number from {least} to {most}")


def _checked_stops(stops: Any) -> tuple[str, ...]:
    if not isinstance(stops, list | tuple) or len(stops) > MAXIMUM_STOPS:
        raise OpenbookError(f"stop is {_shown(stops)}; give a list of at most {MAXIMUM_STOPS} texts")
    for text in stops:
        if not isinstance(text, str) or not 1 <= len(text) <= MAXIMUM_STOP_LENGTH:
            raise OpenbookError(f"stop has {_shown(text)}; give texts of 1 to {MAXIMUM_STOP_LENGTH} characters")
    return tuple(stops)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
