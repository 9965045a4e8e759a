"""One forward pass of U^2-Net-p with OpenCV's DNN module.

The engine calls it in the device thread. Importing this module imports OpenCV, so it must not be imported before the
port is open. The input must be prepared exactly as in the authors' code, because other inputs give worse masks.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha, Mask

SIDE = 320
"""Pixels: the side of the square that the network was trained on."""

_OUTPUT = "1959"  # the fused mask, first of the file's seven outputs
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)
_LEAST_SPREAD = 1e-6  # of the output; below it there is nothing to stretch


def predict(model: npt.NDArray[np.uint8], square: RGB) -> Mask:
    """The mask of a picture that was resized to ``SIDE`` x ``SIDE``.

    The network is built for each picture and freed afterwards. Building takes 0.04 s; a network that is kept would
    hold 250 MB between pictures.

    Args:
        model: the bytes of the ONNX file.
        square: SIDE x SIDE x 3.

    Returns:
        SIDE x SIDE, stretched to the range 0 to 1 as in the authors' code; 0 everywhere if all values are equal. The
        confidence is the greatest value before that.
    """
    pixels = square.astype(np.float32)
    pixels /= max(float(pixels.max()), 1.0)
    pixels = (pixels - _MEAN) / _STD
    network = cv2.dnn.readNetFromONNX(model)
    network.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
    mask: Alpha = network.forward(_OUTPUT)[0, 0]
    least, greatest = float(mask.min()), float(mask.max())
    if greatest - least < _LEAST_SPREAD:
        return Mask(np.zeros_like(mask), greatest)
    return Mask((mask - np.float32(least)) / np.float32(greatest - least), greatest)
