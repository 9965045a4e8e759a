"""The other services' contracts in the OpenAPI document: remove.bg's and rembg's paths.

``openapi`` puts what is here into its document. Values and limits come from the code that decides them;
docs/removebg.md and docs/rembg.md say for people what each field means here.
"""

from __future__ import annotations

from service.http import rembg
from service.http.openapi_components import (
    BINARY,
    ERROR_HEADERS,
    MADE_BY,
    PICTURE_ERRORS,
    SECURITY,
    SUBJECT,
    Node,
    error_refs,
    header_refs,
)
from service.http.rembg import IGNORED_HEADER, NOT_APPLIED
from service.http.removebg import account, contract, fields, reading
from service.imaging.formats.recognise import FORMATS

_TEXT: Node = {"type": "string"}
_FLAG: Node = {"type": "boolean"}

_REMOVEBG_ERRORS: dict[str, str] = {
    "400": "The request is wrong, or the picture cannot be served; `code` says why.",
    "403": "API keys are configured, and the key is missing or wrong (`auth_failed`).",
    "408": "The body did not arrive in time.",
    "429": "The queue is full (`rate_limit_exceeded`).",
    "500": "The service failed because of an error of its own.",
    "503": "The engine could not be loaded, the service is shutting down, or the device has failed.",
    "504": "The deadline of the request passed.",
}
_RATE_LIMIT = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_OURS = {"400": 415, "403": 401}
"""The status that one of these errors has on ``/process``, where it is another one."""


def paths(max_upload_bytes: int) -> Node:
    """The paths of the other contracts.

    Args:
        max_upload_bytes: the configured limit on the size of a picture.
    """
    return {
        contract.PATH: {"post": _removebg(min(max_upload_bytes, contract.MAX_PICTURE_BYTES))},
        account.PATH: {"get": _account()},
        rembg.PATH: {"post": _rembg(max_upload_bytes), "get": _rembg_by_address()},
    }


def schemas() -> Node:
    """Their schemas, for ``components``."""
    error = {
        "type": "object",
        "required": ["title", "code", "detail"],
        "properties": {"title": _TEXT, "code": _TEXT, "detail": _TEXT},
    }
    return {
        "RemoveBgErrors": {
            "type": "object",
            "required": ["errors"],
            "properties": {"errors": {"type": "array", "items": error, "minItems": 1, "maxItems": 1}},
        },
        "RemoveBgResult": _result_schema(),
        "RemoveBgAccount": _account_schema(),
    }


def headers() -> Node:
    """Their headers, for ``components``."""
    whole: Node = {"type": "integer", "minimum": 0}
    described: dict[str, tuple[str, Node]] = {
        "X-Width": ("Of the answer, in pixels.", whole),
        "X-Height": ("Of the answer, in pixels.", whole),
        "X-Type": (
            "The kind of subject that the request named, else `other`.",
            {"type": "string", "enum": [*fields.TYPES]},
        ),
        "X-Credits-Charged": ("Always 0.", {"type": "integer", "const": 0}),
        "X-RateLimit-Limit": ("Requests that may be under way at a time.", whole),
        "X-RateLimit-Remaining": ("How many more may be sent now; 0 with a 429.", whole),
        "X-RateLimit-Reset": ("When there is room again: seconds since 1970.", whole),
        IGNORED_HEADER: ("Parameters that were accepted and not applied, separated by commas.", _TEXT),
    }
    return {name: {"description": text, "schema": schema} for name, (text, schema) in described.items()}


def _removebg(max_picture_bytes: int) -> Node:
    plain = _removebg_fields()
    form = plain | {
        reading.PICTURE: BINARY | {"description": "The picture."},
        reading.BACKGROUND: BINARY | {"description": "A picture for the background."},
    }
    pictures: Node = {
        content_type: {"schema": BINARY}
        for content_type in ("image/png", "image/jpeg", "image/webp", "application/zip")
    }
    return {
        "tags": ["pictures"],
        "operationId": "removebg",
        "summary": "Remove a background by remove.bg's contract",
        "description": f"Exactly one of `{reading.PICTURE}`, `{reading.BASE64}` and `{reading.ADDRESS}`; at most "
        f"{max_picture_bytes} bytes for each decoded picture. Accepted formats: "
        f"{', '.join(file_format.name for file_format in FORMATS)}. With `Accept: application/json` the picture comes "
        "in base64. Empty fields count as absent, unknown ones are ignored.",
        "security": SECURITY,
        "requestBody": {
            "required": True,
            "content": {
                reading.FORM: {"schema": {"type": "object", "properties": form}},
                reading.URLENCODED: {"schema": {"type": "object", "properties": plain}},
                reading.JSON: {"schema": {"type": "object", "properties": plain}},
            },
        },
        "responses": {
            "200": {
                "description": "The picture, or JSON with the picture in base64.",
                "headers": header_refs(
                    *MADE_BY, *SUBJECT, "X-Width", "X-Height", "X-Type", "X-Credits-Charged", *_RATE_LIMIT
                ),
                "content": pictures
                | {reading.JSON: {"schema": {"$ref": "#/components/schemas/RemoveBgResult"}}},
            },
            **{status: _removebg_error(status, *_RATE_LIMIT) for status in _REMOVEBG_ERRORS},
        },
    }


def _removebg_fields() -> Node:
    lengths = "lengths such as `10px` or `10%`"
    described: dict[str, tuple[str, Node]] = {
        reading.BASE64: ("The picture in base64.", {"type": "string", "format": "byte"}),
        reading.ADDRESS: ("The picture's address, on a host that the operator allows.", _TEXT),
        "size": (
            "The most pixels of the answer. Default: `preview`.",
            {"type": "string", "enum": [*fields.SIZES]},
        ),
        "format": (
            "The file format of the answer. Default: `auto`.",
            {"type": "string", "enum": [*fields.FORMATS]},
        ),
        "channels": (
            "The cut-out or its mask. Default: `rgba`.",
            {"type": "string", "enum": [*fields.CHANNELS]},
        ),
        "roi": (f"Where the subject is: left, top, right, bottom, four {lengths}.", _TEXT),
        "crop": ("Cut the answer down to the subject.", _FLAG),
        "crop_margin": (f"What `crop` leaves around the subject: one, two or four {lengths}.", _TEXT),
        "scale": ("The subject's size in the answer: `10%` to `100%`, or `original`.", _TEXT),
        "position": ("Where the subject stands: `original`, `center`, or shares such as `50% 100%`.", _TEXT),
        "bg_color": ("A background: hexadecimal digits, or a colour's name in CSS.", _TEXT),
        reading.BACKGROUND_ADDRESS: ("The address of a picture for the background.", _TEXT),
    }
    described |= {
        name: ("Accepted, and not applied.", _FLAG if name in fields.FLAGS_NOT_APPLIED else _TEXT)
        for name in fields.NOT_APPLIED
    }
    return {name: schema | {"description": text} for name, (text, schema) in described.items()}


def _removebg_error(status: str, *headers: str) -> Node:
    extra = ERROR_HEADERS.get(_OURS.get(status, int(status)), ())
    return {
        "description": _REMOVEBG_ERRORS[status],
        "headers": header_refs(*extra, *headers),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RemoveBgErrors"}}},
    }


def _object(properties: Node) -> Node:
    return {"type": "object", "required": [*properties], "properties": properties}


def _result_schema() -> Node:
    box = {f"foreground_{side}": {"type": "integer"} for side in ("top", "left", "width", "height")}
    return _object({"data": _object({"result_b64": {"type": "string", "format": "byte"}, **box})})


def _account_schema() -> Node:
    whole: Node = {"type": "integer"}
    credits = _object(dict.fromkeys(("total", "subscription", "payg", "enterprise"), whole))
    api = _object({"free_calls": whole, "sizes": _TEXT})
    return _object({"data": _object({"attributes": _object({"credits": credits, "api": api})})})


def _account() -> Node:
    return {
        "tags": ["pictures"],
        "operationId": "removebgAccount",
        "summary": "The account by remove.bg's contract",
        "description": "There is nothing to pay: the number of credits never falls.",
        "security": SECURITY,
        "responses": {
            "200": {
                "description": "The account.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RemoveBgAccount"}}},
            },
            **{status: _removebg_error(status) for status in ("403", "503")},
        },
    }


def _rembg_parameters() -> Node:
    described: dict[str, tuple[str, Node]] = {
        "om": ("Only the mask.", _FLAG),
        "ppm": ("A hard mask.", _FLAG),
        "bgc": (
            "A background colour: red, green, blue, opacity.",
            {"type": "string", "examples": ["255,255,255,255"]},
        ),
    }
    described |= dict.fromkeys(
        NOT_APPLIED, (f"Accepted, and not applied; `{IGNORED_HEADER}` says so.", _TEXT)
    )
    return {name: schema | {"description": text} for name, (text, schema) in described.items()}


def _in_query(properties: Node) -> list[Node]:
    return [
        {"name": name, "in": "query", "description": schema["description"], "schema": schema}
        for name, schema in properties.items()
    ]


def _rembg_responses() -> Node:
    return {
        "200": {
            "description": "The picture, as PNG.",
            "headers": header_refs(*MADE_BY, *SUBJECT, IGNORED_HEADER),
            "content": {"image/png": {"schema": BINARY}},
        },
        **error_refs(PICTURE_ERRORS),
    }


def _rembg(max_upload_bytes: int) -> Node:
    properties = _rembg_parameters()
    form = {"file": BINARY | {"description": "The picture."}, **properties}
    return {
        "tags": ["pictures"],
        "operationId": "rembg",
        "summary": "Remove a background by rembg's contract",
        "description": "Parameters come in the query or as form fields; unknown ones are ignored.",
        "security": SECURITY,
        "parameters": _in_query(properties),
        "requestBody": {
            "required": True,
            "description": f"At most {max_upload_bytes} bytes of picture.",
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": form, "required": ["file"]}
                },
                "image/*": {"schema": BINARY},
                "application/octet-stream": {"schema": BINARY},
            },
        },
        "responses": _rembg_responses(),
    }


def _rembg_by_address() -> Node:
    address: Node = {
        "url": _TEXT | {"description": "The picture's address, on a host that the operator allows."}
    }
    (url,), others = _in_query(address), _in_query(_rembg_parameters())
    return {
        "tags": ["pictures"],
        "operationId": "rembgByAddress",
        "summary": "Remove the background of a picture that an address names, by rembg's contract",
        "security": SECURITY,
        "parameters": [url | {"required": True}, *others],
        "responses": _rembg_responses(),
    }
