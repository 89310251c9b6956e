"""Why a request is not taken."""

from openbook.errors import OpenbookError


class RequestTooLargeError(OpenbookError):
    """The request needs more room than there ever is."""


class QueueFullError(OpenbookError):
    """As many requests wait as may. `retry_after` is a guess of the seconds until one of them has gone."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests wait already; try again in {retry_after} s")
        self.retry_after = retry_after


class BatcherClosedError(OpenbookError):
    """No more requests are taken."""

    def __init__(self) -> None:
        super().__init__("the model is being closed; ask again later")
