"""The import of the network without the rest of the package."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from service.engines.inspyrenet.package_network import build_network, network_module

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[4]
HEAVY = ("timm", "kornia", "torchvision", "transparent_background", "albumentations", "pymatting", "gdown")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_network_is_imported_without_the_rest_of_the_package_and_leaves_no_trace() -> None:
    code = """
import sys
import torch
path = list(sys.path)
from service.engines.inspyrenet.package_network import build_network
build_network((384, 384))
assert sys.path == path
print([name for name in sys.modules if name.split(".")[0] in %r])
"""
    assert run(code % (HEAVY,)) == "[]\n"


def test_modules_that_were_imported_before_are_there_afterwards() -> None:
    code = """
import sys, types
real = {name: types.ModuleType(name) for name in ("timm", "kornia.morphology", "transparent_background.gui")}
sys.modules.update(real)
from service.engines.inspyrenet.package_network import network_module
network_module()
print(all(sys.modules[name] is module for name, module in real.items()), "timm.layers" in sys.modules)
"""
    assert run(code) == "True False\n"


@pytest.mark.stock
def test_the_real_package_can_still_be_imported_afterwards() -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from service.engines.inspyrenet.package_network import network_module
ours = network_module()
from tests.support.stock_package import _import_package
package = _import_package()
from transparent_background.InSPyReNet import InSPyReNet
from timm.layers import DropPath
print(package.Remover.__module__, InSPyReNet is ours.InSPyReNet, DropPath.__module__)
"""
    assert run(code) == "transparent_background.Remover False timm.layers.drop\n"


def test_building_draws_no_random_numbers_and_sets_evaluation_mode() -> None:
    before = torch.random.get_rng_state()
    network = build_network((384, 384))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(
        module.training for module in network.modules() if not isinstance(module, torch.nn.Sequential)
    )


def test_parameters_have_no_memory_until_they_are_assigned_but_buffers_do() -> None:
    network = build_network((384, 384))
    assert {name for name, tensor in network.state_dict().items() if tensor.is_meta} >= {
        name for name, _ in network.named_parameters() if not name.endswith(("table", "gamma", "threshold"))
    }
    assert not any(buffer.is_meta for buffer in network.buffers())


def test_a_network_without_references_is_freed_without_the_garbage_collector() -> None:
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
