"""The errors of remove.bg's contract: their codes, statuses and envelope.

The modules beside this one raise ``RemoveBgError`` for what is peculiar to the contract. ``envelope`` renders those and
all other errors; the middleware calls it for every path of the contract. Clients branch on status and code.
"""

from __future__ import annotations

from typing import Any

from service.errors import (
    BadDimensions,
    NoPixels,
    NoSubject,
    QueueFull,
    RegionEmpty,
    RegionOutside,
    Rejection,
    ServiceError,
    TooLarge,
    Unauthorized,
    Undecodable,
    UnsupportedType,
)
from service.http.middleware import PublicError

_THEIRS: dict[type[ServiceError], tuple[int, str]] = {
    Unauthorized: (403, "auth_failed"),
    TooLarge: (400, "file_too_large"),
    UnsupportedType: (400, "invalid_file_type"),
    Undecodable: (400, "failed_to_read_image"),
    BadDimensions: (400, "resolution_too_high"),
    NoPixels: (400, "invalid_dimensions"),
    NoSubject: (400, "unknown_foreground"),
    RegionOutside: (400, "roi_exceeds_bounds"),
    RegionEmpty: (400, "roi_region_empty"),
    QueueFull: (429, "rate_limit_exceeded"),
}
"""The service's errors that have a status and a code of their own there; all others keep ours."""


class RemoveBgError(ServiceError):
    """An error that only this contract knows; always a 400.

    Args:
        code: theirs, such as ``invalid_size``.
        message: for the client.
        reason: as what the rejection counts.
    """

    status = 400

    def __init__(self, code: str, message: str, *, reason: Rejection = Rejection.PARAMETER) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def two_backgrounds() -> RemoveBgError:
    """The error for two pictures, or a colour and a picture, behind one subject."""
    return RemoveBgError(
        "multiple_bg_sources", "More than one background was given. Give a colour or one picture."
    )


def envelope(error: PublicError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error: a list of exactly one error, which clients read without looking."""
    status, code = error.status, error.code
    if error.cause is not None:
        status, code = _THEIRS.get(type(error.cause), (status, code))
    title, _, _ = error.message.partition(". ")
    return status, {"errors": [{"title": title.rstrip("."), "code": code, "detail": error.message}]}
