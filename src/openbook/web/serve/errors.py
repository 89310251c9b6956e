"""What goes wrong with a request, before a shape of the API tells it in its own words."""

from collections.abc import Mapping


class ApiError(Exception):
    """The answer to a request that gets none: a status and a line for a person.

    Attributes:
        status: of HTTP.
        message: what is wrong, and the cure.
        param: the field that it is about, as in `messages.0.role`.
        code: a short name for programs, such as `model_not_found`.
        retry_after: seconds after which the same request may succeed.
        headers: more of the answer's.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after
        self.headers = dict(headers or {})


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that can never be answered."""
    return ApiError(400, message, param=param, code=code)


def not_found(message: str, code: str | None = None) -> ApiError:
    """Something that is not here."""
    return ApiError(404, message, code=code)


class ClientGoneError(Exception):
    """The client went away before its answer; there is nobody to tell."""
