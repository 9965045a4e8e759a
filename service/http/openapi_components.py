"""The parts that several operations of the OpenAPI document share: schemas, headers and error responses.

``openapi`` puts them under ``components`` and refers to them. The error codes come from ``service.errors`` and the
schema of ``/warmup`` from ``warmup_body``, so that the document cannot differ from what the service sends.

Programs make clients of the document, so it must stay within what they understand: a picture is a binary string, an
error has one schema whatever its status, and every schema names its type.
tests/behaviour/test_generated_clients.py runs two generators.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service import errors
from service.errors import ServiceError
from service.http import warmup_body
from supervisor import State

Node = dict[str, Any]

BINARY: Node = {"type": "string", "format": "binary"}
SECURITY: list[Node] = [{}, {"apiKey": []}, {"bearer": []}]
PICTURE_ERRORS = (400, 401, 408, 413, 415, 422, 429, 500, 503, 504)
"""What every path that takes a picture may answer, but those that have errors of their own."""

REQUEST_ID: Node = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "An id of your own for this request. The answer has it again.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
}
"""The header that every request may have. It is part of every operation also because openapi-python-client makes a
module that cannot be imported of an operation with several types of body and no optional parameter."""

MADE_BY = ("X-Engine", "X-Weights", "Server-Timing")
SUBJECT = (
    "X-Foreground-Top",
    "X-Foreground-Left",
    "X-Foreground-Width",
    "X-Foreground-Height",
    "X-Uncertainty",
)

_WHEN = {
    400: "The body is empty or malformed, the picture is missing or there is more than one, a parameter is unknown "
    "or invalid, or the request asks for `rgba` as JPEG.",
    401: "API keys are configured, and the key is missing or wrong.",
    404: "There is nothing at this path.",
    405: "This path does not serve this method; `Allow` lists the methods that it serves.",
    408: "The body did not arrive in time.",
    413: "The picture is larger than the limit on uploads.",
    415: "The bytes of the body are not a picture, or not one in an accepted format; or the body is compressed "
    "(`Content-Encoding`).",
    422: "The picture cannot be decoded, is truncated, has too many pixels or none, has no subject although one is "
    "needed, is too large for the format of the answer, or is so large that the work on it alone would outlast the "
    "deadline.",
    429: "The queue is full, the expected wait exceeds the deadline, or the API key holds half of the places while "
    "another one waits.",
    500: "The service failed because of an error of its own.",
    503: "The engine could not be loaded, the service is shutting down, or the device has failed or is out of memory.",
    504: "The deadline of the request passed.",
}
"""Every error status, and when the service sends it."""


ERROR_HEADERS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding",),
    429: ("Retry-After",),
    503: ("Retry-After",),
    504: ("Retry-After",),
}
"""The headers that an error of each status may have, besides the request's id."""


def components() -> Node:
    """The ``components`` object of the document."""
    return {
        "schemas": {**_error_schemas(), "Warmup": warmup_body.schema(), **_health_schemas()},
        "headers": _headers(),
        "responses": {f"Error{status}": _error(status) for status in _WHEN},
        "securitySchemes": {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
    }


def _codes() -> dict[int, list[str]]:
    """The values of ``error.code`` for each status."""
    codes = {404: ["not_found"], 405: ["method_not_allowed"], ServiceError.status: [ServiceError.code]}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, ServiceError) and error is not ServiceError:
            codes.setdefault(error.status, []).append(error.code)
    return codes


def _error(status: int) -> Node:
    codes = ", ".join(f"`{code}`" for code in _codes()[status])
    return {
        "description": f"{_WHEN[status]} `code`: {codes}.",
        "headers": header_refs("X-Request-Id", *ERROR_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def error_refs(statuses: Iterable[int]) -> Node:
    """Error responses by status, as references into ``components``."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def _error_schemas() -> Node:
    text = {"type": "string"}
    # No enum: a client of today must be able to read the codes of tomorrow.
    code = text | {
        "description": "For programs. Codes may be added; the responses name those of each status.",
        "examples": sorted({code for codes in _codes().values() for code in codes}),
    }
    details = {
        "type": "object",
        "required": ["code", "message", "request_id"],
        "properties": {
            "code": code,
            "message": text | {"description": "For people: what was wrong, and what to do."},
            "request_id": text | {"description": "The same as in `X-Request-Id`; the log has it too."},
        },
    }
    return {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"$ref": "#/components/schemas/ErrorDetails"}},
        },
        "ErrorDetails": details,
    }


def _health_schemas() -> Node:
    text = {"type": "string"}
    return {
        "Readiness": {
            "type": "object",
            "required": ["status", "state"],
            "properties": {
                "status": text | {"enum": ["ready", "not ready"]},
                "state": text | {"enum": [state.value for state in State]},
            },
        },
        "Liveness": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": text | {"enum": ["alive", "dead"]},
                "reason": text | {"description": "Why only a restart helps."},
            },
        },
    }


def header_refs(*names: str) -> Node:
    """Response headers by name, as references into ``components``."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> Node:
    text, whole = {"type": "string"}, {"type": "integer", "minimum": 1}
    pixels: Node = {"type": "integer", "minimum": 0}
    described = {
        "X-Request-Id": ("The id of this request: the one that it sent, or a new one.", text),
        "X-Engine": ("The engine that made the mask: `inspyrenet` or `u2netp`.", text),
        "X-Weights": (
            "The weights that made the mask: the first 12 digits of their SHA-256.",
            text | {"pattern": "^[0-9a-f]{12}$"},
        ),
        "X-Foreground-Top": ("The first row of the subject in the upright input.", pixels),
        "X-Foreground-Left": ("The first column of the subject in the upright input.", pixels),
        "X-Foreground-Width": ("Pixels of the input; 0 if there is no subject.", pixels),
        "X-Foreground-Height": ("Pixels of the input; 0 if there is no subject.", pixels),
        "X-Uncertainty": (
            "The share of the input's pixels whose alpha is from 0.1 to 0.9: soft edges, hair, and where the network "
            "is not sure.",
            {"type": "number", "minimum": 0, "maximum": 1},
        ),
        "Server-Timing": ("Milliseconds of `decode`, `queue`, `infer`, `compose`, `encode`.", text),
        "Retry-After": ("Seconds after which the client should try again.", whole),
        "WWW-Authenticate": ("How to send an API key.", text),
        "Allow": ("The methods that this path serves.", text),
        "Accept-Encoding": ("`identity`, if the body was compressed: send it as it is.", text),
        "ETag": ("For `If-None-Match`: the same file is not sent again.", text),
    }
    return {
        name: {"description": description, "schema": schema}
        for name, (description, schema) in described.items()
    }
