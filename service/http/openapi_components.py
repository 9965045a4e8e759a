"""What the OpenAPI document's operations share: schemas, headers, and one response for each error status."""

from __future__ import annotations

from typing import Any

from service import errors
from service.errors import ServiceError
from supervisor.protocol import Outcome
from supervisor.state import State

Node = dict[str, Any]

_WHEN = {
    400: "The body is empty or malformed, the picture is missing or there is more than one, a parameter is unknown "
    "or invalid, or `rgba` was asked for as JPEG.",
    401: "API keys are configured, and the key is missing or wrong.",
    404: "There is nothing at this path.",
    405: "This path does not serve this method; `Allow` lists those it does.",
    408: "The body did not arrive in time.",
    413: "The picture is larger than the limit on uploads.",
    415: "The body is not a picture by its bytes, or in a format that is not accepted.",
    422: "The picture cannot be decoded, is truncated, has too many pixels or none, or is too big for the format "
    "asked for.",
    429: "The queue is full, or the expected wait exceeds the deadline.",
    500: "The service failed; this is its own fault.",
    503: "The engine could not be loaded, the service is shutting down, or the device has failed or is out of memory.",
    504: "The deadline of the request passed.",
}
"""Every error status there is, and when."""


def components() -> Node:
    """The ``components`` object of the document."""
    return {
        "schemas": {"Error": _error_schema(), "Warmup": _warmup_schema()},
        "headers": _headers(),
        "responses": {f"Error{status}": _error(status) for status in _WHEN},
        "securitySchemes": {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
    }


def _codes() -> dict[int, list[str]]:
    """The values of ``error.code`` by status."""
    codes = {404: ["not_found"], 405: ["method_not_allowed"], ServiceError.status: [ServiceError.code]}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, ServiceError) and error is not ServiceError:
            codes.setdefault(error.status, []).append(error.code)
    return codes


def _error(status: int) -> Node:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Error"},
            {"properties": {"error": {"properties": {"code": {"enum": _codes()[status]}}}}},
        ]
    }
    extra = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After"], 503: ["Retry-After"]}
    return {
        "description": _WHEN[status],
        "headers": header_refs("X-Request-Id", *extra.get(status, [])),
        "content": {"application/json": {"schema": schema}},
    }


def _error_schema() -> Node:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "request_id"],
                "properties": {
                    "code": text | {"description": "For programs; one of a fixed set."},
                    "message": text | {"description": "For people: what was wrong, and what would be right."},
                    "request_id": text | {"description": "As in `X-Request-Id`; the log has it too."},
                },
            }
        },
    }


def _warmup_schema() -> Node:
    def some(kind: str, description: str) -> Node:
        return {"type": [kind, "null"], "description": description}

    def size(description: str) -> Node:
        pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
        return pair | {"description": f"{description}: [width, height] in pixels."}

    return {
        "type": "object",
        "required": ["status", "message", "model_ready", "state", "engine"],
        "properties": {
            "status": {"enum": ["success", "error", "pending"]},
            "message": {"type": "string", "description": "For people."},
            "error_type": some("string", "What failed; only on failure."),
            "model_ready": {"type": "boolean", "description": "As `/readyz` says."},
            "container_ready": {"type": "boolean", "description": "The service answers: always true."},
            "state": {"enum": [state.value for state in State]},
            "outcome": {
                "enum": [*(outcome.value for outcome in Outcome), None],
                "description": "Of the last probe.",
            },
            "consecutive_failures": {"type": "integer", "minimum": 0},
            "last_success_age_seconds": some("number", "Since a probe last passed; null if none has."),
            "interval_seconds": some("number", "Between probes, in effect now."),
            "phase": some("string", "What the load is doing."),
            "reason": some("string", "Why the state is not `ready`; null if it is."),
            "load_time": some("number", "Seconds the load took."),
            "process_time": some("number", "Seconds the last finished probe took."),
            "total_time": some("number", "Both together."),
            "timestamp": {"type": "number", "description": "Unix time at which this was said."},
            "endpoint": {"const": "/warmup"},
            "engine": {"type": "string", "enum": ["inspyrenet", "grabcut"]},
            "fallback": some("boolean", "The engine stands in for another."),
            "fallback_reason": some("string", "Why it does."),
            "device": some("string", "As torch names it: `cpu`, `cuda:0`."),
            "precision": some("string", "`fp32` or `bf16`."),
            "precision_reason": some("string", "Why that precision."),
            "mode": some("string", "`base`, `fast`, `base-nightly`; `none` for grabcut."),
            "resize": some("string", "`static` or `dynamic`; `none` for grabcut."),
            "weights": some("string", "`official`, `file`, `dummy`, or `none`."),
            "weights_note": some("string", "What a person must know of the weights."),
            "image_size": size("Of the picture a probe sends"),
            "configured_warmup_size": {
                "type": "integer",
                "description": "The side asked for in the settings.",
            },
            "model_input_size": size("Of what the model is fed for it"),
        },
    }


def header_refs(*names: str) -> Node:
    """Response headers by name, as references to the described ones."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> Node:
    text, whole = {"type": "string"}, {"type": "integer", "minimum": 1}
    said = {
        "X-Request-Id": ("Names this request in the log.", text),
        "X-Engine": ("What made the mask: `inspyrenet` or `grabcut`.", text),
        "Server-Timing": ("Milliseconds of `queue`, `decode`, `infer`, `compose`, `encode`.", text),
        "Retry-After": ("Seconds after which trying again makes sense.", whole),
        "WWW-Authenticate": ("How to send a key.", text),
        "Allow": ("The methods this path serves.", text),
    }
    return {name: {"description": what, "schema": schema} for name, (what, schema) in said.items()}
