"""The loaded network on its device: everything of the engine that needs torch, imported in the engine's own thread."""

from __future__ import annotations

import threading

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet import devices, precision
from service.engines.inspyrenet.dummy_weights import dummy_state, smooth_noise
from service.engines.inspyrenet.forward.model import Forward
from service.engines.inspyrenet.package import build_network
from service.engines.package_config import mode_config
from service.engines.protocol import RGB, Alpha
from service.engines.weights.checkpoint import assign_weights, read_checkpoint
from service.engines.weights.source import Checkpoint
from service.host.cpu import available_cpus
from service.host.memory import SPARE_BEFORE_PASS_BYTES, MainMemory

SELF_CHECK_SIDE = {"cpu": 192, "cuda": 1024}
"""Pixels. On a CPU a pass at a client's size would take several times as long as the whole start. The deviation at 1024
is up to twice (mean) and five times (tail) that at 192, and 160 does not tell benign weights from hostile ones:
``benchmarks/precision.py``, docs/performance.md."""

LEAST_SPREAD = 0.1
"""Standard deviation of alpha below which a mask is flat, and two flat masks agree whatever the precision."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def set_up_device(name: str) -> torch.device:
    """Choose the device, and give torch as many threads as the container has CPUs.

    To be called in the thread that will compute: the number of threads belongs to the thread that sets it.

    Raises:
        ConfigurationError: the named device is not there.
    """
    torch.set_num_threads(available_cpus())
    return devices.choose_device(name)


def read_network(checkpoint: Checkpoint, mode: str) -> nn.Module:
    """The package's network of ``mode`` with the checkpoint's weights, in main memory.

    Raises:
        WeightsUnavailable: the checkpoint is damaged, of another network, or changed since it was verified.
    """
    if checkpoint.path is None:
        state = dummy_state(mode)
    else:
        checkpoint.check_unchanged()
        state = read_checkpoint(checkpoint.path)
    network = build_network(mode_config(mode).base_size)
    assign_weights(network, state, checkpoint.source)
    checkpoint.check_unchanged()  # what was copied is what was verified
    return network


class Runtime:
    """A network on its device, and the arithmetic around it.

    With ``auto`` it computes in fp32 until :meth:`settle` has decided: the first proof need not wait for that.

    Args:
        network: in evaluation mode, in float32; its weights are copied, by :meth:`settle` at the latest.
        device: where it computes.
        wanted: ``fp32``, ``bf16`` (asked for, so not checked) or ``auto``.

    Raises:
        OutOfMemory, DeviceError: the device failed.
    """

    def __init__(self, network: nn.Module, device: torch.device, wanted: precision.Wanted) -> None:
        self.device = device
        """Where it computes."""
        self._forward_running = threading.Lock()
        self._main_memory = MainMemory(spare=SPARE_BEFORE_PASS_BYTES)
        self._open: tuple[Forward, nn.Module | None] | None = None
        unsuitable = "" if wanted == "fp32" else precision.unsuitable_hardware(device)
        with devices.device_errors(device), torch.inference_mode():
            self._mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
            self._std = torch.tensor(_STD, device=device).view(3, 1, 1)
            if wanted == "bf16":
                self._network = Forward(network, device, reduced=precision.REDUCED_PARTS)
                self._say("bf16", f"asked for, not checked{unsuitable and f'; {unsuitable}'}")
                return
            if wanted == "auto" and not unsuitable:
                borrow = device.type == "cpu"  # elsewhere nothing is faster than a copy
                self._network = Forward(network, device, borrow=borrow)
                candidate = Forward(network, device, reduced=precision.REDUCED_PARTS)
                self._open = candidate, network if borrow else None
                self._say("fp32", "until the self-check of bf16, right after the first proof")
            else:
                self._network = Forward(network, device)
                self._say("fp32", unsuitable or "asked for")

    @property
    def settled(self) -> bool:
        """Whether the precision is decided."""
        return self._open is None

    def settle(self) -> None:
        """Decide the precision, if that is open: bf16 if it leaves the mask of a textured picture as it is.

        Raises:
            OutOfMemory, DeviceError: the device failed; it stays with fp32.
        """
        if self._open is None:
            return
        (candidate, borrowed), self._open = self._open, None
        self._say("fp32", "the self-check could not be made")  # unless it is
        with devices.device_errors(self.device), torch.inference_mode():
            try:
                self._check(candidate)
            finally:
                if self.precision == "bf16":
                    self._network = candidate
                elif borrowed is not None:
                    del candidate  # there need not be room for three
                    self._network = Forward(borrowed, self.device)
        self._main_memory = MainMemory(spare=SPARE_BEFORE_PASS_BYTES)  # with a new baseline

    def _check(self, candidate: Forward) -> None:
        side = SELF_CHECK_SIDE[self.device.type]
        check = f"self-check at {side}x{side}"
        picture = self_check_picture(side).to(self.device)
        mask = self._forward(picture)
        if float(mask.std()) < LEAST_SPREAD:
            self._say("fp32", f"{check} inconclusive: these weights see nothing in its picture")
            return
        deviation = precision.measure_deviation(mask, candidate(picture))
        if deviation.acceptable:
            self._say("bf16", f"{check} passed: {deviation}")
        else:
            self._say("fp32", f"{check} failed: bf16 differs from fp32 by {deviation}")

    def infer(self, image: RGB, input_size: tuple[int, int]) -> Alpha:
        """The mask of one image at its own size, as ``Remover.process`` makes it.

        Args:
            image: any size from 1 x 1.
            input_size: (width, height) fed to the network.

        Raises:
            OutOfMemory, DeviceError: the device failed.
        """
        self._main_memory.give_back()
        height, width = image.shape[:2]
        resized = np.array(Image.fromarray(image).resize(input_size, Image.Resampling.BILINEAR))
        with devices.device_errors(self.device), torch.inference_mode():
            pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1).float()
            # One image a pass: the network stretches the range of the whole batch to [0, 1].
            mask = self._forward(((pixels / 255 - self._mean) / self._std).unsqueeze(0))
            mask = functional.interpolate(mask, (height, width), mode="bilinear", align_corners=True)
            alpha: Alpha = mask[0, 0].clamp_(0, 1).cpu().numpy()
        return alpha

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``; zeros on a CPU."""
        return devices.memory_in_use(self.device)

    def _say(self, used: precision.Precision, reason: str) -> None:
        self.precision, self.precision_reason = used, reason

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        # Two passes at once would need the memory of two, and the device has no more time than for one.
        if not self._forward_running.acquire(blocking=False):
            raise RuntimeError("two forward passes at once on one network")
        try:
            mask: torch.Tensor = self._network(batch)
        finally:
            self._forward_running.release()
        return mask.float()


def self_check_picture(side: int) -> torch.Tensor:
    """A textured disc before a calmer ground, 1 x 3 x side x side, normalised; always the same."""
    generator = torch.Generator().manual_seed(0)
    ground, subject = (smooth_noise(generator, side=side) for _ in range(2))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    disc = ((0.6 - (x**2 + y**2).sqrt()) * 20).sigmoid()
    return torch.lerp(ground / 2 - 0.5, subject + 0.8, disc)
