"""The log of a run: one JSON object a line, each an event of the loop as it happened."""

import json
from contextlib import suppress
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.training.loop import Event


class EventLog:
    """Appends events to a file, each at once; what came after the checkpoint that a run goes on from is cut off.

    Raises:
        OpenbookError: the disk is full or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def __call__(self, event: Event) -> None:
        """Log one event (see `loop.Callback`)."""
        if event["event"] == "resume":
            self._cut(event["step"])
        try:
            self._file.write(_line(event))
        except OSError as error:
            raise OpenbookError(f"{self.path}: cannot be written ({error.strerror}); make room and go on") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _cut(self, step: int) -> None:
        """Keep what a run that never stopped would have logged up to this step."""
        self._file.close()
        kept = [event for event in read_log(self.path) if event["step"] <= step and not event.get("last")]
        with atomic_write(self.path) as file:
            file.writelines(_line(event) for event in kept)
        self._file = self.path.open("ab", buffering=0)


def _line(event: Event) -> bytes:
    return json.dumps(event, allow_nan=False).encode() + b"\n"


def read_log(path: Path) -> list[Event]:
    """All events of a log; a last line that was cut short by a kill is left out."""
    events = []
    for line in path.read_text("utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            events.append(json.loads(line))
    return events
