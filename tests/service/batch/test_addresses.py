"""Addresses of object stores, with the store that fsspec keeps in memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from service.batch.addresses import Address, ObjectStore, _as_os_errors, is_address, redact
from service.batch.sources import find
from service.batch.tasks import read_source
from service.cli import commands, cut


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
    assert found.sources[0].stamp.version


def test_an_object_that_is_named_is_always_taken_and_a_pattern_is_expanded() -> None:
    assert [source.key for source in find(["memory://shop/in/notes.txt"]).sources] == [
        "memory://shop/in/notes.txt"
    ]
    assert [str(source.below) for source in find(["memory://shop/in/*.jpg"]).sources] == ["a.jpg"]


def test_the_place_of_an_object_is_always_below_the_address(store: ObjectStore) -> None:
    for name in ("dd//tmp/a.jpg", "dd///b.jpg"):
        store.write(Address(f"memory://shop/{name}"), b"12345")
    sources = find(["memory://shop/dd"]).sources
    assert {str(source.path): str(source.below) for source in sources} == {
        "memory://shop/dd///b.jpg": "b.jpg",
        "memory://shop/dd//tmp/a.jpg": "tmp/a.jpg",
    }
    assert [read_source(source, max_bytes=10)[0] for source in sources] == [b"12345"] * 2


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("memory://shop/nothing", "There is nothing at this address."),
        (
            "https://shop/in",
            "This cannot be listed: https:// is not supported. Those that are: s3://, gs://, abfs://, az://, hdfs://, "
            "sftp://, memory://.",
        ),
    ],
)
def test_an_address_that_names_nothing_is_a_problem(address: str, words: str) -> None:
    assert [problem.reason for problem in find([address]).problems] == [words]


class Caching(MemoryFileSystem):
    """Keeps what it has listed until it is told to forget it, as the packages of object stores do."""

    cachable = False
    listed: ClassVar[dict[str, object]] = {}

    def ls(self, path: str, detail: bool = True, **more: object) -> object:
        path = self._strip_protocol(path)
        if path not in self.listed:
            try:
                self.listed[path] = super().ls(path, detail=True, **more)
            except FileNotFoundError:
                self.listed[path] = []
        found = self.listed[path]
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: object) -> object:
        path = self._strip_protocol(path)
        for each in self.ls(self._parent(path)):
            if each["name"] == path:
                return each
        raise FileNotFoundError(path)

    def isfile(self, path: str) -> bool:
        try:
            return self.info(path)["type"] == "file"
        except FileNotFoundError:
            return False

    def invalidate_cache(self, path: str | None = None) -> None:
        if path is None:
            self.listed.clear()
        while path:
            self.listed.pop(path, None)
            path = self._parent(path).rstrip("/")


@pytest.mark.parametrize("argument", ["in", "in/new/*.jpg", "in/*/b.jpg", "in/new/b.jpg"])
def test_a_second_look_sees_what_has_arrived_since(argument: str, store: ObjectStore) -> None:
    fsspec.register_implementation("memory", Caching, clobber=True)
    try:
        store.write(Address("memory://shop/in/new/a.jpg"), b"12345")
        before = len(find([f"memory://shop/{argument}"]).sources)
        store.write(Address("memory://shop/in/new/b.jpg"), b"12345")
        assert len(find([f"memory://shop/{argument}"]).sources) == before + 1
    finally:
        Caching.listed.clear()
        fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


def test_at_most_what_was_asked_for_is_read_and_what_is_missing_is_an_os_error(store: ObjectStore) -> None:
    assert store.read(Address("memory://shop/in/a.jpg"), most=3) == b"123"
    assert store.stamp_of(Address("memory://shop/in/gone")) is None
    with pytest.raises(FileNotFoundError):
        store.read_all([Address("memory://shop/in/a.jpg"), Address("memory://shop/in/gone")])


def test_an_address_is_put_together_from_its_parts() -> None:
    address = Address("s3://bucket/out/") / PurePosixPath("sub/a.png")
    assert (str(address), address.name) == ("s3://bucket/out/sub/a.png", "a.png")


class Hosts(MemoryFileSystem):
    """A store whose package takes the host out of the address, as those of sftp, hdfs and abfs do."""

    cachable = False
    hosts: ClassVar[list[str]] = []

    def __init__(self, host: str = "", **more: object) -> None:
        super().__init__(**more)
        self.hosts.append(host)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].partition("/")[2].strip("/") if "://" in path else path

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path.partition("://")[2].partition("/")[0]}


@pytest.mark.parametrize("argument", ["/in", "/in/*.jpg", "/in/a.jpg"])
@pytest.mark.parametrize("place", ["sftp://me@host:22", "hdfs://name:8020", "abfs://c@account.example"])
def test_what_is_found_is_on_the_host_that_was_named(place: str, argument: str) -> None:
    scheme = place.partition(":")[0]
    fsspec.register_implementation(scheme, Hosts, clobber=True)
    try:
        for name in ("a.jpg", "x::y.jpg"):
            ObjectStore(Address(f"{place}/in")).write(Address(f"{place}/in/{name}"), b"12345")
        for source in find([place + argument]).sources:
            assert source.key == f"{place}/in/{source.below}"
            Hosts.hosts.clear()
            assert read_source(source, max_bytes=10)[0] == b"12345"
            assert Hosts.hosts == [place.partition("://")[2]]
    finally:
        del _registry[scheme]


class Folders(LocalFileSystem):
    """A file system by an address: it has folders, which must be there before a file can be written."""

    protocol = "sftp"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        self.rm_file(self._strip_protocol(path))  # as that of hdfs: no list


def test_a_file_system_by_its_address_gets_the_folders_that_it_needs(tmp_path: Path) -> None:
    fsspec.register_implementation("sftp", Folders, clobber=True)
    try:
        root = Address(f"sftp://host{tmp_path}/out")
        ObjectStore(root).write(root / "sub/folder/a.jpg", b"12345")
        (source,) = find([str(root)]).sources
        assert (source.key, str(source.below)) == (f"{root}/sub/folder/a.jpg", "sub/folder/a.jpg")
        assert ObjectStore(root).stamp_of(source.path) == source.stamp
        ObjectStore(root).remove_all([root / "sub/folder/a.jpg"])
        assert find([str(root)]).sources == []
    finally:
        del _registry["sftp"]


def test_passwords_and_parameters_are_shown_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Every way out: what was named, what was found, the ledger, problems, a package's own words."""
    where = "memory://me:hush@shop"
    root = Address(where)
    for text in (str(root), repr(root), str(root / "a.jpg"), root.name, repr(root / "a.jpg")):
        assert "hush" not in text
    assert pickle.loads(pickle.dumps(root / "a.jpg")).text == f"{where}/a.jpg"
    put = ObjectStore(root)
    put.write(root / "in/a.jpg", b"12345")
    (source,) = find([f"{where}/in"]).sources
    assert (source.key, str(source.path)) == ("memory://***@shop/in/a.jpg", "memory://***@shop/in/a.jpg")
    assert source.path.text == f"{where}/in/a.jpg"
    for argument in (f"{where}/nothing", "https://me:hush@shop/a?sig=hush", "s3://shop/a.jpg?token=hush"):
        assert "hush" not in str(find([argument]).problems[0])
        code = cut.run(commands.parse(["cut", argument, "--to", f"{where}/*"]), {})
        assert (code, "hush" in capsys.readouterr().err) == (2, False)
    words = f"login with hush failed at {where}/x and https://shop/x?X-Amz-Signature=mum&y=1"
    for error in (RuntimeError(words), OSError(words), OSError(5, words)):
        with pytest.raises(OSError, match="failed") as caught, _as_os_errors(root):
            raise error
        assert not any(secret in str(caught.value) for secret in ("hush", "mum"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://me:hu/sh@host/x", "sftp://***@host/x"),
        ("s3://KEY:SEC/RET@bucket", "s3://***@bucket"),
        ("s3://KEY:S/E@C/RET@bucket/x.jpg", "s3://***@bucket/x.jpg"),
        ("sftp://me:h@sh@host/a@2x.jpg", "sftp://***@host/a@2x.jpg"),
        ("sftp://host:22/x/a@2x.jpg", "sftp://host:22/x/a@2x.jpg"),
        ("s3://shop/a:b@2x.jpg", "s3://shop/a:b@2x.jpg"),
    ],
)
def test_a_password_is_hidden_whatever_it_is_made_of_and_names_are_not(text: str, shown: str) -> None:
    address = Address(text)
    assert (str(address), redact(f"{text} and {text}.")) == (shown, f"{shown} and {shown}.")


def test_an_address_with_a_slash_in_its_password_is_refused_in_words() -> None:
    (problem,) = find(["sftp://me:hu/sh@host/x"]).problems
    assert str(problem) == (
        "sftp://***@host/x: This cannot be listed: A / in a password is written %2F, or the address ends there."
    )


def test_a_question_mark_in_a_name_is_a_part_of_it(store: ObjectStore) -> None:
    for name in ("what?.jpg", "a?b=1.jpg", "a?b=2.jpg"):
        store.write(Address("memory://shop/odd/") + name, name.encode())
    sources = find(["memory://shop/odd"]).sources
    assert [read_source(source, max_bytes=99)[0].decode() for source in sources] == [
        str(source.below) for source in sources
    ]
    assert len({source.key for source in sources}) == 3


def test_a_scheme_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install gcsfs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(OSError, match=r"gs:// needs .* not installed \(.*Install gcsfs\)\. .*'\.\[ray\]'"):
        ObjectStore(Address("gs://bucket"))
