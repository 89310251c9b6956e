"""Whether the minutes are enough to learn anything, said before training starts."""

import math

from openbook.errors import SettingError

LEAST_STEPS = 10
"""With fewer, even the smallest model has learned nothing but which tokens are frequent."""
MARGIN = 1.1
TOKENIZING_BYTES_PER_SECOND = 2e6
"""Of large texts, tokenizer and all, on one core; to tell before it is done how long it takes."""


def check_budget(minutes: float, before: float, step_seconds: float, after: float) -> None:
    """Refuse a budget in which there are too few steps.

    Args:
        minutes: the budget.
        before: seconds until the first step.
        step_seconds: of a step; 0 if that is not known yet.
        after: seconds behind the last step.

    Raises:
        OpenbookError: naming the shortest budget that teaches.
    """
    needed = before + LEAST_STEPS * step_seconds + after
    if needed > 60 * minutes:
        steps = f", and {LEAST_STEPS} steps take {LEAST_STEPS * step_seconds:.1f} s" if step_seconds else ""
        raise SettingError(
            f"`minutes` {minutes:g}: is too short to learn from this text: about {before + after:.0f} s go before the "
            f"first step and after the last{steps}; give `minutes` {_rounded_up(MARGIN * needed / 60):g} or more"
        )


def _rounded_up(number: float) -> float:
    """To two digits."""
    unit: float = 10.0 ** (math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit
