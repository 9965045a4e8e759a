"""A set of references that was accepted earlier, as the service uses it: it is checked, read and judged against.

The composition root opens the set at the start, the target verifies it beside the load, and asks for one reference at a
time. A set that does not fit its files must stop start-up, in words. No pixels are kept: there may be fifty pictures of
twelve megapixels. So files are read when they are needed, and their hashes are checked each time, because a file can
change while the service runs.

``open`` reads only the manifest. ``verify``, ``encoded`` and ``judge`` read files and compute, so they belong in a
thread. All methods may be called from any thread.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from service.engines.protocol import EngineInfo
from service.errors import ServiceError
from service.imaging.decode import upright_size
from service.warmup.references import manifest as manifests
from service.warmup.references.manifest import FILE_NAME, Reference, unusable
from service.warmup.references.masks import NotAMask, check_mask_file, mask_of_answer, mean_error
from supervisor.protocol import MaskError, Outcome, ProbeError

Gate = Literal["none", "first", "all"]
"""What the first ``ready`` after a load waits for: no reference, the first of the manifest, or all of them."""

_LONGEST_NAME = 80  # characters, so that the figures fit into the longest message that the supervisor keeps


class _ChangedFile(Exception):
    """A file is not the one that was accepted; the message names it."""


class ReferenceSet:
    """The references of a directory.

    Args:
        directory: holds the manifest, the pictures and the masks.
        references: what the manifest says.
    """

    def __init__(self, directory: Path, references: tuple[Reference, ...]) -> None:
        self._directory = directory
        self._references = {reference.file: reference for reference in references}

    @classmethod
    def open(cls, directory: Path, *, engine: str, max_pixels: int) -> ReferenceSet:
        """Read the manifest, and check what can be checked without reading another file.

        Args:
            directory: ``INSPYRENET_REFERENCES``.
            engine: ``INSPYRENET_ENGINE``. With ``auto`` the check has to wait for the load: see ``check_engine``.
            max_pixels: ``INSPYRENET_MAX_PIXELS``; a larger reference could never be judged.

        Raises:
            ConfigurationError: the set cannot be used; one line that says why and what to do.
        """
        references = manifests.read(directory).references
        root = directory.resolve()
        for reference in references:
            for file in (reference.file, reference.mask):
                path = (directory / file).resolve()
                if not path.is_relative_to(root):
                    raise unusable(directory, f"{_shown(file)} in {FILE_NAME} leads out of the directory")
                if not path.is_file():
                    raise unusable(directory, f"{_shown(file)}, which {FILE_NAME} lists, is missing")
            width, height = reference.size
            if width * height > max_pixels:
                raise unusable(
                    directory,
                    f"{_shown(reference.file)} has {width * height} pixels, more than INSPYRENET_MAX_PIXELS = "
                    f"{max_pixels} allows",
                )
        found = cls(directory, references)
        if engine != "auto":
            found._check_engine_in_use(engine)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the references, in the order of the manifest."""
        return tuple(self._references)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each, in the same order."""
        return tuple(reference.size for reference in self._references.values())

    def gate(self, gate: Gate) -> tuple[str, ...]:
        """The names of the references that the first ``ready`` after a load waits for."""
        return {"none": (), "first": self.names[:1], "all": self.names}[gate]

    def verify(self) -> None:
        """Check the hash and the size of every picture and every mask; one file at a time is in memory.

        Raises:
            ConfigurationError: a file is not the one that was accepted; one line that says which, and what to do.
        """
        for reference in self._references.values():
            self._verify(reference)

    def check_engine(self, info: EngineInfo) -> None:
        """Check that the references were accepted with the engine that is in use.

        If it is in use only because ``auto`` fell back, the start goes on, and every reference disagrees.

        Raises:
            ConfigurationError: they were accepted with another engine.
        """
        if not info.fallback:
            self._check_engine_in_use(info.engine)

    def encoded(self, name: str) -> bytes:
        """The bytes of a picture, for the pipeline.

        Raises:
            ProbeError: the file changed since the start.
        """
        reference = self._references[name]
        try:
            return self._read(reference.file, reference.sha256)
        except _ChangedFile as error:
            raise _changed_since(error) from error

    def judge(self, name: str, answer: bytes, *, info: EngineInfo) -> MaskError:
        """Compare the mask that the pipeline made of a picture with the accepted one.

        Args:
            name: of the reference.
            answer: a PNG: a cut-out, or ``output=mask``, which costs less.
            info: the engine that made it.

        Returns:
            How far the mask is from the accepted one.

        Raises:
            ProbeError: ``disagrees`` if it is too far, or if the engine is only a fallback for the one that was
                accepted; another outcome if the answer is no mask of this picture, or if the accepted mask changed
                since the start.
        """
        reference = self._references[name]
        shown = _shown(name)
        try:
            found = mask_of_answer(answer, reference.size)
        except NotAMask as error:
            raise ProbeError(Outcome.BAD_OUTPUT, f"the answer for the reference {shown} {error}") from error
        try:
            accepted = mask_of_answer(self._read(reference.mask, reference.mask_sha256), reference.size)
        except _ChangedFile as error:
            raise _changed_since(error) from error
        except NotAMask as error:
            raise ProbeError(Outcome.ERROR, f"the accepted mask of {shown} {error}") from error
        measured = MaskError(mean_error(found, accepted), reference.max_error)
        if info.engine != reference.engine or measured.error > measured.max_error:
            raise ProbeError(
                Outcome.DISAGREES,
                f"the mask of {shown} differs from the accepted one by {measured.error:.4f} in the mean; "
                f"at most {measured.max_error:.4f} is accepted{_difference(reference, info)}",
                mask_error=measured,
            )
        return measured

    def _check_engine_in_use(self, engine: str) -> None:
        for reference in self._references.values():
            if reference.engine != engine:
                raise unusable(
                    self._directory,
                    f"{_shown(reference.file)} was accepted with the engine {reference.engine}, and {engine} is in use",
                )

    def _verify(self, reference: Reference) -> None:
        try:
            size = upright_size(self._read(reference.file, reference.sha256))
            check_mask_file(self._read(reference.mask, reference.mask_sha256), reference.size)
        except _ChangedFile as error:
            raise unusable(self._directory, str(error)) from error
        except ServiceError as error:
            raise unusable(self._directory, f"{_shown(reference.file)}: {error.message}") from error
        except NotAMask as error:
            raise unusable(self._directory, f"{_shown(reference.mask)} {error}") from error
        if size != reference.size:
            raise unusable(
                self._directory,
                f"{_shown(reference.file)} is {size[0]} x {size[1]} pixels; {FILE_NAME} says "
                f"{reference.size[0]} x {reference.size[1]}",
            )

    def _read(self, file: str, sha256: str) -> bytes:
        """The content of a file, if it is the accepted one."""
        try:
            data = (self._directory / file).read_bytes()
        except OSError as error:
            raise _ChangedFile(f"{_shown(file)} cannot be read: {error.strerror or error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise _ChangedFile(
                f"{_shown(file)} is not the file that was accepted (SHA-256 {found[:12]}, accepted {sha256[:12]})"
            )
        return data


def _difference(reference: Reference, info: EngineInfo) -> str:
    """What serves that was not accepted, as the end of a sentence; empty if that is the same."""
    if info.engine != reference.engine:
        return f" (accepted with {reference.engine}; {info.engine} serves as a fallback)"
    if info.weights_hash != reference.weights:
        return f" (accepted with the weights {_short(reference.weights)}; {_short(info.weights_hash)} serve)"
    return ""


def _changed_since(error: Exception) -> ProbeError:
    return ProbeError(
        Outcome.ERROR, f"{error}; after accepting references again, the service has to be restarted"
    )


def _short(weights: str) -> str:
    algorithm, _, digest = weights.partition(":")
    return f"{algorithm}:{digest[:12]}" if digest else weights


def _shown(name: str) -> str:
    """A file name for a message: in one line, and not too long."""
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."
