"""Which keys are valid, and how they are compared, without a server."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from service.errors import Unauthorized, Unavailable
from service.http.api_keys import ApiKeys


async def opens(keys: ApiKeys, **headers: str) -> bool:
    request = make_mocked_request("POST", "/process", {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        await keys.check(request)
    except Unauthorized:
        return False
    return True


async def test_every_request_passes_if_there_are_no_keys() -> None:
    assert await opens(ApiKeys([], None))


async def test_a_key_is_taken_from_either_header() -> None:
    keys = ApiKeys(["one", "two"], None)
    assert await opens(keys, X_Api_Key="one")
    assert await opens(keys, X_Api_Key=" two ")
    assert await opens(keys, Authorization="Bearer two")
    assert await opens(keys, Authorization="bearer  one")
    for header in ({}, {"X_Api_Key": "three"}, {"X_Api_Key": ""}, {"Authorization": "Basic one"}):
        assert not await opens(keys, **header)


async def test_requests_with_the_same_key_are_known_by_its_digest() -> None:
    keys = ApiKeys(["one", "two"], None)
    digests = [
        await keys.check(make_mocked_request("POST", "/process", {"X-Api-Key": key}))
        for key in ("one", "one", "two")
    ]
    assert digests[0] == digests[1] != digests[2]
    assert b"one" not in (digests[0] or b"")
    assert await ApiKeys([], None).check(make_mocked_request("POST", "/process")) is None


async def test_a_refusal_says_how_to_send_a_key() -> None:
    with pytest.raises(Unauthorized, match="X-Api-Key") as caught:
        await ApiKeys(["one"], None).check(make_mocked_request("POST", "/process"))
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    await asyncio.to_thread(file.write_bytes, b"\xef\xbb\xbffirst\r\nsecond  # comment\r\n")
    keys = ApiKeys([], file)
    assert await opens(keys, X_Api_Key="first")
    assert await opens(keys, X_Api_Key="second")


@pytest.mark.parametrize("content", [None, b"\xff\xfe not UTF-8"])
async def test_a_file_that_cannot_be_read_admits_no_key(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        await asyncio.to_thread(file.write_bytes, content)
    with pytest.raises(Unavailable) as caught:
        await opens(ApiKeys([], file), X_Api_Key="key")
    assert str(tmp_path) not in caught.value.message
    assert await opens(ApiKeys(["other"], file), X_Api_Key="other"), "keys of the settings stay valid"


async def test_every_key_is_compared_and_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    keys = ApiKeys(["one", "two", "three"], None)
    for key in ("one", "o", "x" * 5000):
        await opens(keys, X_Api_Key=key)
    assert compared == [(32, 32)] * 9
