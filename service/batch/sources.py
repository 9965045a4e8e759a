"""Finds the pictures that the arguments of a command name: files, folders and patterns.

The command calls ``find`` once, or again and again while it watches a folder. What is written down here is what users
rely on: an argument that names nothing is a problem, and so is an explicit file that is no picture (the decoder will
say so). In a folder, only pictures count, and everything else is counted as ignored. Results of this program are
never inputs.
"""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from service.batch import ledger
from service.batch.addresses import Address, Listed, ObjectStore, is_address, redact
from service.batch.problem import Problem, system_reason
from service.batch.remote_ledger import outputs_in
from service.errors import UnsupportedType
from service.imaging.formats.recognise import recognise

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
"""The endings of each input format's files."""

PICTURE_ENDINGS = frozenset(ending for endings in ENDINGS.values() for ending in endings)

_FIRST_BYTES = 1024
"""Enough to recognise every format."""


@dataclass(frozen=True, slots=True)
class Source:
    """One picture."""

    path: Path | Address
    """As it can be opened from here."""
    below: PurePath
    """Where it stands below the folder that was named; the name alone for a file that was named itself."""
    key: str
    """The same for the same file, however it was named. A link to a picture is a file of its own."""
    stamp: ledger.Stamp


@dataclass(slots=True)
class Found:
    """What the arguments name."""

    sources: list[Source] = field(default_factory=list)
    """In the order of the arguments; in a folder, by name. Each picture once."""
    problems: list[Problem] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files in folders that are no pictures: ending or kind -> number."""


def find(arguments: Iterable[str], *, ours: Set[str] = frozenset()) -> Found:
    """Find the pictures.

    Args:
        arguments: files, folders, and patterns that no shell has expanded.
        ours: keys of files that are results of this run's output folder.
    """
    search = _Search(ours)
    for argument in arguments:
        search.argument(argument)
    return search.found


def key_of(path: Path) -> str:
    """The path with all links in its folders resolved, but not a link that the file itself may be."""
    return os.path.join(os.path.realpath(path.parent), path.name)


class _Search:
    def __init__(self, ours: Set[str]) -> None:
        self.found = Found()
        self._ours = set(ours)
        self._seen: set[str] = set()

    def argument(self, argument: str) -> None:
        if is_address(argument):
            self._address(Address(argument))
        elif os.path.lexists(argument):
            self._named(Path(argument))
        elif glob.has_magic(argument):
            # sorted, as a shell does it
            matches = sorted(glob.glob(argument, recursive=True))
            for match in matches:
                self._named(Path(match))
            if not matches:
                self._problem(argument, "Nothing matches this pattern.")
        else:
            self._problem(argument, "There is no such file or folder.")

    def _named(self, path: Path) -> None:
        """A file or a folder that was named itself."""
        try:
            found = path.stat()
        except OSError as error:
            self._problem(str(path), _why(path, error))
            return
        if stat.S_ISDIR(found.st_mode):
            self._folder(path)
        elif stat.S_ISREG(found.st_mode):
            self._add(path, PurePath(path.name), found)
        else:
            self._problem(str(path), "This is neither a file nor a folder.")

    def _folder(self, root: Path) -> None:
        for folder, folders, files in os.walk(root, onerror=self._cannot_list):
            here = Path(folder)
            self._pass_over_our_results(here, files)
            self.found.passed_over["hidden"] += sum(name.startswith(".") for name in folders)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = sum(
                (here / name).is_symlink() for name in folders
            )  # not followed: they may lead in circles
            self.found.passed_over["links to folders"] += links
            for name in sorted(files):
                self._in_folder(here / name, root)
        self.found.passed_over += Counter()  # drops what was not found

    def _in_folder(self, path: Path, root: Path) -> None:
        """A file in a folder that was named."""
        if path.name == ledger.FILE_NAME:
            return
        if path.name.startswith("."):  # such as the ._photo.jpg that macOS puts beside photo.jpg
            self.found.passed_over["hidden"] += 1
            return
        ending = path.suffix.lower()
        named_like_one = ending in PICTURE_ENDINGS
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode) or not (named_like_one or _begins_like_a_picture(path)):
                self.found.passed_over[ending or "without an ending"] += 1
                return
        except OSError as error:
            if named_like_one:
                self._problem(str(path), _why(path, error))
            else:
                self.found.passed_over[ending or "without an ending"] += 1
            return
        self._add(path, path.relative_to(root), found)

    def _address(self, address: Address) -> None:
        """An object, all objects below an address, or those that a pattern matches."""
        try:
            listed = list(ObjectStore(address).find(address))
            self._ours |= outputs_in(each.address for each in listed if _in_ledger(each))
        except OSError as error:
            self._problem(str(address), f"This cannot be listed: {system_reason(error)}")
            return
        if not listed:
            self._problem(str(address), "There is nothing at this address.")
        for each in listed:
            self._object(each)

    def _object(self, each: Listed) -> None:
        if _in_ledger(each):
            return
        hidden = [part for part in each.below.parts if part.startswith(".")]
        ending = each.below.suffix.lower()
        if hidden:
            self.found.passed_over["hidden"] += 1
        elif not each.named and ending not in PICTURE_ENDINGS:
            self.found.passed_over[ending or "without an ending"] += 1
        else:
            self._add_source(Source(each.address, each.below, str(each.address), each.stamp))

    def _add(self, path: Path, below: PurePath, found: os.stat_result) -> None:
        self._add_source(Source(path, below, key_of(path), ledger.Stamp.of(found)))

    def _add_source(self, source: Source) -> None:
        if source.key in self._seen:
            return
        self._seen.add(source.key)
        if source.key in self._ours:
            self.found.passed_over["own results"] += 1
            return
        self.found.sources.append(source)

    def _pass_over_our_results(self, folder: Path, files: Iterable[str]) -> None:
        """A folder with a ledger is the output folder of some run: what that run wrote is no input."""
        if ledger.FILE_NAME not in files:
            return
        try:
            real = os.path.realpath(folder)
            self._ours |= {os.path.join(real, output) for output in ledger.read_records(folder).outputs}
        except OSError as error:
            self._cannot_list(error)

    def _cannot_list(self, error: OSError) -> None:
        self._problem(str(error.filename), f"This cannot be read: {system_reason(error)}")

    def _problem(self, name: str, reason: str) -> None:
        self.found.problems.append(Problem(redact(name), reason))


def _in_ledger(each: Listed) -> bool:
    return f"/{ledger.SHARDS}/" in str(each.address)


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return "This link leads to nothing."
    return system_reason(error)


def _begins_like_a_picture(path: Path) -> bool:
    """Whether a file without a picture's ending is one by its first bytes.

    TIFF does not count: cameras' raw files begin like it.
    """
    with path.open("rb") as file:
        first = file.read(_FIRST_BYTES)
    try:
        return recognise(first).name != "TIFF"
    except UnsupportedType:
        return False
