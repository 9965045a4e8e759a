"""The manifest of a set of references, ``references.json``: its fields, how it is written, how it is read.

``acceptance`` writes it, ``reference_set`` reads it. A manifest that is damaged must never be read as a valid one that
says something else, so it carries the hash of its own content. Reading opens no other file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.engines.protocol import ConfigurationError

FILE_NAME = "references.json"

FORMAT = 1
"""Raise it, here and in ``Manifest``, when a field changes its meaning: an older service then refuses the manifest
instead of misreading it."""


def _inside(path: str) -> str:
    """A path inside the directory: relative, with ``/``, without ``..``."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError("leads out of the directory")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1)]
Error = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A mean absolute difference of alpha, 0-1."""


class Reference(BaseModel):
    """One picture and the mask that was accepted for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: RelativePath
    """The picture; it is also the reference's name."""
    sha256: Digest
    size: tuple[Side, Side]
    """Width and height of the upright picture, in pixels."""
    mask: RelativePath
    """The accepted mask: a grey 8-bit PNG of that size."""
    mask_sha256: Digest
    mask_from: Literal["engine", "given"]
    """Whether the engine made the mask or the operator gave it."""
    engine: str
    """The engine that it was accepted with: ``inspyrenet`` or ``u2netp``."""
    weights: str
    """The hash of that engine's weights, ``sha256:<hex>`` or ``md5:<hex>``; ``dummy`` if they have none."""
    measured: Error
    """What was measured when it was accepted. For the engine's own mask: the difference between fp32 and bf16. For a
    given mask: the difference between it and the engine's mask."""
    max_error: Error
    """The largest error at which a mask still agrees."""


class Manifest(BaseModel):
    """A set of references, in the order in which they are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    accepted_at: str
    """When, in UTC, as ISO 8601."""
    references: Annotated[tuple[Reference, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len({reference.file for reference in self.references}) < len(self.references):
            raise ValueError("a file is listed twice")
        return self

    def to_text(self) -> str:
        """The text of the file: this manifest and the hash of its content."""
        content = self.model_dump(mode="json")
        return (
            json.dumps({"content_sha256": _digest(content), **content}, indent=2, ensure_ascii=False) + "\n"
        )


def read(directory: Path) -> Manifest:
    """The manifest of a directory.

    Raises:
        ConfigurationError: it is missing, damaged, or of another format; in one line that says what to do.
    """
    try:
        text = (directory / FILE_NAME).read_bytes()
    except FileNotFoundError as error:
        raise unusable(directory, f"there is no {FILE_NAME}") from error
    except OSError as error:
        raise unusable(directory, f"{FILE_NAME} cannot be read: {error.strerror or error}") from error
    return parse(text, directory)


def parse(text: bytes, directory: Path) -> Manifest:
    """The manifest that a file holds.

    Args:
        text: the content of the file.
        directory: for messages.

    Raises:
        ConfigurationError: as ``read``.
    """
    try:
        content = json.loads(text)
        claimed = content.pop("content_sha256", None)
        found = content.get("format")
        actual = _digest(content)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise unusable(directory, f"{FILE_NAME} is not a manifest of references") from error
    if type(found) is int and found > FORMAT:
        raise unusable(
            directory, f"{FILE_NAME} has format {found}; this version of the service reads {FORMAT}"
        )
    if claimed != actual:
        raise unusable(
            directory,
            f"{FILE_NAME} was changed after it was written: its content does not have the hash it states",
        )
    try:
        return Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"]) or "as a whole"
        raise unusable(directory, f"{FILE_NAME} is not valid: {where}: {detail['msg']}") from error


def unusable(directory: Path, reason: str) -> ConfigurationError:
    """The error for a set that cannot be used: where, why, and what to do, in one line."""
    return ConfigurationError(
        f"INSPYRENET_REFERENCES={directory}: {reason}. Accept the pictures again: ./inspyrenet accept {directory}"
    )


def _digest(content: dict[str, object]) -> str:
    """The hash of the content, whatever the white space and the order of the keys in the file."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
