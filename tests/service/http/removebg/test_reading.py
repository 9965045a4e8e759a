"""Base64 as senders dress it, and its limit; bodies as such are in tests/behaviour/test_removebg.py."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote_to_bytes, urlencode

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


def many(size: int) -> int:
    """How many signs of this size fill a body of 2 MB."""
    return 2_000_000 // size


@pytest.mark.parametrize(
    ("parse", "make"),
    [
        (reading._parse_urlencoded, lambda: b"image_url=&x=" + b"%41" * many(3)),
        (reading._parse_urlencoded, lambda: b"%41" * many(3) + b"=x"),
        (reading._parse_urlencoded, lambda: b"image_file_b64=" + b"%41" * many(3)),
        (reading._parse_urlencoded, lambda: b"a=&" * many(3)),
        (reading._parse_json, lambda: b'{"image_url":"","x":[' + b"{}," * many(3) + b"{}]}"),
        (reading._parse_json, lambda: json.dumps({f"{at:07}": 1 for at in range(many(12))}).encode()),
        (reading._parse_json, lambda: b"[" * many(1)),
        (reading._parse_json, lambda: json.dumps({"x" * many(2): "x" * many(2)}).encode()),
    ],
    ids=["value", "name", "picture", "fields", "list", "keys", "depth", "text"],
)
def test_a_body_of_any_shape_takes_no_more_than_a_few_times_its_size(
    parse: Callable[[bytes], object], make: Callable[[], bytes]
) -> None:
    whole = make()
    tracemalloc.start()
    try:
        with suppress(BadRequest):
            parse(whole)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(whole)
    finally:
        tracemalloc.stop()


@given(st.text("%2bB+a=", max_size=40), st.integers(4, 9))
def test_percent_encoding_is_decoded_wherever_it_is_cut(text: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE_BYTES", piece)
        assert reading._unquote(text.encode()) == unquote_to_bytes(text)
