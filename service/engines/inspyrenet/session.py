"""The loaded network on its device, and everything else in the engine that needs torch.

``engine`` imports this module and calls it in the device thread. Only that thread may use a session: two forward passes
at the same time would need twice the memory and finish no sooner. ``prepare`` imports this module in another thread to
save time, so the import must have no other effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet import devices, precision
from service.engines.inspyrenet.dummy_weights import dummy_state, smooth_noise
from service.engines.inspyrenet.forward.model import Forward
from service.engines.inspyrenet.package_network import build_network
from service.engines.inspyrenet.torch_settings import configure_torch
from service.engines.out_of_memory import main_memory
from service.engines.package_config import mode_config
from service.engines.protocol import RGB, Alpha, Mask
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.state_dict import assign_weights, read_checkpoint, state_hash
from service.host.memory import SPARE_BEFORE_PASS_BYTES, MainMemory
from service.native import loops
from service.native.library import LIBRARY

SELF_CHECK_SIDE = {"cpu": 192, "cuda": 1024}
"""Pixels. On a CPU, a pass at the size of a client's picture would take several times as long as the whole start. The
deviation at 1024 is up to twice (mean) and five times (tail) that at 192; and at 160 the check does not distinguish
benign weights from hostile ones. Measured by ``benchmarks/precision.py``; see docs/performance.md."""

MIN_SPREAD = 0.1
"""Standard deviation of alpha below which a mask is flat. Two flat masks agree in any precision, so that they prove
nothing."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def set_up_device(name: str) -> torch.device:
    """Choose the device and configure torch, in the thread that will compute.

    Raises:
        ConfigurationError: the named device is missing.
    """
    configure_torch()
    return devices.choose_device(name)


def read_network(checkpoint: Checkpoint, mode: str) -> nn.Module:
    """The package's network of ``mode`` with the checkpoint's weights, in main memory.

    Raises:
        WeightsUnavailable: the checkpoint is damaged, belongs to another network, or changed since it was hashed.
        OutOfMemory: there is not enough main memory.
    """
    with main_memory():
        if checkpoint.path is None:
            state = dummy_state(mode)
        else:
            checkpoint.check_unchanged()
            state = read_checkpoint(checkpoint.path)
        network = build_network(mode_config(mode).base_size)
        assign_weights(network, state, checkpoint.source)
        checkpoint.check_unchanged()  # so the copied weights are those whose hash is known
        return network


def hash_weights(network: nn.Module) -> str:
    """The hash of weights that were computed and not read: ``sha256:<hex>`` of all tensors as they are in memory."""
    with main_memory():
        return state_hash(network.state_dict())


@dataclass(frozen=True, slots=True)
class _OpenPrecision:
    """Both candidates, while the precision is not decided yet. The session computes in fp32 meanwhile."""

    bf16: Forward
    shared: nn.Module | None
    """The network whose weights the fp32 pass shares; None if the fp32 pass has a copy already."""


class Session:
    """The network on its device, with the steps before and after it: resize, normalise, interpolate back.

    Weight sharing before the precision is chosen: with ``auto``, fp32 computes only the first proof and its half of the
    self-check, and in most cases nothing after that. On a CPU, copying its weights into oneDNN's layout would take
    longer than these two passes gain by it. So until :meth:`settle` has decided, the fp32 pass shares the weights of
    ``network``, which is kept for that. If bf16 passes the check, the network is dropped, and the next pass can use its
    memory in one piece. If not, the bf16 copy is dropped and the fp32 weights are copied into the fast layout.

    Args:
        network: in evaluation mode, in float32. Its weights are copied, by :meth:`settle` at the latest.
        device: where it computes.
        wanted: ``fp32``, ``bf16`` (without a check, because it was asked for) or ``auto``.

    Attributes:
        device: where it computes.
        precision: the precision in use, and why.

    Raises:
        OutOfMemory, DeviceError: the device failed.
    """

    def __init__(self, network: nn.Module, device: torch.device, wanted: precision.Wanted) -> None:
        self.device = device
        self._main_memory = MainMemory(spare=SPARE_BEFORE_PASS_BYTES)
        self._open: _OpenPrecision | None = None
        with devices.translate_errors(device), torch.inference_mode():
            unsuitable = "" if wanted == "fp32" else precision.unsuitable_hardware(device)
            self._mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
            self._std = torch.tensor(_STD, device=device).view(3, 1, 1)
            if wanted == "bf16":
                self._network = Forward(network, device, reduced=precision.REDUCED_PARTS)
                reason = f"asked for, not checked{unsuitable and f'; {unsuitable}'}"
                self.precision = precision.Choice("bf16", reason)
            elif wanted == "auto" and not unsuitable:
                share = device.type == "cpu"  # on other devices nothing is faster than a copy
                self._network = Forward(network, device, share_weights=share)
                bf16 = Forward(network, device, reduced=precision.REDUCED_PARTS)
                self._open = _OpenPrecision(bf16, network if share else None)
                reason = "until the self-check of bf16, right after the first proof"
                self.precision = precision.Choice("fp32", reason)
            else:
                self._network = Forward(network, device)
                self.precision = precision.Choice("fp32", unsuitable or "asked for")

    @property
    def settled(self) -> bool:
        """Whether the precision is decided."""
        return self._open is None

    def settle(self) -> None:
        """Decide the precision if it is open: bf16 if the mask of a textured picture stays the same in bf16.

        Raises:
            OutOfMemory, DeviceError: the device failed; the session continues in fp32.
        """
        if self._open is None:
            return
        candidates, self._open = self._open, None
        # This holds if the check below raises.
        self.precision = precision.Choice("fp32", "the self-check could not be made")
        with devices.translate_errors(self.device), torch.inference_mode():
            try:
                self.precision = self._self_check(candidates.bf16)
            finally:
                shared = candidates.shared
                if self.precision.name == "bf16":
                    self._network = candidates.bf16
                elif shared is not None:
                    del candidates  # frees the bf16 weights: there may not be memory for three copies
                    self._network = Forward(shared, self.device)
        self._main_memory = MainMemory(spare=SPARE_BEFORE_PASS_BYTES)  # with a new baseline

    def _self_check(self, bf16: Forward) -> precision.Choice:
        side = SELF_CHECK_SIDE[self.device.type]
        check = f"self-check at {side}x{side}"
        picture = self_check_picture(side).to(self.device)
        mask = self._network(picture)
        if float(mask.std()) < MIN_SPREAD:
            reason = f"{check} inconclusive: with these weights the mask of its picture is flat"
            return precision.Choice("fp32", reason)
        deviation = precision.measure_deviation(mask, bf16(picture))
        if deviation.acceptable:
            return precision.Choice("bf16", f"{check} passed: {deviation}")
        return precision.Choice("fp32", f"{check} failed: bf16 differs from fp32 by {deviation}")

    def infer(self, image: RGB, input_size: tuple[int, int]) -> Mask:
        """The mask of one image at its own size, as ``Remover.process`` computes it, and its confidence.

        Args:
            image: any size from 1 x 1.
            input_size: (width, height) of the model input.

        Raises:
            OutOfMemory, DeviceError: the device failed.
        """
        self._main_memory.give_back()
        height, width = image.shape[:2]
        resized = np.array(Image.fromarray(image).resize(input_size, Image.Resampling.BILINEAR))
        with devices.translate_errors(self.device), torch.inference_mode():
            pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1).float()
            # One image in each pass: the network stretches the range of the whole batch to 0-1.
            mask, confidence = self._network.with_confidence(
                ((pixels / 255 - self._mean) / self._std).unsqueeze(0)
            )
            return Mask(_enlarged(mask, (height, width)), float(confidence))

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``; zeros on a CPU."""
        return devices.memory_in_use(self.device)


def _enlarged(mask: torch.Tensor, size: tuple[int, int]) -> Alpha:
    """The network's mask, 1 x 1 x h x w, at the size (height, width) of the picture, from 0 to 1."""
    if LIBRARY is not None and mask.device.type == "cpu":
        return loops.enlarge_mask(mask[0, 0].float().numpy(), size)
    mask = functional.interpolate(mask, size, mode="bilinear", align_corners=True)
    alpha: Alpha = mask[0, 0].clamp_(0, 1).cpu().numpy()
    return alpha


def self_check_picture(side: int) -> torch.Tensor:
    """A textured disc in front of a calmer background, 1 x 3 x side x side, normalised; the same on every call."""
    generator = torch.Generator().manual_seed(0)
    background, subject = (smooth_noise(generator, side=side) for _ in range(2))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    disc = ((0.6 - (x**2 + y**2).sqrt()) * 20).sigmoid()
    return torch.lerp(background / 2 - 0.5, subject + 0.8, disc)
