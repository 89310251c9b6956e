"""What LoRA may change, known without PyTorch."""

from collections.abc import Sequence

from openbook.errors import SettingError

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear layers of a block that can be changed."""

SCALE = 2.0
"""α / rank of the paper."""


def check_lora(rank: int, targets: Sequence[str]) -> None:
    """Raises OpenbookError if the rank is not positive or a target is unknown."""
    if rank < 1:
        raise SettingError(f"`lora_rank` {rank}: the rank must be 1 or more; 8 is a good start")
    for target in targets:
        if target not in TARGETS:
            raise SettingError(f"`lora_targets` {target}: must be some of {', '.join(TARGETS)}")
