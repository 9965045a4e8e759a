"""The InSPyReNet engine: the network of the ``transparent_background`` package on one device.

What finds, downloads and verifies its weights lives in ``service.engines.weights``.
"""
