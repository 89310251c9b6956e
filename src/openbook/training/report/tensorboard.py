"""Events for TensorBoard; needs the extra `openbook[tensorboard]`."""

from pathlib import Path

from openbook.errors import SettingError
from openbook.training.loop import Event


class TensorBoard:
    """A callback that writes losses and scores to a folder that TensorBoard reads.

    Raises:
        OpenbookError: the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise SettingError(
                "`tensorboard`: is not installed; run pip install 'openbook[tensorboard]', or leave it out"
            ) from None
        self._folder, self._open = folder, SummaryWriter
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write an event (see `loop.Callback`)."""
        names = {
            "step": {"loss": "training loss", "bits_per_byte": "training bits per byte"},
            "validation": {"score": "held-out bits per byte"},
        }
        for key, name in names.get(event["event"], {}).items():
            if self._writer is None:  # opened late: a run that is refused makes no folder
                self._writer = self._open(str(self._folder))
            self._writer.add_scalar(name, event[key], event["step"])

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()
