"""Errors that a client sees: each has a status, a code and a public message.

Any module may raise them; ``http.middleware.render_errors`` turns them into answers. A message goes to the client, so
it must say what is wrong and what to do, and must not hold a path, a traceback or the message of a library.
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
    URL = "url"
    OTHER = "other"


class ServiceError(Exception):
    """A request that ends with an error.

    Args:
        message: for the client; it says what is wrong and what to do.
        retry_after: seconds after which to try again; sent as ``Retry-After``, rounded up.
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
    """The body is empty or malformed, or its image part is missing or duplicate."""

    status, code, reason = 400, "bad_request", Rejection.OTHER


class BadParameter(ServiceError):
    """A parameter is unknown or invalid, or two do not go together (``rgba`` as JPEG)."""

    status, code, reason = 400, "bad_parameter", Rejection.PARAMETER


class BadAddress(ServiceError):
    """The address of a picture is malformed, or names what must not be fetched."""

    status, code, reason = 400, "bad_address", Rejection.URL


class DownloadFailed(ServiceError):
    """The picture could not be fetched from its address."""

    status, code, reason = 400, "download_failed", Rejection.URL


class RegionOutside(BadParameter):
    """The region of interest reaches beyond the picture."""


class RegionEmpty(BadParameter):
    """The region of interest holds no pixel."""


class Unauthorized(ServiceError):
    """Keys are configured, and the request has no key or a wrong one."""

    status, code, reason = 401, "unauthorized", Rejection.AUTH


class BodyTimeout(ServiceError):
    """The body did not arrive in time."""

    status, code, reason = 408, "body_timeout", Rejection.TIMEOUT


class TooLarge(ServiceError):
    """The body is longer than the limit, as declared or as received."""

    status, code, reason = 413, "too_large", Rejection.TOO_LARGE


class UnsupportedType(ServiceError):
    """The bytes are not an image, or its format is not on the allow-list."""

    status, code, reason = 415, "unsupported_type", Rejection.TYPE


class Undecodable(ServiceError):
    """The image cannot be decoded: it is truncated or corrupt."""

    status, code, reason = 422, "undecodable", Rejection.UNDECODABLE


class BadDimensions(ServiceError):
    """The image has too many pixels, or none, or is too big for the chosen output format or for the deadline."""

    status, code, reason = 422, "bad_dimensions", Rejection.DIMENSIONS


class NoPixels(BadDimensions):
    """A side of the image is zero."""


class NoSubject(ServiceError):
    """Nothing was found in the picture, or nothing that the engine is sure of, and the request needs a subject."""

    status, code, reason = 422, "no_subject", Rejection.OTHER


class QueueFull(ServiceError):
    """No place is free, the expected wait exceeds the deadline, or the key holds its share while another waits."""

    status, code, reason = 429, "queue_full", Rejection.QUEUE_FULL


class Unavailable(ServiceError):
    """The load has failed, or the device is dead or out of memory."""

    status, code, reason = 503, "unavailable", Rejection.UNAVAILABLE


class Draining(ServiceError):
    """The service is shutting down, and the work does not fit into the grace."""

    status, code, reason = 503, "draining", Rejection.DRAINING


class DeadlineExceeded(ServiceError):
    """The request's deadline passed."""

    status, code, reason = 504, "deadline_exceeded", Rejection.TIMEOUT
