"""Makes a set of references: cuts every picture out, and writes masks, manifest and contact sheet.

``service.cli.accept`` calls ``accept``; a running service never does. The pictures go through the code that clients'
pictures go through, which the caller provides as ``cutting``. Everything that can fail must come before the old set is
replaced, which ``new_set`` does in one step: so a failure means that nothing has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image

from service.engines.protocol import EngineError, EngineInfo
from service.errors import ServiceError
from service.imaging.decode import decode
from service.imaging.mask import BadMask
from service.warmup.references.contact_sheet import LOOSE, Thumbnails, thumbnail
from service.warmup.references.gathering import Candidate, NotAccepted, gather
from service.warmup.references.manifest import Manifest, Reference
from service.warmup.references.masks import NotAMask, given_mask, mask_of_answer, mean_error
from service.warmup.references.new_set import NewSet, new_set

TOLERANCE = 2 / 255
"""Added to what was measured: the drift that a probe of the canary may show as well."""

Precision = Literal["fp32", "bf16"]

Cut = Callable[[bytes], bytes]
"""From the bytes of a picture to the PNG of its cut-out, through the service's pipeline."""

Cutting = Callable[[EngineInfo | None, Precision | None], AbstractContextManager[tuple[EngineInfo, Cut]]]
"""Opens a pipeline: with the engine as configured (None, None), or with that engine in that precision."""


@dataclass(slots=True)
class _Draft:
    """What is known of one reference while the set is made."""

    candidate: Candidate
    sha256: str
    mask_file: str
    mask_sha256: str
    thumbnails: Thumbnails
    measured: float


def accept(
    directory: Path,
    *,
    masks: Path | None,
    max_pixels: int,
    max_error: float | None,
    cutting: Cutting,
    report: Callable[[str], None],
) -> Manifest:
    """Make the pictures of a directory its references, in place of those that it had.

    Args:
        directory: of the pictures; the set is written there.
        masks: of the masks that count; None if the engine's own count.
        max_pixels: as the service's setting.
        max_error: for every picture; None is what was measured on each + ``TOLERANCE``.
        cutting: opens the pipeline. It is opened once, and once more if the difference between two precisions has to
            be measured.
        report: called with lines for a person.

    Raises:
        NotAccepted: why not, one line for each problem; the directory is as it was.
        EngineError: the engine cannot be loaded, or failed.
        OSError: a file cannot be written; the directory is as it was.
    """
    candidates, remarks = gather(directory, masks, max_pixels=max_pixels)
    for remark in remarks:
        report(remark)
    with new_set(directory) as new:
        info, drafts = _cut_all(candidates, new, cutting, max_pixels=max_pixels, report=report)
        other = _other_precision(info)
        if masks is None and max_error is None and other is not None:
            report(f"The masks were made in {info.precision}. Measuring how they differ in {other}.")
            with cutting(info, other) as (_, cut):
                _measure_difference(drafts, new, cut, report=report)
        made = Manifest(
            accepted_at=datetime.now(UTC).isoformat(timespec="seconds"),
            references=tuple(_reference(draft, info, max_error) for draft in drafts),
        )
        for reference in made.references:
            if reference.max_error > LOOSE:
                report(
                    f"{reference.file}: max_error is {reference.max_error:.4f}, so much that this reference proves "
                    "little"
                )
        new.commit(made, {draft.candidate.file: draft.thumbnails for draft in drafts})
    return made


def _cut_all(
    candidates: Sequence[Candidate],
    new: NewSet,
    cutting: Cutting,
    *,
    max_pixels: int,
    report: Callable[[str], None],
) -> tuple[EngineInfo, list[_Draft]]:
    """Cut every picture out with the engine as configured; all pictures that fail are named at the end.

    The pipeline ends with this function, so that its engine is not in memory beside the one of another precision.
    """
    drafts, problems = [], []
    with cutting(None, None) as (info, cut):
        for number, candidate in enumerate(candidates, 1):
            try:
                draft = _cut_one(candidate, new, cut, max_pixels=max_pixels)
            except ServiceError as error:
                problems.append(f"{candidate.file}: {error.message}")
            except NotAMask as error:
                problems.append(f"{candidate.file}: its mask {error}")
            except BadMask as error:
                problems.append(f"{candidate.file}: the engine made no usable mask: {error}")
            except EngineError as error:
                problems.append(f"{candidate.file}: the engine failed: {error}")
            else:
                drafts.append(draft)
                report(f"{number}/{len(candidates)} {candidate.file}")
    if problems:
        raise NotAccepted(problems)
    return info, drafts


def _cut_one(candidate: Candidate, new: NewSet, cut: Cut, *, max_pixels: int) -> _Draft:
    data = new.read(candidate.file)
    answer = cut(data)
    made = mask_of_answer(answer, candidate.size)
    if made.min() == made.max():
        raise NotAMask(f"is constant ({made.flat[0]} everywhere), so nothing would be compared")
    accepted, measured = made, 0.0
    if candidate.given is not None:
        accepted = given_mask(candidate.given.read_bytes(), candidate.size)
        measured = mean_error(made, accepted)
    mask_file, mask_sha256 = new.add_mask(candidate.file, accepted)
    picture = decode(data, max_pixels=max_pixels)
    with Image.open(BytesIO(answer), formats=["PNG"]) as cut_out:
        thumbnails = Thumbnails(
            picture=thumbnail(Image.fromarray(picture.rgb), icc=picture.icc),
            mask=thumbnail(Image.fromarray(accepted)),
            cut_out=thumbnail(cut_out, icc=picture.icc),
        )
    return _Draft(candidate, hashlib.sha256(data).hexdigest(), mask_file, mask_sha256, thumbnails, measured)


def _measure_difference(
    drafts: Sequence[_Draft], new: NewSet, cut: Cut, *, report: Callable[[str], None]
) -> None:
    for number, draft in enumerate(drafts, 1):
        size = draft.candidate.size
        other = mask_of_answer(cut(new.read(draft.candidate.file)), size)
        draft.measured = mean_error(other, mask_of_answer(new.read(draft.mask_file), size))
        report(f"{number}/{len(drafts)} {draft.candidate.file}: differs by {draft.measured:.4f}")


def _other_precision(info: EngineInfo) -> Precision | None:
    """The precision in which other hardware may compute the same masks; None if the engine has only one."""
    if info.engine != "inspyrenet":
        return None
    return "bf16" if info.precision == "fp32" else "fp32"


def _reference(draft: _Draft, info: EngineInfo, max_error: float | None) -> Reference:
    return Reference(
        file=draft.candidate.file,
        sha256=draft.sha256,
        size=draft.candidate.size,
        mask=draft.mask_file,
        mask_sha256=draft.mask_sha256,
        mask_from="engine" if draft.candidate.given is None else "given",
        engine=info.engine,
        weights=info.weights_hash,
        measured=draft.measured,
        max_error=min(1.0, draft.measured + TOLERANCE) if max_error is None else max_error,
    )
