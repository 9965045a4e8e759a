"""The background and the media type that belong to the options."""

from __future__ import annotations

import pytest

from service.imaging.options import GREEN, WHITE, Colour, Format, Options, Output


@pytest.mark.parametrize(
    ("options", "background"),
    [
        (Options(Output.GREEN), GREEN),
        (Options(Output.WHITE), WHITE),
        (Options(Output.COLOUR, (1, 2, 3)), (1, 2, 3)),
        (Options(Output.RGBA), None),
        (Options(Output.MASK), None),
        (Options(Output.BLUR), None),
        (Options(Output.OVERLAY), None),
    ],
)
def test_flat_outputs_alone_have_a_background(options: Options, background: Colour | None) -> None:
    assert options.background == background


def test_every_format_has_a_media_type() -> None:
    assert [output_format.content_type for output_format in Format] == [
        "image/png",
        "image/webp",
        "image/jpeg",
        "image/avif",
        "application/zip",
    ]
