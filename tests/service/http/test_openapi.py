"""The OpenAPI document: it is complete and consistent, and agrees with the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service import errors
from service.http.body import BACKGROUND_FIELD, IMAGE_FIELDS
from service.http.openapi import document
from service.http.parameters import NAMES, parse
from service.http.removebg import fields
from service.http.removebg.errors import RemoveBgError

Node = dict[str, Any]

TABLE = {
    ("/process", "post"): {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504},
    ("/v1.0/removebg", "post"): {200, 400, 403, 408, 429, 500, 503, 504},
    ("/v1.0/account", "get"): {200, 403, 503},
    ("/api/remove", "post"): {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504},
    ("/api/remove", "get"): {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504},
    ("/warmup", "get"): {200, 500, 503},
    ("/warmup", "post"): {200, 500, 503},
    ("/status", "get"): {200},
    ("/readyz", "get"): {200, 503},
    ("/livez", "get"): {200, 503},
    ("/metrics", "get"): {200},
    ("/", "get"): {200, 304},
    ("/docs", "get"): {200, 304},
    ("/openapi.json", "get"): {200, 304},
    ("/invocations", "post"): {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504},
    ("/ready", "get"): {200, 503},
    ("/live", "get"): {200, 503},
    ("/ping", "get"): {200, 204, 503},
    ("/v2/health/ready", "get"): {200, 503},
    ("/v2/health/live", "get"): {200, 503},
    ("/static/warm.js", "get"): {200, 304},
}


@pytest.fixture
def api() -> Node:
    return document(version="1.2.3", max_upload_bytes=12345)


def nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)


def resolve(api: Node, node: Node) -> Node:
    while "$ref" in node:
        target = api
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def test_the_document_has_exactly_the_paths_methods_and_statuses_of_the_service(api: Node) -> None:
    found = {
        (path, method): {int(status) for status in operation["responses"]}
        for path, operations in api["paths"].items()
        for method, operation in operations.items()
    }
    assert found == TABLE


def test_the_document_is_openapi_3_1_and_has_this_version(api: Node) -> None:
    assert api["openapi"].startswith("3.1.")
    assert api["info"]["version"] == "1.2.3"


def test_the_document_survives_json(api: Node) -> None:
    assert json.loads(json.dumps(api)) == api


def test_every_reference_points_to_something_in_the_document(api: Node) -> None:
    references = [node for node in nodes(api) if "$ref" in node]
    assert references
    for reference in references:
        assert resolve(api, reference)


def test_every_operation_has_its_own_id_a_summary_and_described_responses(api: Node) -> None:
    operations = [operation for path in api["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert {*operation["tags"]} <= {tag["name"] for tag in api["tags"]}
        assert all(resolve(api, response)["description"] for response in operation["responses"].values())


def test_every_parameter_of_process_is_documented_in_the_query_and_in_the_form(api: Node) -> None:
    process = api["paths"]["/process"]["post"]
    query = {p["name"] for p in process["parameters"] if p["in"] == "query"}
    form = process["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert query == set(NAMES)
    assert set(form) == {*NAMES, *IMAGE_FIELDS, BACKGROUND_FIELD}


@pytest.mark.parametrize(
    "output", ["rgba", "mask", "green", "white", "blur", "overlay", "#00fF7a", "#ff88", "sepia", ""]
)
def test_the_schema_of_output_accepts_exactly_what_the_parser_accepts(api: Node, output: str) -> None:
    documented_parameters = api["paths"]["/process"]["post"]["parameters"]
    words, colour = next(p for p in documented_parameters if p["name"] == "output")["schema"]["anyOf"]
    documented = output in words["enum"] or re.search(colour["pattern"], output) is not None
    try:
        parse([("output", output)])
    except errors.BadParameter:
        assert not documented
    else:
        assert documented


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("margin", ["0", "10%", "1.5px 2%", "1px 2px 3px 4px", "1px 2px 3px", "5", "-1px", "", "1px,2px"]),
        ("scale", ["original", "10%", "99.5%", "50", "0.5", "center", ""]),
        ("position", ["original", "center", "0%", "0% 100%", "50px", "0% 0% 0%", ""]),
    ],
)
def test_the_schemas_of_lengths_accept_what_the_parser_accepts(
    api: Node, name: str, values: list[str]
) -> None:
    documented_parameters = api["paths"]["/process"]["post"]["parameters"]
    pattern = next(p for p in documented_parameters if p["name"] == name)["schema"]["pattern"]
    for value in values:
        pairs = [("crop", "true"), (name, value)]
        try:
            parse(pairs)
        except errors.BadParameter:
            assert not re.search(pattern, value), value
        else:
            assert re.search(pattern, value), value


def test_an_answer_of_process_can_have_every_format(api: Node) -> None:
    content = api["paths"]["/process"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"image/png", "image/webp", "image/jpeg", "image/avif", "application/zip"}


def test_every_error_of_the_service_is_documented_with_its_status_and_code(api: Node) -> None:
    responses = api["paths"]["/process"]["post"]["responses"]
    known = api["components"]["schemas"]["ErrorDetails"]["properties"]["code"]["examples"]
    for error in errors.ServiceError.__subclasses__():
        if error.__module__ == errors.__name__:
            assert f"`{error.code}`" in resolve(api, responses[str(error.status)])["description"]
            assert error.code in known


def test_no_parameter_or_field_has_a_default_that_generated_clients_would_send_as_well(api: Node) -> None:
    """They would send it in the query and in the form, and a parameter that comes twice is refused."""
    assert [node for node in nodes(api["paths"]) if "default" in node] == []


def test_every_schema_names_its_type(api: Node) -> None:
    """Some generators make ``Any`` of the others, or fail."""
    schemas = [node["schema"] for node in nodes(api) if "schema" in node]
    schemas += [each for node in nodes(api) for each in node.get("properties", {}).values()]
    assert schemas
    assert [schema for schema in schemas if not {"type", "anyOf", "$ref"} & schema.keys()] == []


@pytest.mark.parametrize(
    ("status", "header"),
    [
        (401, "WWW-Authenticate"),
        (405, "Allow"),
        (415, "Accept-Encoding"),
        (429, "Retry-After"),
        (503, "Retry-After"),
        (504, "Retry-After"),
    ],
)
def test_the_headers_that_come_with_an_error_are_documented(api: Node, status: int, header: str) -> None:
    response = api["components"]["responses"][f"Error{status}"]
    assert {"X-Request-Id", header} <= set(response["headers"])


def test_every_request_takes_an_id_and_every_answer_has_one(api: Node) -> None:
    for operation in (operation for path in api["paths"].values() for operation in path.values()):
        assert "X-Request-Id" in {p["name"] for p in operation["parameters"] if p["in"] == "header"}
        for response in operation["responses"].values():
            assert "X-Request-Id" in resolve(api, response)["headers"]


def test_a_field_of_removebg_that_must_be_a_flag_is_documented_as_one(api: Node) -> None:
    for body in api["paths"]["/v1.0/removebg"]["post"]["requestBody"]["content"].values():
        for name, field in body["schema"]["properties"].items():
            message = ""
            try:
                fields.parse({name: "maybe"}, with_background=False)
            except RemoveBgError as error:
                message = error.message
            assert (field["type"] == "boolean") == message.endswith("must be true or false."), name


def test_the_documented_limit_on_uploads_is_the_configured_one(api: Node) -> None:
    assert "12345 bytes" in api["paths"]["/process"]["post"]["requestBody"]["description"]


def test_the_body_of_warmup_has_all_fields_of_the_earlier_service_and_those_added_since(api: Node) -> None:
    documented = set(api["components"]["schemas"]["Warmup"]["properties"])
    earlier = (
        "status message model_ready container_ready total_time load_time process_time endpoint timestamp"
    )
    added = "state outcome engine device precision resize image_size model_input_size consecutive_failures"
    assert documented >= {
        *earlier.split(),
        *added.split(),
        "error_type",
        "last_success_age_seconds",
        "interval_seconds",
    }
