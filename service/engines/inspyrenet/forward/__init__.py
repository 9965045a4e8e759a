"""The forward pass of InSPyReNet, arranged to do the same arithmetic with less work and less memory.

The package's own modules define the network and are the reference for every mask. Loading weights, choosing a
device and choosing a precision do not belong here.
"""
