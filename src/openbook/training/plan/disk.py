"""Whether a run's files fit on the disk, said before it starts."""

import shutil
from pathlib import Path

from openbook.errors import SettingError
from openbook.text.printable import printable_path
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.rules import bytes_per_token
from openbook.training.recipe import Recipe
from openbook.transformer.architecture import Architecture

NUMBER_BYTES = 4


def check_disk(folder: Path, architecture: Architecture, recipe: Recipe, text_bytes: int, frozen: bool = False) -> None:
    """Refuse a run whose tokens, checkpoints and model would not fit on the disk of its folder.

    Args:
        folder: of the run; the model lies beside it.
        architecture: of the model.
        recipe: gives optimizer and moving average.
        text_bytes: bytes of text that become tokens.
        frozen: whether the weights are frozen (LoRA), so that checkpoints are small.

    Raises:
        OpenbookError: naming what takes how much, and what would help.
    """
    model = NUMBER_BYTES * count_parameters(architecture)
    token_bytes = 2 if recipe.vocab_size <= 2**16 else 4
    tokens = token_bytes * text_bytes / bytes_per_token(recipe.vocab_size, recipe.tokenizer)
    # The latest has the weights, one or two numbers of optimizer state for each, and the moving average.
    copies = 2 + (recipe.optimizer == "adamw") + bool(recipe.ema_decay)
    checkpoints = 0 if frozen else (2 * copies + 1) * model  # the latest twice while it is replaced, and the best
    needed, free = tokens + checkpoints + model, shutil.disk_usage(folder).free
    if needed > free:
        raise SettingError(
            f"{printable_path(folder)}: training takes about {needed / 1e9:.1f} GB of disk there (checkpoints "
            f"{checkpoints / 1e9:.1f}, model {model / 1e9:.1f}, tokens {tokens / 1e9:.1f}), and {free / 1e9:.1f} GB "
            "are free; make room, or give another `output` or a smaller model"
        )
