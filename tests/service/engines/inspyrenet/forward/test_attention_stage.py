"""The sum of features over the base size, compared with the package's order of operations."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.inspyrenet.forward.attention_stage import pooled_context
from service.engines.inspyrenet.forward.interpolation import enlarge


@settings(deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    factor=st.sampled_from([1, 2]),
    base=st.sampled_from([(8, 8), (16, 8), (12, 6), (5, 7)]),
    seed=st.integers(0, 99),
)
def test_reducing_the_rows_of_the_weights_equals_enlarging_the_features(
    rows: int, columns: int, factor: int, base: tuple[int, int], seed: int
) -> None:
    """Both if positions are whole runs of a row (4 channels, 8 columns) and if they are not."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(3, *base, generator=generator)
    source = torch.randn(1, 4, rows, columns, generator=generator)
    size = (rows * factor, columns * factor)
    positions = base[0] * base[1]
    features = enlarge(enlarge(source, size), base).contiguous().view(positions, 4)
    expected = probabilities.view(3, positions) @ features
    pooled = pooled_context(probabilities, source, size)
    assert torch.allclose(pooled, expected, atol=1e-3)
