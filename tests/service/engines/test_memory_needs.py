"""``service/engines/memory_needs.py``: what docs/memory.md says follows from its figures."""

from __future__ import annotations

import re

import pytest

from service.engines.inspyrenet.resize import model_input_size
from service.engines.memory_needs import INSPYRENET, U2NETP, MemoryNeeds
from service.settings import Settings
from tests.support.programs import ROOT

TABLE = (ROOT / "docs" / "memory.md").read_text()


@pytest.mark.parametrize(
    ("row", "needs"),
    [
        ("InSPyReNet, `fp32`", INSPYRENET["fp32"]),
        ("InSPyReNet, `bf16`", INSPYRENET["bf16"]),
        ("u2netp", U2NETP),
    ],
)
def test_the_table_of_the_documentation_follows_from_the_figures(row: str, needs: MemoryNeeds) -> None:
    [line] = [line for line in TABLE.splitlines() if line.startswith(f"| {row} |")]
    stated = [float(figure) for figure in re.findall(r"([\d.]+) GB", line)]
    expected = []
    for width, height in ((1024, 1024), (4000, 3000), (8660, 5773)):
        model = model_input_size(
            width,
            height,
            resize="dynamic",
            base_size=(1024, 1024),
            max_model_pixels=Settings().max_model_pixels,
        )
        expected.append(needs.bytes_for(width * height, model[0] * model[1]) / 1e9)
    assert stated == pytest.approx(expected, abs=0.06)
