"""The log of a run: one JSON object a line, each an event of the loop as it happened."""

import json
from pathlib import Path

from openbook.training.loop import Event


class Logbook:
    """Appends events to a file; when a run goes on from a checkpoint, what came after the checkpoint is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        """Log one event (see `loop.Listener`)."""
        if event["event"] == "resume":
            self._cut(event["step"])
        self._file.write(json.dumps(event) + "\n")
        if event["event"] != "step" or event["step"] % 50 == 0:
            self._file.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()

    def _cut(self, step: int) -> None:
        self._file.close()
        kept = [event for event in read_log(self.path) if event["step"] <= step]
        self._file = self.path.open("w", encoding="utf-8")
        self._file.writelines(json.dumps(event) + "\n" for event in kept)


def read_log(path: Path) -> list[Event]:
    """All events of a log; a last line that was cut short by a kill is left out."""
    events = []
    for line in path.read_text("utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events
