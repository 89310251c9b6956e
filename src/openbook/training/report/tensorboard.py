"""Events for TensorBoard; needs the extra `openbook[tensorboard]`."""

from pathlib import Path

from openbook.errors import OpenbookError
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
            raise OpenbookError(
                "--tensorboard: is not installed; run pip install 'openbook[tensorboard]', or leave it out"
            ) from None
        self._writer = SummaryWriter(str(folder))

    def __call__(self, event: Event) -> None:
        """Write an event (see `loop.Callback`)."""
        names = {"step": {"loss": "training loss"}, "validation": {"score": "held-out bits per byte"}}
        for key, name in names.get(event["event"], {}).items():
            self._writer.add_scalar(name, event[key], event["step"])

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
