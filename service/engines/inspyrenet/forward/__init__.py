"""The forward pass of InSPyReNet, rearranged: the same function as the package's modules, with less work and memory.

``session`` builds and calls ``model.Forward``. Every mask must equal that of the package's own modules up to rounding.
Code that loads weights, or that chooses a device or a precision, does not belong here.
"""
