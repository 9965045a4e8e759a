"""The manifest: what is written is read, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.protocol import ConfigurationError
from service.warmup.references import manifest as manifests
from service.warmup.references.manifest import FILE_NAME, Manifest, Reference, parse, read

WHERE = Path("/srv/references")

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in {".", ".."}
)
ratios = st.floats(0, 1)
references = st.builds(
    Reference,
    file=names,
    sha256=digests,
    size=st.tuples(st.integers(1, 50_000), st.integers(1, 50_000)),
    mask=names.map(lambda name: f"masks/{name}"),
    mask_sha256=digests,
    mask_from=st.sampled_from(["engine", "given"]),
    engine=st.sampled_from(["inspyrenet", "u2netp"]),
    weights=digests.map(lambda digest: f"sha256:{digest}") | st.just("dummy"),
    measured=ratios,
    max_error=ratios,
)
manifests_made = st.builds(
    Manifest,
    accepted_at=st.just("2026-01-01T00:00:00+00:00"),
    references=st.lists(references, min_size=1, max_size=3, unique_by=lambda one: one.file).map(tuple),
)


def text(**changed: Any) -> bytes:
    """A manifest of one reference as a file, with fields changed, and with the right hash of its content."""
    reference = {
        "file": "photo.jpg",
        "sha256": "0" * 64,
        "size": [4, 3],
        "mask": "masks/photo.png",
        "mask_sha256": "1" * 64,
        "mask_from": "engine",
        "engine": "u2netp",
        "weights": "dummy",
        "measured": 0.0,
        "max_error": 0.01,
    }
    content: dict[str, Any] = {"format": 1, "accepted_at": "now", "references": [reference]}
    for name, value in changed.items():
        (content if name in content else reference)[name] = value
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({"content_sha256": hashlib.sha256(canonical.encode()).hexdigest(), **content}).encode()


def problem(data: bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(data, WHERE)
    return str(caught.value)


@settings(deadline=None)
@given(manifests_made)
def test_what_is_written_is_read(made: Manifest) -> None:
    assert parse(made.to_text().encode(), WHERE) == made


@settings(deadline=None)
@given(manifests_made, st.data())
def test_any_changed_byte_is_noticed_or_changes_nothing(made: Manifest, data: st.DataObject) -> None:
    """White space may change, as version control systems change line endings."""
    written = bytearray(made.to_text().encode())
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    try:
        found = parse(bytes(written), WHERE)
    except ConfigurationError:
        return
    assert found == made


@settings(deadline=None)
@given(manifests_made, st.data())
def test_a_manifest_that_ends_early_is_refused(made: Manifest, data: st.DataObject) -> None:
    written = made.to_text().encode().rstrip()
    with pytest.raises(ConfigurationError):
        parse(written[: data.draw(st.integers(0, len(written) - 1))], WHERE)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_nothing_but_a_manifest_is_read_and_the_reason_is_one_line(data: bytes) -> None:
    said = problem(data)
    assert said.startswith("INSPYRENET_REFERENCES=/srv/references: references.json ")
    assert said.endswith("Accept the pictures again: ./inspyrenet accept /srv/references")
    assert said.isprintable()


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[]", b"null", b"{}", b'"x"', b"1e999", b"\xff"])
def test_other_json_is_refused_in_words(data: bytes) -> None:
    assert "references.json" in problem(data)


@pytest.mark.parametrize("path", ["/etc/passwd", "../photo.jpg", "a/../../photo.jpg", "..", "", ".", "a\0b"])
@pytest.mark.parametrize("field", ["file", "mask"])
def test_a_path_that_leads_out_of_the_directory_is_refused(field: str, path: str) -> None:
    assert f"references.0.{field}: " in problem(text(**{field: path}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_error", -0.1),
        ("max_error", 1.5),
        ("max_error", float("nan")),
        ("max_error", "0.1"),
        ("size", [0, 3]),
        ("size", [4]),
        ("sha256", "0" * 63),
        ("mask_from", "thin air"),
        ("colour", "red"),
        ("references", []),
    ],
)
def test_a_field_with_an_impossible_value_is_named(field: str, value: object) -> None:
    assert field in problem(text(**{field: value}))


def test_a_file_that_is_listed_twice_is_refused() -> None:
    [reference] = json.loads(text())["references"]
    assert "a file is listed twice" in problem(text(references=[reference, reference]))


def test_a_manifest_of_a_later_version_is_refused_as_that() -> None:
    assert "has format 2; this version of the service reads 1" in problem(text(format=2))


def test_a_manifest_that_was_edited_by_hand_is_refused_as_that() -> None:
    edited = text().replace(b'"max_error": 0.01', b'"max_error": 0.9')
    assert "was changed after it was written" in problem(edited)


def test_a_missing_manifest_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"INSPYRENET_REFERENCES={tmp_path}: there is no references.json. "
        f"Accept the pictures again: ./inspyrenet accept {tmp_path}"
    )


def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match=r"references\.json cannot be read"):
        read(tmp_path)


def test_the_format_of_the_manifest_is_the_one_that_the_model_takes() -> None:
    assert Manifest.model_fields["format"].get_default() == manifests.FORMAT
