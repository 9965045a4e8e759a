"""The InSPyReNet engine: the network of the ``transparent_background`` package on one device.

``engine`` implements the protocol without importing torch; ``session`` is the part that needs torch. The package
``service.engines.weights`` finds, downloads and verifies the weights.
"""
