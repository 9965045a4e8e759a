"""Which parts of a text are paths of the server's disk, and what is shown in their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.protocol import DeviceError, WeightsUnavailable
from service.public_text import public_reason, without_paths

HOME = Path("/home/jane doe/.models/ckpt.pth")
RELATIVE = Path("models/ckpt.pth")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/models/ckpt.pth is missing", "ckpt.pth is missing"),
        ("~/models/ckpt.pth is missing", "ckpt.pth is missing"),
        ("see '/srv/my models/ckpt.pth'.", "see 'ckpt.pth'."),
        ("(/srv/models/)", "(models)"),
        ("cannot import x from y (/usr/lib/python3/y.py)", "cannot import x from y (y.py)"),
        ("/a/b, /c/d; /e/f.", "b, d; f."),
        ("INSPYRENET_WEIGHTS=/srv/models/ckpt.pth: nothing", "INSPYRENET_WEIGHTS=ckpt.pth: nothing"),
        ("GET /warmup says why", "GET /warmup says why"),
        ("3/4 of 5/6/7, and/or, N/A", "3/4 of 5/6/7, and/or, N/A"),
        ("from https://example.org/a/b/ckpt.pth", "from https://example.org/a/b/ckpt.pth"),
        ("height and width must be > 0", "height and width must be > 0"),
        ("", ""),
    ],
)
def test_a_path_is_shortened_to_the_name_of_its_file(text: str, shown: str) -> None:
    assert without_paths(text) == shown


@pytest.mark.parametrize("path", [HOME, RELATIVE])
def test_a_path_that_is_known_may_look_like_anything(path: Path) -> None:
    assert without_paths(f"{path} is empty", [path]) == "ckpt.pth is empty"


def test_an_error_of_the_engine_has_a_message_for_everyone_and_one_for_the_operator() -> None:
    error = WeightsUnavailable(f"cannot read {HOME}: no such file", HOME)
    assert str(error) == f"cannot read {HOME}: no such file"
    assert error.public == public_reason(error) == "cannot read ckpt.pth: no such file"
    assert DeviceError("/opt/x/Copy.cu:1: boom", sticky=False).public == "Copy.cu:1: boom"


def test_an_error_of_the_system_keeps_the_name_of_its_file() -> None:
    error = FileNotFoundError(2, "No such file or directory", str(HOME))
    assert public_reason(error) == "[Errno 2] No such file or directory: 'ckpt.pth'"


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/'\"", exclude_categories=["Z", "C"]), min_size=1),
        min_size=2,
    )
)
def test_no_absolute_path_is_left(parts: list[str]) -> None:
    assert "/" not in without_paths(f"cannot read /{'/'.join(parts)} now")


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    assert without_paths(without_paths(text)).count("\n") == text.count("\n")
