"""Errors that a client sees: each carries its status, its code and a public message; one middleware renders them.

Raise them anywhere below the handlers. The message goes out to the client, so it says what was wrong and what
would be right, and never a path, a traceback or a library's words.
"""

from __future__ import annotations

from enum import StrEnum


class Rejection(StrEnum):
    """Values of the ``reason`` label of ``rejections_total``."""

    QUEUE_FULL = "queue_full"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"
    TOO_LARGE = "too_large"
    TYPE = "type"
    UNDECODABLE = "undecodable"
    DIMENSIONS = "dimensions"
    PARAMETER = "parameter"
    AUTH = "auth"
    TIMEOUT = "timeout"
    OTHER = "other"


class ServiceError(Exception):
    """An answer that is not a picture.

    Args:
        message: for the client; one sentence that says what was wrong and what would be right.
        retry_after: seconds after which trying again makes sense; sent as ``Retry-After``, rounded up.
        headers: further response headers.
    """

    status: int = 500
    code: str = "internal"
    reason: Rejection = Rejection.OTHER

    def __init__(
        self, message: str, *, retry_after: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.headers = headers or {}


class BadRequest(ServiceError):
    """Empty body, malformed multipart, missing or duplicate image part."""

    status, code, reason = 400, "bad_request", Rejection.OTHER


class BadParameter(ServiceError):
    """An unknown or invalid parameter, or a combination that cannot be (``rgba`` as JPEG)."""

    status, code, reason = 400, "bad_parameter", Rejection.PARAMETER


class Unauthorized(ServiceError):
    """Keys are configured and the key is missing or wrong."""

    status, code, reason = 401, "unauthorized", Rejection.AUTH


class BodyTimeout(ServiceError):
    """The body did not arrive in time."""

    status, code, reason = 408, "body_timeout", Rejection.TIMEOUT


class TooLarge(ServiceError):
    """Declared or streamed size over the limit."""

    status, code, reason = 413, "too_large", Rejection.TOO_LARGE


class UnsupportedType(ServiceError):
    """Not an image by its bytes, or a format outside the allow-list."""

    status, code, reason = 415, "unsupported_type", Rejection.TYPE


class Undecodable(ServiceError):
    """An image that cannot be decoded: truncated or corrupt."""

    status, code, reason = 422, "undecodable", Rejection.UNDECODABLE


class BadDimensions(ServiceError):
    """Too many pixels, zero-sized, or too big for the chosen output format."""

    status, code, reason = 422, "bad_dimensions", Rejection.DIMENSIONS


class QueueFull(ServiceError):
    """No place is free, or the expected wait exceeds the deadline."""

    status, code, reason = 429, "queue_full", Rejection.QUEUE_FULL


class Unavailable(ServiceError):
    """The load has failed, or the device is dead or out of memory."""

    status, code, reason = 503, "unavailable", Rejection.UNAVAILABLE


class Draining(ServiceError):
    """The service is shutting down and the work no longer fits the grace."""

    status, code, reason = 503, "draining", Rejection.DRAINING


class DeadlineExceeded(ServiceError):
    """The request's deadline passed."""

    status, code, reason = 504, "deadline_exceeded", Rejection.TIMEOUT
