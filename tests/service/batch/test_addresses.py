"""Addresses of object stores, with the store that fsspec keeps in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import fsspec
import pytest

from service.batch.addresses import Address, ObjectStore, is_address
from service.batch.sources import find


@pytest.fixture(autouse=True)
def store() -> Iterator[ObjectStore]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    root = Address("memory://shop")
    store = ObjectStore(root)
    for name in ("in/a.jpg", "in/sub/b.PNG", "in/notes.txt", "in/.hidden/c.jpg", "in/without"):
        store.write(root / name, b"12345")
    yield store
    memory.store.clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://b/p", True), ("gs://b", True), ("photos/a.jpg", False), ("C:/photos", False), ("a://", False)],
)
def test_an_address_begins_with_its_scheme(text: str, expected: bool) -> None:
    assert is_address(text) is expected


def test_what_is_below_an_address_keeps_its_place_and_only_pictures_count() -> None:
    found = find(["memory://shop/in"])
    assert [str(source.below) for source in found.sources] == ["a.jpg", "sub/b.PNG"]
    assert found.passed_over == {".txt": 1, "hidden": 1, "without an ending": 1}
    assert found.sources[0].stamp.bytes == 5
    assert found.sources[0].stamp.mtime_ns > 0


def test_an_object_that_is_named_is_always_taken_and_a_pattern_is_expanded() -> None:
    assert [source.key for source in find(["memory://shop/in/notes.txt"]).sources] == [
        "memory://shop/in/notes.txt"
    ]
    assert [str(source.below) for source in find(["memory://shop/in/*.jpg"]).sources] == ["a.jpg"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("memory://shop/nothing", "There is nothing at this address."),
        ("nonsense://shop", "This cannot be listed: ValueError: Protocol not known: nonsense."),
    ],
)
def test_an_address_that_names_nothing_is_a_problem(address: str, words: str) -> None:
    assert [problem.reason for problem in find([address]).problems] == [words]


def test_at_most_what_was_asked_for_is_read_and_what_is_missing_is_an_os_error(store: ObjectStore) -> None:
    assert store.read(Address("memory://shop/in/a.jpg"), most=3) == b"123"
    assert store.bytes_of(Address("memory://shop/in/a.jpg")) == 5
    assert store.bytes_of(Address("memory://shop/in/gone")) is None
    with pytest.raises(FileNotFoundError):
        store.read_whole(Address("memory://shop/in/gone"))


def test_an_address_is_put_together_from_its_parts() -> None:
    address = Address("s3://bucket/out/") / PurePosixPath("sub/a.png")
    assert (str(address), address.name) == ("s3://bucket/out/sub/a.png", "a.png")


def test_a_scheme_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install gcsfs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(OSError, match=r"gs:// needs a package that is not installed: .*'\.\[ray\]'"):
        ObjectStore(Address("gs://bucket"))
