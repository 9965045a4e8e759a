"""How long a start is expected to take."""

from __future__ import annotations

import pytest

from service.http.expected_start import expected_seconds


@pytest.mark.parametrize(
    ("engine", "device", "seconds"),
    [
        ("inspyrenet", "auto", 2.3),
        ("inspyrenet", "cpu", 2.3),
        ("u2netp", "auto", 0.9),
        ("u2netp", "cuda", 0.9),
        ("inspyrenet", "cuda", None),
        ("inspyrenet", "cuda:1", None),
    ],
)
def test_only_what_was_measured_is_expected(engine: str, device: str, seconds: float | None) -> None:
    assert expected_seconds(engine, device) == seconds
