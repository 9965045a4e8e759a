"""How a client of remove.bg's contract says which kind of answer it wants."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from service.http.removebg.contract import PATH, wants_json


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("image/png, application/JSON ; charset=utf-8; Q=0.5", True),
        ("application/json;q=0.001", True),
        ("*/*", False),
        ("*/*, application/json;q=0", False),
        ("application/json ; charset=utf-8; q=0.000, image/*", False),
    ],
)
def test_json_is_for_whoever_accepts_it(accept: str, json: bool) -> None:
    assert wants_json(make_mocked_request("POST", PATH, headers={"Accept": accept})) is json
