"""The image pyramid, compared with the package's own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from service.engines.inspyrenet.forward.pyramid import Pyramid
from service.engines.inspyrenet.package_network import network_module

CPU = torch.device("cpu")


def test_the_pyramid_expands_a_thin_map_without_memory_for_a_square_one() -> None:
    """A picture of 1 x 100000 has a model input of 3 million pixels: no memory may grow with the square of a side."""
    pyramid = network_module().ImagePyramid(7, 1)
    coarse, laplacian = torch.rand(1, 1, 4, 1 << 16), torch.zeros(1, 1, 8, 1 << 17)
    assert torch.allclose(
        Pyramid(pyramid, CPU)(coarse, laplacian), pyramid.reconstruct(coarse, laplacian), atol=1e-5
    )


@given(height=st.integers(4, 40), width=st.integers(4, 40))
@settings(deadline=None)
def test_the_pyramid_expands_like_the_packages(height: int, width: int) -> None:
    pyramid = network_module().ImagePyramid(7, 1)
    coarse = torch.rand(1, 1, height, width)
    laplacian = torch.rand(1, 1, 2 * height, 2 * width)
    expected = pyramid.reconstruct(coarse, laplacian)
    ours = Pyramid(pyramid, CPU)(coarse, laplacian)
    assert torch.allclose(ours, expected, atol=1e-5)
    smaller = functional.interpolate(laplacian, (height, width))
    assert torch.allclose(
        Pyramid(pyramid, CPU)(coarse, smaller), pyramid.reconstruct(coarse, smaller), atol=1e-5
    )
