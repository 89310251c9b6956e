"""The server's log: a JSON object a line on standard error, without what people wrote unless that is asked for."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from openbook.text.printable import json_line

LOG = logging.getLogger("openbook.serve")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, event, and the fields that it was given."""

    def format(self, record: logging.LogRecord) -> str:
        """As `logging` has it."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_line(line)


def set_up_logs() -> None:
    """Send the server's log, and uvicorn's, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for logger in (LOG, logging.getLogger("uvicorn.error")):
        logger.handlers, logger.propagate = [handler], False
    LOG.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write a line; `error` with its traceback."""
    LOG.log(level, event, extra={"fields": fields}, exc_info=error)
