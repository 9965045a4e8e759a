"""The forward pass of InSPyReNet, rearranged: the same function as the package's modules, with less work and memory.

``session`` builds and calls ``model.Forward``. The package's own modules define the network, and every mask must equal
theirs up to rounding. Loading weights, choosing a device and choosing a precision do not belong here.
"""
