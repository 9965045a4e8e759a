"""What is set in torch for the whole process: float32 means float32."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from service.engines.inspyrenet.session import set_up_device
from tests.support.programs import ROOT


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolutions


def test_float32_is_exact_on_a_gpu_once_a_device_is_set_up() -> None:
    """The flags exist without a GPU too. Torch's own default is TF32 for convolutions: ten bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")
    set_up_device("cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.process
def test_float32_is_exact_even_if_a_variable_of_torch_asks_for_tf32() -> None:
    """NVIDIA's container images set this variable."""
    code = """
import torch
from service.engines.inspyrenet.session import set_up_device
assert torch.backends.cuda.matmul.allow_tf32
set_up_device("cpu")
assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
"""
    environment = {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_convolution_and_a_product_on_a_gpu_are_as_exact_as_float32() -> None:
    """TF32 would be wrong by 1e-3 of the result, float32 is wrong by less than 1e-5."""
    device = set_up_device("cuda")
    generator = torch.Generator().manual_seed(0)
    image, kernel = (
        torch.randn(1, 64, 96, 96, generator=generator),
        torch.randn(64, 64, 3, 3, generator=generator),
    )
    matrix = torch.randn(512, 512, generator=generator)
    pairs = [
        (
            functional.conv2d(image.to(device), kernel.to(device)),
            functional.conv2d(image.double(), kernel.double()),
        ),
        (matrix.to(device) @ matrix.to(device), matrix.double() @ matrix.double()),
    ]
    for found, exact in pairs:
        assert float((found.cpu() - exact).abs().max() / exact.abs().max()) < 1e-5
