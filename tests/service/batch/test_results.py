"""What is to be done about a picture, whatever holds its results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from service.batch.ledger import Record, Stamp
from service.batch.plan import Job
from service.batch.results import State, WouldReplace, judged, made_with
from service.batch.sources import Source
from service.imaging.options import Format, Options, Output
from service.settings import Settings

NOW = Stamp(7, 70)
JOB = Job(Source(Path("in/a.jpg"), PurePath("a.jpg"), "/in/a.jpg", NOW), PurePath("a.png"))
NEW, OLD, FOREIGN = Stamp(1, 11), Stamp(1, 10), Stamp(1, 12)
OF_NOW = Record("a.png", NEW, "/in/a.jpg", NOW, {"options": {}})
OF_BEFORE = replace(OF_NOW, written=OLD, read=Stamp(7, 69))
OTHERWISE = replace(OF_NOW, written=OLD, made_with={"options": {"output": "white"}})
OF_ANOTHER = replace(OF_NOW, written=OLD, source="/other/a.jpg", read=Stamp(8, 80))


@pytest.mark.parametrize(
    ("there", "records", "expected"),
    [
        (None, [OF_NOW], State.TO_DO),
        (NEW, [OF_NOW, OF_BEFORE, OTHERWISE, OF_ANOTHER], State.DONE),
        (OLD, [OF_NOW, OF_BEFORE], State.TO_DO),  # the newer one was never written
        (OLD, [OF_NOW, OTHERWISE], State.TO_DO),
        (OLD, [OF_ANOTHER, OF_BEFORE], State.TO_DO),  # the same bytes from both
        (OLD, [OF_NOW, OF_ANOTHER], None),
        (FOREIGN, [OF_NOW, OF_BEFORE], None),
        (FOREIGN, [], None),
    ],
)
def test_the_record_of_what_is_there_counts_in_whatever_order_machines_wrote_them(
    there: Stamp | None, records: Sequence[Record], expected: State | None
) -> None:
    for order in itertools.permutations(records):
        try:
            found = judged(
                JOB,
                there=there,
                records=order,
                made_with={"options": {}},
                target="a.png",
                exists=lambda _: True,
            )
        except WouldReplace:
            found = None
        assert found is expected


def test_only_what_differs_from_the_defaults_is_kept_of_the_options() -> None:
    asked = replace(Options(), output=Output.COLOUR, colour=(1, 2, 3), format=Format.WEBP)
    assert made_with(asked, Settings())["options"] == {
        "output": "#rrggbb",
        "colour": [1, 2, 3],
        "format": "webp",
    }
