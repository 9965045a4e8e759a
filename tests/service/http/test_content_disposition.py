"""The name of a form's part, beside any file name."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.content_disposition import Disposition, UnknownCharset, parse

FILE = Disposition("image", is_file=True)


@pytest.mark.parametrize(
    "header",
    [
        'form-data; name="image"; filename="a.jpg"',
        "form-data; name=image; filename=a.jpg",
        'form-data; name="image"; filename="2*3=6.jpg"',
        "form-data; name=image; filename=2*3=6.jpg",
        "form-data; name=image; filename=a(1).jpg",
        "form-data; name=image; filename=my picture (1).jpg",
        'form-data; name="image"; filename=""',
        "form-data; name=image; filename=",
        'form-data; name="image"; filename="a;b.jpg"',
        'form-data; name="image"; filename=a;b.jpg',
        'form-data; name="image"; filename="C:\\pictures\\new\\a.jpg"',
        'form-data; name="image"; filename="say \\"a\\"; name=\\"b\\".jpg"',
        'form-data; name="image"; filename="a "quoted" word.jpg"',
        'form-data; name="image"; filename="half a quote.jpg',
        'form-data; name="image"; filename="\udcff\udc80.jpg"',
        'form-data; name="image"; filename="a.jpg"; filename*=UTF-8\'\'%e2%82%ac.jpg',
        "form-data; name=image; filename*=UTF-8''%ff%fe",
        "form-data; name=image; filename*=no-such-charset''a",
        "form-data; name=image; filename*=nothing",
        "form-data; name=image; filename*0*=UTF-8''a; filename*1=b",
        'form-data; NAME = "image" ; FileName = "a.jpg" ;',
        "form-data;name=image;filename=a.jpg;;",
        'form-data; filename="a.jpg"; name="image"',
        "form-data; name*=UTF-8''im%61ge; filename=x",
        '; name="image"; filename="a"',
        'any thing (really); name="image"; filename="a"',
    ],
)
def test_a_file_name_does_not_matter(header: str) -> None:
    assert parse(header) == FILE


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Disposition(None, is_file=False)),
        ("form-data", Disposition(None, is_file=False)),
        ("form-data; filename=a", Disposition(None, is_file=True)),
        ('form-data; name="a\\"b"', Disposition('a"b', is_file=False)),
        ('form-data; name=""', Disposition("", is_file=False)),
        ("form-data; name=a; name=b", Disposition("a", is_file=False)),
        ("form-data; name*0=a; name*1=b", Disposition(None, is_file=False)),
        ("form-data; names=a", Disposition(None, is_file=False)),
    ],
)
def test_the_first_name_counts(header: str, expected: Disposition) -> None:
    assert parse(header) == expected


@pytest.mark.parametrize("value", ["koi8-r''a", "a", "''a", "utf-8'a"])
def test_a_name_in_another_character_set_is_an_error(value: str) -> None:
    with pytest.raises(UnknownCharset):
        parse(f"form-data; name*={value}")


@given(st.text())
def test_any_quoted_file_name_leaves_the_name_alone(file_name: str) -> None:
    escaped = file_name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'form-data; name="image"; filename="{escaped}"') == FILE


@given(st.text())
def test_any_plain_file_name_leaves_the_name_alone(file_name: str) -> None:
    assert parse(f"form-data; name=image; filename={file_name}") == FILE


@given(st.text(st.sampled_from(" ;=\"\\*'nameutf-8%\x00\udcff")))
def test_any_header_is_read_or_has_an_unknown_character_set(header: str) -> None:
    try:
        parse(header)
    except UnknownCharset:
        assert "*" in header


@pytest.mark.parametrize("unit", [';a="b', ';"', " ", ';a=" ', '\\"', ";a", '="', '"; ', ';a="\\'])
def test_a_long_header_takes_no_time(unit: str) -> None:
    header = ("form-data" + unit * 8190)[:8190]
    start = time.perf_counter()
    parse(header)
    assert time.perf_counter() - start < 0.5, "it takes a millisecond or two"
