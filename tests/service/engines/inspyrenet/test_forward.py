"""The rearranged forward pass: the masks of the package's own modules, for every size, mode and precision it serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from benchmarks.scenes import photograph
from service.engines.inspyrenet.forward import attention, swin
from service.engines.inspyrenet.forward import layers as kernels
from service.engines.inspyrenet.forward.attention import enlarged, enlarged_rows, pooled_context
from service.engines.inspyrenet.forward.heads import Pyramid
from service.engines.inspyrenet.forward.model import PARTS, Forward
from service.engines.inspyrenet.forward.swin import WINDOW, Windows
from service.engines.inspyrenet.package import build_network, network_module
from service.engines.inspyrenet.precision import REDUCED_PARTS

pytestmark = pytest.mark.network

CPU = torch.device("cpu")


def normalised(name: str, width: int, height: int) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(photograph(name, width, height))).permute(2, 0, 1)[None]
    return pixels.float() / 64 - 2


@pytest.fixture(scope="module")
def fast(dummy_checkpoint: Callable[[str], Path]) -> nn.Module:
    network = build_network((384, 384))
    network.load_state_dict(torch.load(dummy_checkpoint("fast"), weights_only=True), assign=True)
    return network


@pytest.fixture(scope="module")
def base(fast: nn.Module) -> nn.Module:
    """The same weights at the base size of ``base``, whose attention stages sum over whole rows."""
    network = build_network((1024, 1024))
    network.load_state_dict(fast.state_dict(), assign=True)
    # The sums are over (1024 / 384) squared times as many positions; what is learnt from them grows alike.
    for number in range(3):
        stage: Any = network.get_submodule(f"attention{number}")
        for layer in (stage.conv_key[0], stage.conv_value[0]):
            layer.bn.weight = nn.Parameter(layer.bn.weight * (384 / 1024) ** 2, requires_grad=False)
    return network


SIZES = [(32, 32), (64, 64), (96, 160), (352, 32), (32, 224), (416, 288), (32, 1088), (1312, 32)]
"""(width, height): one window and many, padded and not, square and not, below and above ``fast``'s base size."""


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("mode", ["fast", "base"])
def test_masks_equal_those_of_the_packages_modules(
    mode: str, width: int, height: int, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(mode)
    image = normalised("astronaut", width, height)
    with torch.inference_mode():
        expected = network(image)
        mask = Forward(network, CPU)(image)
    assert mask.shape == expected.shape
    assert float(expected.std()) > 0.05
    assert float((mask - expected).abs().max()) < 2e-4


def test_without_packed_weights_the_masks_are_the_same(
    fast: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What computes on a GPU, here on the CPU."""
    image = normalised("coffee", 96, 128)
    with torch.inference_mode():
        packed = Forward(fast, CPU)(image)
        monkeypatch.setattr(kernels, "_packs", lambda *_: False)
        plain = Forward(fast, CPU)(image)
        reduced = Forward(fast, CPU, reduced=REDUCED_PARTS)(image)
        borrowing = Forward(fast, CPU, borrow=True)(image)
    assert float((packed - plain).abs().max()) < 2e-4
    assert torch.equal(borrowing, plain)
    assert 0 < float((reduced - plain).abs().mean()) < 1 / 255


@pytest.mark.parametrize(("rows", "windows"), [(1, 1), (7, 4)])
def test_in_pieces_of_any_size_the_masks_are_the_same(
    rows: int, windows: int, fast: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven rows: an odd number, between rows of the map that is enlarged. Four windows: of two kinds."""
    image = normalised("coffee", 96, 160)
    with torch.inference_mode():
        whole = Forward(fast, CPU)(image)
        monkeypatch.setattr(attention, "STRIP_PIXELS", 1)
        monkeypatch.setattr(attention, "STRIP_ROWS", rows)
        monkeypatch.setattr(attention, "POOLED_VALUES", 1)
        monkeypatch.setattr(swin, "ROWS", windows * WINDOW * WINDOW)
        assert float((Forward(fast, CPU)(image) - whole).abs().max()) < 1e-5


@given(total=st.integers(0, 300), size=st.integers(1, 50))
def test_pieces_cover_everything_once_and_none_is_too_large(total: int, size: int) -> None:
    found = list(kernels.pieces(total, size, CPU))
    assert [number for piece in found for number in range(piece.start, piece.stop)] == list(range(total))
    assert all(0 < piece.stop - piece.start <= size for piece in found)
    assert len(found) == -(-total // size)
    assert sum(1 for _ in kernels.pieces(total, size, torch.device("cuda"))) <= 1


@settings(deadline=None)
@given(rows=st.integers(1, 9), factor=st.integers(1, 3), data=st.data())
def test_some_rows_of_an_enlarged_map_are_those_of_the_whole(
    rows: int, factor: int, data: st.DataObject
) -> None:
    size = (rows * factor, 4)
    start = data.draw(st.integers(0, size[0] - 1))
    stop = data.draw(st.integers(start + 1, size[0]))
    x = torch.randn(1, 2, rows, 3)
    torch.testing.assert_close(enlarged_rows(x, size, start, stop), enlarged(x, size)[:, :, start:stop])


def test_every_part_can_be_reduced_alone_and_a_part_that_is_none_is_refused(fast: nn.Module) -> None:
    image = normalised("coffee", 64, 64)
    with torch.inference_mode():
        exact = Forward(fast, CPU)(image)
        for part in PARTS:
            deviation = (Forward(fast, CPU, reduced={part})(image) - exact).abs().mean()
            assert 0 < float(deviation) < 2 / 255, part
    assert set(PARTS) >= REDUCED_PARTS
    with pytest.raises(ValueError, match="attention3"):
        Forward(fast, CPU, reduced={"attention3"})


def test_it_keeps_nothing_of_the_network(fast: nn.Module) -> None:
    """Its 370 MB must not live on in it."""
    network = build_network((384, 384))
    network.load_state_dict({name: tensor.clone() for name, tensor in fast.state_dict().items()}, assign=True)
    forward = Forward(network, CPU)
    image = normalised("coffee", 64, 64)
    with torch.inference_mode():
        before = forward(image)
        for tensor in network.state_dict().values():
            tensor.zero_()
        assert torch.equal(forward(image), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_on_a_gpu_the_masks_are_those_of_the_packages_modules(fast: nn.Module) -> None:
    image = normalised("astronaut", 384, 256)
    with torch.inference_mode():
        expected = fast(image)
        mask = Forward(fast, torch.device("cuda"))(image.cuda()).cpu()
    assert float((mask - expected).abs().max()) < 1e-3


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_every_token_has_one_place_and_the_rest_is_padding(height: int, width: int) -> None:
    windows = Windows.over(height, width, CPU)
    for partition in (windows.plain, windows.shifted):
        places = partition.gather
        assert places.numel() == sum(partition.counts) * WINDOW * WINDOW
        assert torch.equal(places[partition.scatter], torch.arange(height * width))
        assert int((places < height * width).sum()) == height * width


@settings(deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    factor=st.sampled_from([1, 2]),
    base=st.sampled_from([(8, 8), (16, 8), (12, 6), (5, 7)]),
    seed=st.integers(0, 99),
)
def test_pooling_the_rows_of_the_weights_is_pooling_the_enlarged_features(
    rows: int, columns: int, factor: int, base: tuple[int, int], seed: int
) -> None:
    """Both where positions are whole runs of a row (4 channels, 8 columns) and where they are not."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(3, *base, generator=generator)
    source = torch.randn(1, 4, rows, columns, generator=generator)
    size = (rows * factor, columns * factor)
    positions = base[0] * base[1]
    features = enlarged(enlarged(source, size), base).contiguous().view(positions, 4)
    expected = probabilities.view(3, positions) @ features
    pooled = pooled_context(probabilities, source, size)
    assert torch.allclose(pooled, expected, atol=1e-3)


def test_the_pyramid_takes_the_memory_of_the_map_however_thin_it_is() -> None:
    """A picture of 1 x 100000 is one of 3 million pixels to the network: nothing may grow with a side's square."""
    pyramid = network_module().ImagePyramid(7, 1)
    coarse, laplacian = torch.rand(1, 1, 4, 1 << 16), torch.zeros(1, 1, 8, 1 << 17)
    assert torch.allclose(
        Pyramid(pyramid, CPU)(coarse, laplacian), pyramid.reconstruct(coarse, laplacian), atol=1e-5
    )


@given(height=st.integers(4, 40), width=st.integers(4, 40))
@settings(deadline=None)
def test_the_pyramid_expands_as_the_packages_does(height: int, width: int) -> None:
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
