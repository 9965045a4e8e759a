"""The embedded engine, for machines that cannot get InSPyReNet's weights: OpenCV's GrabCut without a hint.

It needs no weights. The choice between it and InSPyReNet is made in ``service.engines.auto``.
"""
