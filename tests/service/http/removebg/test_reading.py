"""Base64 as senders dress it, and its limit; bodies as such are in tests/behaviour/test_removebg.py."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest, TooLarge
from service.http.removebg import reading
from service.http.removebg.errors import RemoveBgError

LIMIT = 1000


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["std", "url", "lines", "data", "bare"]))
def test_what_was_encoded_is_decoded_however_it_is_dressed(picture: bytes, dress: str) -> None:
    text = base64.b64encode(picture)
    dressed = {
        "std": text,
        "url": base64.urlsafe_b64encode(picture),
        "lines": base64.encodebytes(picture).replace(b"\n", b"\r\n"),
        "data": b"data:image/jpeg;base64," + text,
        "bare": text.rstrip(b"="),
    }[dress]
    assert reading.decode_base64(dressed, LIMIT) == picture


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_decoded(text: bytes) -> None:
    with suppress(RemoveBgError, TooLarge):
        assert len(reading.decode_base64(text, 100)) <= 100


def test_the_limit_holds_for_the_decoded_picture() -> None:
    assert len(reading.decode_base64(base64.b64encode(bytes(LIMIT)), LIMIT)) == LIMIT
    with pytest.raises(TooLarge):
        reading.decode_base64(base64.b64encode(bytes(LIMIT + 1)), LIMIT)


@given(st.binary(min_size=1, max_size=3000))
def test_a_picture_at_the_limit_fits_every_body(picture: bytes) -> None:
    text = base64.b64encode(picture).decode()
    in_lines = base64.encodebytes(picture).decode().replace("\n", "\r\n")
    for body in (
        urlencode({"image_file_b64": text}),
        json.dumps({"image_file_b64": text}).replace("/", "\\/"),  # as PHP writes it
        json.dumps({"image_file_b64": in_lines}),
        urlencode({"image_file_b64": in_lines}),
    ):
        assert len(body) <= reading.encoded_limit(len(picture))


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parsers_fail_in_another_way(body: bytes) -> None:
    for parse in (reading._parse_json, reading._parse_urlencoded):
        with suppress(BadRequest):
            assert all(isinstance(value, str) for value in parse(body).fields.values())


def test_values_of_json_become_the_texts_of_a_form() -> None:
    received = reading._parse_json(
        b'{"crop": true, "add_shadow": false, "size": null, "type_level": 2, "x": [1], "roi": "0 0 1px 1px"}'
    )
    assert received.fields == {"crop": "true", "add_shadow": "false", "type_level": "2", "roi": "0 0 1px 1px"}
