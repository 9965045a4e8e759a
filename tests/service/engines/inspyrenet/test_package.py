"""Importing the network alone, and the dummy weights that fill it."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from service.engines.inspyrenet.package import build_network, network_module
from service.engines.package_config import mode_config

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[4]
HEAVY = ("timm", "kornia", "torchvision", "transparent_background", "albumentations", "pymatting", "gdown")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_engines_imports_no_heavy_library() -> None:
    code = "import sys, service.engines; print([name for name in %r if name in sys.modules])"
    assert run(code % (("torch", "cv2", "numba", "requests", *HEAVY),)) == "[]\n"


def test_the_network_comes_without_the_rest_of_the_package_and_leaves_no_trace() -> None:
    code = """
import sys
import torch
path = list(sys.path)
from service.engines.inspyrenet.package import build_network
build_network((384, 384))
assert sys.path == path
print([name for name in sys.modules if name.split(".")[0] in %r])
"""
    assert run(code % (HEAVY,)) == "[]\n"


def test_what_was_imported_before_is_there_afterwards() -> None:
    code = """
import sys, types
real = {name: types.ModuleType(name) for name in ("timm", "kornia.morphology", "transparent_background.gui")}
sys.modules.update(real)
from service.engines.inspyrenet.package import network_module
network_module()
print(all(sys.modules[name] is module for name, module in real.items()), "timm.layers" in sys.modules)
"""
    assert run(code) == "True False\n"


@pytest.mark.stock
def test_the_real_package_can_still_be_imported_afterwards() -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from service.engines.inspyrenet.package import network_module
ours = network_module()
from tests.support.stock_package import _import_package
package = _import_package()
from transparent_background.InSPyReNet import InSPyReNet
from timm.layers import DropPath
print(package.Remover.__module__, InSPyReNet is ours.InSPyReNet, DropPath.__module__)
"""
    assert run(code) == "transparent_background.Remover False timm.layers.drop\n"


def test_building_draws_no_random_numbers_and_leaves_evaluation_mode() -> None:
    before = torch.random.get_rng_state()
    network = build_network((384, 384))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(
        module.training for module in network.modules() if not isinstance(module, torch.nn.Sequential)
    )


def test_parameters_have_no_memory_until_they_are_assigned_and_all_else_is_there() -> None:
    network = build_network((384, 384))
    assert {name for name, tensor in network.state_dict().items() if tensor.is_meta} >= {
        name for name, _ in network.named_parameters() if not name.endswith(("table", "gamma", "threshold"))
    }
    assert not any(buffer.is_meta for buffer in network.buffers())


def test_a_network_nobody_holds_is_gone_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        network = build_network((384, 384))
        gone = weakref.ref(network)
        del network
        assert gone() is None
    finally:
        gc.enable()


def test_plain_tensor_kernels_move_with_the_network() -> None:
    network: Any = build_network((384, 384))
    moved = network.to("meta")
    kernels = [moved.image_pyramid.kernel, moved.transition0.kernel, moved.transition2.kernel]
    assert {kernel.device.type for kernel in kernels} == {"meta"}


def test_the_networks_module_is_imported_once() -> None:
    assert network_module() is network_module()


@pytest.fixture(scope="module")
def fast_state(dummy_checkpoint: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(dummy_checkpoint("fast"), weights_only=True)
    return state


def masks(state: dict[str, torch.Tensor], pictures: list[np.ndarray[Any, Any]]) -> list[torch.Tensor]:
    network = build_network(mode_config("fast").base_size)
    network.load_state_dict(state, assign=True)
    with torch.inference_mode():
        return [network(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1) for p in pictures]


def photograph(name: str) -> np.ndarray[Any, Any]:
    return np.array(Image.fromarray(getattr(data, name)()).resize((96, 96)))


def test_dummy_masks_depend_on_the_picture(fast_state: dict[str, torch.Tensor]) -> None:
    first, second = masks(fast_state, [photograph("astronaut"), photograph("coffee")])
    assert float((first - second).abs().mean()) >= 5 / 255
    assert min(float(first.std()), float(second.std())) > 5 / 255


def test_dummy_weights_are_float32_and_finite(fast_state: dict[str, torch.Tensor]) -> None:
    floats = [tensor for tensor in fast_state.values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in floats)


def test_dummy_weights_are_the_same_bits_in_every_process(
    dummy_checkpoint: Callable[[str], Path], fast_state: dict[str, torch.Tensor]
) -> None:
    again = dummy_checkpoint("fast").with_name("again.pth")
    run(
        f"from service.engines.inspyrenet.dummy_weights import write_dummy; write_dummy({str(again)!r}, 'fast')"
    )
    try:
        other = torch.load(again, weights_only=True)
    finally:
        again.unlink()
    assert fast_state.keys() == other.keys()
    assert all(torch.equal(fast_state[name], other[name]) for name in other)


def test_the_whole_batch_is_stretched_together_so_pictures_go_one_by_one(
    fast_state: dict[str, torch.Tensor],
) -> None:
    """The trap itself: if upstream mends it, batching becomes possible."""
    network = build_network(mode_config("fast").base_size)
    network.load_state_dict(fast_state, assign=True)
    batch = torch.stack([torch.from_numpy(photograph(n)).permute(2, 0, 1) for n in ("astronaut", "chelsea")])
    with torch.inference_mode():
        together = network(batch.float() / 127.5 - 1)
    alone = masks(fast_state, [photograph("astronaut"), photograph("chelsea")])
    assert max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True)) > 1 / 255
