"""The OpenAPI 3.1 document: everything that the service offers, described for programs.

``pages`` serves it as ``/openapi.json``, and ``/docs`` shows it to people. Outputs, formats and their limits, names of
the file part, error codes and the body of ``/warmup`` come from the code that decides them; never write them down here
a second time.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.http import openapi_contracts
from service.http.body import BACKGROUND_FIELD, IMAGE_FIELDS
from service.http.measures import MOST_MARGIN_PIXELS
from service.http.middleware import QUIET_PATHS
from service.http.openapi_components import (
    BINARY,
    MADE_BY,
    PICTURE_ERRORS,
    REQUEST_ID,
    SECURITY,
    SUBJECT,
    Node,
    components,
    error_refs,
    header_refs,
)
from service.http.platforms import ALIASES
from service.imaging.encode import MAX_SIDE
from service.imaging.formats.recognise import FORMATS
from service.imaging.options import Format, Output

_UNLOGGED = ", ".join(f"`{path}`" for path in sorted(QUIET_PATHS))
_SUMMARY = f"""\
`POST` a photo to `/process` and get the cut-out back.

Errors are JSON: `{{"error": {{"code": ..., "message": ..., "request_id": ...}}}}`. An unknown path gets a 404; a
method that a path does not serve gets a 405 with `Allow`. Every answer carries `X-Request-Id`: the one that the
request sent, or a new one. The log has it too, except for what monitors ask every few seconds: {_UNLOGGED} and
`GET /warmup`.

`/process` waits while the service is still cold. `/warmup` says whether it is warm. It judges by the last probe: a
real picture that went through the same path as a client's picture."""

_COLOUR_PATTERN = "^#[0-9a-fA-F]{6}$"


def document(*, version: str, max_upload_bytes: int, aliases: Mapping[str, str] = ALIASES) -> Node:
    """The OpenAPI 3.1 document. This function is pure.

    Args:
        version: of the service.
        max_upload_bytes: the configured limit on the size of a picture.
        aliases: other names of some paths.
    """
    shared = components()
    paths = _with_request_ids(_paths(max_upload_bytes))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "InSPyReNet API",
            "summary": "Background removal as a service that never lies about being warm.",
            "description": _SUMMARY,
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        # Relative, so that it is also right behind a path prefix.
        "servers": [{"url": "."}],
        "tags": [
            {"name": "pictures", "description": "Background removal."},
            {"name": "health", "description": "Whether the service is ready. These paths need no API key."},
            {
                "name": "operation",
                "description": "For those who run the service. These paths need no API key.",
            },
        ],
        "paths": paths | {alias: _alias(alias, path, paths[path]) for alias, path in aliases.items()},
        "components": {
            **shared,
            "schemas": shared["schemas"] | openapi_contracts.schemas(),
            "headers": shared["headers"] | openapi_contracts.headers(),
        },
    }


def _paths(max_upload_bytes: int) -> Node:
    return {
        "/process": {"post": _process(max_upload_bytes)},
        **openapi_contracts.paths(max_upload_bytes),
        "/warmup": {"get": _warmup_get(), "post": _warmup_post()},
        "/status": {"get": _status()},
        "/readyz": {"get": _readyz()},
        "/livez": {"get": _livez()},
        "/metrics": {"get": _metrics()},
        **_files(),
    }


def _alias(alias: str, path: str, operations: Node) -> Node:
    """The operations of a path under another name."""
    starting: Node = {}
    if alias == "/ping":
        starting["204"] = {
            "description": "On RunPod only: the service is starting.",
            "headers": header_refs("X-Request-Id"),
        }
    return {
        method: operation
        | {
            "responses": operation["responses"] | starting,
            "operationId": f"{operation['operationId']}{alias.title().replace('/', '')}",
            "summary": f"The same as `{path}`, under the name that some platforms ask for",
            "description": f"See `{path}`.",
        }
        for method, operation in operations.items()
    }


def _with_request_ids(paths: Node) -> Node:
    """The same paths; each operation takes an id, and each answer has one, as ``middleware`` sees to."""
    for path in paths.values():
        for operation in path.values():
            operation["parameters"] = [*operation.get("parameters", []), REQUEST_ID]
            for response in operation["responses"].values():
                if "$ref" not in response:
                    response["headers"] = header_refs("X-Request-Id") | response.get("headers", {})
    return paths


def _process(max_upload_bytes: int) -> Node:
    parameters = _process_parameters()
    names = ", ".join(f"`{name}`" for name in IMAGE_FIELDS)
    picture = BINARY | {"description": f"The picture: exactly one of {names}."}
    first, *others = IMAGE_FIELDS
    fields: Node = {first: picture, **dict.fromkeys(others, picture | {"x-alias-of": first})}
    fields[BACKGROUND_FIELD] = BINARY | {"description": "The second picture, for `output=background`."}
    fields |= {p["name"]: p["schema"] | {"description": p["description"]} for p in parameters}
    form = {
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
    }
    return {
        "tags": ["pictures"],
        "operationId": "process",
        "summary": "Remove the background of a picture",
        "description": "The answer has the size of the upright picture, unless `crop` or `size` says otherwise. "
        "Accepted formats: "
        f"{', '.join(file_format.name for file_format in FORMATS)}; of an animation, the first frame. "
        "The bytes decide the format, not the file name. Send "
        "parameters in the query or, with `multipart/form-data`, as form fields; each at most once.",
        "security": SECURITY,
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": f"At most {max_upload_bytes} bytes of picture, or of both pictures together.",
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": BINARY},
                "application/octet-stream": {"schema": BINARY},
            },
        },
        "responses": {
            "200": {
                "description": "The cut-out in the requested format.",
                "headers": header_refs(*MADE_BY, *SUBJECT),
                "content": {format.content_type: {"schema": BINARY} for format in Format},
            },
            **error_refs(PICTURE_ERRORS),
        },
    }


def _process_parameters() -> list[Node]:
    words = [output.value for output in Output if output is not Output.COLOUR]
    return [
        {
            "name": "output",
            "in": "query",
            "description": "What the answer shows. `rgba`: the cut-out on a transparent background; `mask`: the mask "
            "in grey; `green`, `white` or a colour `#rrggbb` (in a query: `%23rrggbb`): the cut-out on that colour; "
            "`background`: the cut-out on the picture in the file part `background`, which fills the answer as CSS "
            "`cover` does; `blur`: the picture with its background blurred; `overlay`: the mask over the picture. "
            f"Default: `{Output.RGBA.value}`.",
            "schema": {
                "anyOf": [
                    {"type": "string", "enum": words},
                    {"type": "string", "pattern": _COLOUR_PATTERN},
                ],
            },
        },
        {
            "name": "format",
            "in": "query",
            "description": "The file format of the answer. `rgba` cannot be `jpeg`. `zip` holds `color.jpg` and "
            "`alpha.png`, for `rgba` alone. The longest side in pixels: "
            + ", ".join(f"{side} in `{name}`" for name, side in MAX_SIDE.items())
            + f". Default: `{Format.PNG.value}`.",
            "schema": {"type": "string", "enum": [format.value for format in Format]},
        },
        {
            "name": "threshold",
            "in": "query",
            "description": "Makes the mask hard: values above this become foreground, all others background. "
            "Without it the mask stays soft.",
            "schema": {"type": "number", "minimum": 0, "maximum": 1},
        },
        {
            "name": "reverse",
            "in": "query",
            "description": "Keep the background and remove the foreground.",
            "schema": {"type": "boolean"},
        },
        *_placement_parameters(),
    ]


def _placement_parameters() -> list[Node]:
    length = r"(0|[0-9]+(\.[0-9]+)?(px|%))"
    share = r"[0-9]+(\.[0-9]+)?%"
    return [
        {
            "name": "quality",
            "in": "query",
            "description": "Of the colours in `jpeg`, `webp`, `avif` and `zip`. Without it, each format's default.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100},
        },
        {
            "name": "crop",
            "in": "query",
            "description": "Cut the answer down to the subject. 422 if there is none.",
            "schema": {"type": "boolean"},
        },
        {
            "name": "margin",
            "in": "query",
            "description": "What `crop` leaves around the subject: one length; two (top and bottom, right and left); "
            "or four (top, right, bottom, left), in pixels of the input or in percent of the subject, at most 50% or "
            f"{MOST_MARGIN_PIXELS}px. It may reach beyond the picture, except with `blur` and `overlay`.",
            "schema": {"type": "string", "pattern": f"^{length}( {length}( {length} {length})?)?$"},
        },
        {
            "name": "scale",
            "in": "query",
            "description": "The subject as large as it fits into this share of the answer, 10% to 100%; in the middle, "
            "unless `position` says otherwise. Not with `blur` and `overlay`. Default: `original`.",
            "schema": {"type": "string", "pattern": f"^(original|{share})$"},
        },
        {
            "name": "position",
            "in": "query",
            "description": "Where the subject stands: `original`, `center`, or one or two values from 0% to 100%, from "
            "the left and from the top: at 100% it touches the edge. Not with `blur` and `overlay`.",
            "schema": {"type": "string", "pattern": f"^(original|center|{share}( {share})?)$"},
        },
        {
            "name": "size",
            "in": "query",
            "description": "The longest side of the answer in pixels. A larger answer is reduced; none is enlarged.",
            "schema": {"type": "integer", "minimum": 1},
        },
    ]


def _warmup_get() -> Node:
    return {
        "tags": ["health"],
        "operationId": "getWarmup",
        "summary": "The result of the last probe, at once",
        "responses": _warmup_responses(
            "The last finished probe passed and is fresh, and nothing else argues against it.",
            "The last finished probe failed, a job hangs, or pictures of some size fail.",
            "No probe has finished, the engine is not loaded, the service is shutting down, the supervisor is not "
            "running, or the last success is too old.",
        ),
    }


def _warmup_post() -> Node:
    return {
        "tags": ["health"],
        "operationId": "postWarmup",
        "summary": "Warm the service, and wait for the result",
        "description": "Joins the probe in progress or starts one. While the engine loads, it waits for the first "
        "probe. If the last success is recent enough, it answers with that at once. A client that leaves cancels "
        "nothing.",
        "responses": _warmup_responses(
            "The probe ran and passed.", "The probe ran and failed.", "The probe could not run."
        ),
    }


def _warmup_responses(passed: str, failed: str, undecided: str) -> Node:
    descriptions = {"200": passed, "500": failed, "503": undecided}
    return {
        status: {
            "description": description,
            "headers": header_refs(*(["Retry-After"] if status == "503" else [])),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Warmup"}}},
        }
        for status, description in descriptions.items()
    }


def _status() -> Node:
    return {
        "tags": ["health"],
        "operationId": "status",
        "summary": "The body of `/warmup`, always with 200",
        "description": "For pages that show the state. A monitor must ask `/warmup`, whose status tells the state.",
        "responses": {
            "200": {
                "description": "Whatever the state is.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Warmup"}}},
            }
        },
    }


def _readyz() -> Node:
    return _health(
        "readyz",
        "Whether to send requests here",
        "Never runs inference.",
        (
            "Ready, or degraded: the last one or two probes failed, codec threads are late, or larger pictures are "
            "refused.",
            "Not ready.",
        ),
        "Readiness",
        unavailable=("Retry-After",),
    )


def _livez() -> Node:
    return _health(
        "livez",
        "Whether the process is alive",
        "503 only if nothing but a restart can help.",
        ("Alive.", "Dead: only a restart helps."),
        "Liveness",
    )


def _health(
    name: str,
    summary: str,
    description: str,
    descriptions: tuple[str, str],
    schema: str,
    *,
    unavailable: tuple[str, ...] = (),
) -> Node:
    """``unavailable``: the headers that only a 503 has."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "tags": ["health"],
        "operationId": name,
        "summary": summary,
        "description": description,
        "responses": {
            status: {"description": text, "headers": header_refs(*extra), "content": content}
            for status, text, extra in zip(("200", "503"), descriptions, ((), unavailable), strict=True)
        },
    }


def _metrics() -> Node:
    text = {"schema": {"type": "string"}}
    return {
        "tags": ["operation"],
        "operationId": "metrics",
        "summary": "Metrics for Prometheus",
        "responses": {
            "200": {
                "description": "The Prometheus text format, or OpenMetrics if the request accepts it.",
                "content": {"text/plain": text, "application/openmetrics-text": text},
            }
        },
    }


def _files() -> Node:
    return {
        "/": {"get": _file("The web page", "page", "text/html", "string")},
        "/docs": {"get": _file("This documentation for people", "docs", "text/html", "string")},
        "/openapi.json": {
            "get": _file("This documentation for machines", "openapi", "application/json", "object")
        },
        "/static/warm.js": {
            "get": _file(
                "A script that warms the service from a page", "warmScript", "text/javascript", "string"
            )
        },
    }


def _file(summary: str, name: str, content_type: str, kind: str) -> Node:
    headers = header_refs("ETag")
    return {
        "tags": ["operation"],
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {
                "description": "The file.",
                "headers": headers,
                "content": {content_type: {"schema": {"type": kind}}},
            },
            "304": {
                "description": "Unchanged since the `ETag` that the request sent as `If-None-Match`.",
                "headers": headers,
            },
        },
    }
