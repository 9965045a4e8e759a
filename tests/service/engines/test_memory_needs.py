"""``service/engines/memory_needs.py``: what docs/memory.md says follows from its figures."""

from __future__ import annotations

import re
from functools import partial

import pytest

from service.engines.inspyrenet.resize import model_input_size
from service.engines.memory_needs import INSPYRENET, INSPYRENET_ON_GPU, U2NETP, MemoryNeeds, least_needs
from service.imaging.encode import peak_bytes
from service.imaging.options import Format, Options
from service.inference.memory_budget import MemoryBudget
from service.inference.service_time import Work
from service.settings import Settings
from tests.support.programs import ROOT

TEXT = (ROOT / "docs" / "memory.md").read_text()
ROWS = [
    ("InSPyReNet, `fp32`", INSPYRENET["fp32"]),
    ("InSPyReNet, `bf16`", INSPYRENET["bf16"]),
    ("u2netp", U2NETP),
]
MOST = Settings().max_pixels


def budget(needs: MemoryNeeds, *, limit: int | None = None, largest: int = MOST) -> MemoryBudget:
    """The budget of a machine with two cores."""
    made = MemoryBudget(
        limit,
        model_input_size=(lambda *_: (320, 320))
        if needs is U2NETP
        else partial(
            model_input_size,
            resize="dynamic",
            base_size=(1024, 1024),
            max_model_pixels=Settings().max_model_pixels,
        ),
        codec_threads=2,
        engine="one",
        least_needs={"one": needs},
    )
    made.engine_settled(needs, max_pixels=largest, places=1)
    return made


@pytest.mark.parametrize(("row", "needs"), ROWS)
def test_the_table_of_the_documentation_follows_from_the_figures(row: str, needs: MemoryNeeds) -> None:
    [line] = [line for line in TEXT.splitlines() if line.startswith(f"| {row} |")]
    stated = [float(figure) for figure in re.findall(r"([\d.]+) GB", line)]
    sizes = [(1024, 1024), (4000, 3000), (8660, 5773)]
    expected = [
        budget(needs, largest=size[0] * size[1]).bytes_alone(Work(size=size, options=Options())) / 1e9
        for size in sizes
    ]
    assert stated == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("gib", [1, 2, 3, 4, 6])
def test_the_table_of_limits_follows_from_the_figures(gib: int) -> None:
    [line] = [line for line in TEXT.splitlines() if line.startswith(f"| {gib} GiB |")]
    for cell, (_, needs) in zip(line.split("|")[2:-1], ROWS, strict=True):
        if "not start" in cell:
            assert needs.idle > (gib << 30) - 40_000_000
        else:
            found = budget(needs, limit=gib << 30).largest_photograph(needs, most=MOST)
            assert float(cell) == pytest.approx(found / 1e6, rel=0.03)


@pytest.mark.parametrize(
    ("engine", "device", "precision", "least"),
    [
        ("u2netp", "cpu", "fp32", U2NETP),
        ("auto", "cpu", "fp32", U2NETP),
        ("inspyrenet", "cpu", "fp32", INSPYRENET["fp32"]),
        ("inspyrenet", "cpu", "bf16", INSPYRENET["bf16"]),
        ("inspyrenet", "cuda:1", "auto", INSPYRENET_ON_GPU),
        ("inspyrenet", "auto", "fp32", INSPYRENET_ON_GPU),
    ],
)
def test_before_the_load_the_least_counts_that_the_settings_allow(
    engine: str, device: str, precision: str, least: MemoryNeeds
) -> None:
    assert least_needs(engine, device=device, precision=precision) == least


def test_what_answers_take_follows_from_the_figures_of_their_formats() -> None:
    """The pixels, what encoding takes beside them, and the file, which counts as much as the pixels."""

    def each(answer: Format, channels: int) -> int:
        return peak_bytes(answer, 1, 0) - peak_bytes(answer, 0, 0) + 2 * channels

    cut_out, mask = ([each(answer, count) for answer in (Format.WEBP, Format.AVIF)] for count in (4, 1))
    assert f"{cut_out[0]} as WebP, {cut_out[1]} as AVIF" in TEXT
    assert f"for a mask, {each(Format.PNG, 1)}, {mask[0]} and {mask[1]}" in TEXT
    always = peak_bytes(Format.AVIF, 0, 0)
    a_side = peak_bytes(Format.AVIF, 0, 1) - always
    assert f"{always / 1e6:.0f} MB more, and as AVIF {a_side} bytes for each pixel of its width" in TEXT
