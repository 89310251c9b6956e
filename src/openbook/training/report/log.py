"""The log of a run: a JSON object per line, each an event as it happened."""

import json
from contextlib import suppress
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.training.loop import Event


class EventLog:
    """A callback that appends each event to a file at once. On resuming it drops what came after the checkpoint.

    Raises:
        OpenbookError: the disk is full or the file is not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def __call__(self, event: Event) -> None:
        """Log an event (see `loop.Callback`)."""
        if event["event"] == "resume":
            self._truncate(event["step"])
        try:
            self._file.write(_line(event))
        except OSError as error:
            raise OpenbookError(f"{self.path}: cannot be written ({error.strerror}); free space and resume") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _truncate(self, step: int) -> None:
        """Keep what a run that never stopped would have logged up to this step."""
        self._file.close()
        kept = [event for event in read_log(self.path) if event["step"] <= step and not event.get("last")]
        with atomic_write(self.path) as file:
            file.writelines(_line(event) for event in kept)
        self._file = self.path.open("ab", buffering=0)


def _line(event: Event) -> bytes:
    return json.dumps(event, allow_nan=False).encode() + b"\n"


def read_log(path: Path) -> list[Event]:
    """All events of a log, without a last line that was cut short when the process was killed."""
    events = []
    for line in path.read_text("utf-8").split("\n"):
        with suppress(json.JSONDecodeError):
            events.append(json.loads(line))
    return events
