"""Finds the pictures of a directory, and the masks that were given for them, before a set is made of them.

``acceptance`` begins with it. Everything that can be found out without the engine has to be found out here: a load
takes up to a minute, and an operator wants all problems at once. No file is skipped silently.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from service.errors import ServiceError
from service.imaging.decode import upright_size
from service.warmup.references import contact_sheet, manifest
from service.warmup.references.masks import NotAMask, Size, given_mask

_OURS = {manifest.FILE_NAME, contact_sheet.FILE_NAME}


class NotAccepted(Exception):
    """The pictures cannot become a set of references.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that may become a reference."""

    file: str
    """Its name in the directory."""
    size: Size
    """Of the upright picture."""
    given: Path | None = None
    """The file of the mask that the operator gave for it."""


def gather(
    directory: Path, masks: Path | None, *, max_pixels: int
) -> tuple[tuple[Candidate, ...], list[str]]:
    """The pictures of a directory in the order of their names, each with its given mask if ``masks`` is a directory.

    Every file counts, except hidden ones and those that ``accept`` writes. A mask belongs to the picture whose name is
    the same up to the ending.

    Args:
        directory: of the pictures.
        masks: of the given masks; None if the engine's own masks count.
        max_pixels: a larger picture is refused, as the service would refuse it.

    Returns:
        The pictures, and remarks that a person should read, one line each.

    Raises:
        NotAccepted: a file is no usable picture, a mask is missing or unusable, or there are no pictures.
    """
    found: list[Candidate] = []
    problems = _unusable_directories(directory, masks)
    for path in _files(directory) if not problems else ():
        try:
            found.append(_candidate(path, max_pixels))
        except NotAccepted as error:
            problems += error.problems
    if not found and not problems:
        problems.append(f"{directory} holds no pictures")
    problems += _same_stems(found)
    remarks: list[str] = []
    if masks is not None:
        found, more, remarks = _with_masks(found, masks)
        problems += more
    if problems:
        raise NotAccepted(problems)
    return tuple(found), remarks


def _unusable_directories(directory: Path, masks: Path | None) -> list[str]:
    problems = [f"{path} is not a directory" for path in (directory, masks) if path and not path.is_dir()]
    if not problems and not os.access(directory, os.W_OK | os.X_OK):
        problems.append(f"{directory} cannot be written, and the masks and the manifest belong there")
    problems += [
        f"{path} is not a file, and one has to be written there: move it away"
        for path in (directory / name for name in sorted(_OURS))
        if path.exists() and not path.is_file()
    ]
    sheet = directory / contact_sheet.FILE_NAME
    if sheet.is_file() and not contact_sheet.is_one(sheet):
        problems.append(
            f"{sheet} is not a contact sheet of this program, and would be overwritten: move it away"
        )
    return problems


def _files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name not in _OURS
    )


def _candidate(path: Path, max_pixels: int) -> Candidate:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise NotAccepted([f"{path.name!r} is no name in UTF-8: rename the file"]) from error
    try:
        width, height = upright_size(path.read_bytes())
    except ServiceError as error:
        raise NotAccepted([f"{path.name}: {error.message} Replace it, or move it away"]) from error
    except OSError as error:
        raise NotAccepted([f"{path.name} cannot be read: {error.strerror or error}"]) from error
    if width * height > max_pixels:
        raise NotAccepted(
            [
                f"{path.name} has {width} x {height} pixels, more than INSPYRENET_MAX_PIXELS = {max_pixels} allows"
            ]
        )
    return Candidate(path.name, (width, height))


def _same_stems(pictures: list[Candidate]) -> list[str]:
    named: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        named[_mask_name(picture)].append(picture.file)
    return [
        f"{' and '.join(files)} differ only in their ending, so their masks would have the same name: rename one"
        for files in named.values()
        if len(files) > 1
    ]


def _with_masks(pictures: list[Candidate], masks: Path) -> tuple[list[Candidate], list[str], list[str]]:
    """The pictures with their masks, problems, and remarks."""
    if not masks.is_dir():
        return pictures, [], []  # a problem already
    problems: list[str] = []
    matched: list[Candidate] = []
    for picture in pictures:
        mask = masks / _mask_name(picture)
        if mask.is_file():
            problems += _problems_of(mask, picture.size)
            matched.append(replace(picture, given=mask))
        else:
            problems.append(f"{picture.file} has no mask: there is no {mask}")
    wanted = {_mask_name(picture) for picture in pictures}
    remarks = [
        f"{path} belongs to no picture, and is not used" for path in _files(masks) if path.name not in wanted
    ]
    return matched, problems, remarks


def _mask_name(picture: Candidate) -> str:
    return f"{Path(picture.file).stem}.png"


def _problems_of(mask: Path, size: Size) -> list[str]:
    try:
        given_mask(mask.read_bytes(), size)
    except NotAMask as error:
        return [f"{mask} {error}"]
    except OSError as error:
        return [f"{mask} cannot be read: {error.strerror or error}"]
    return []
