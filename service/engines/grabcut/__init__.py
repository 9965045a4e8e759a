"""The GrabCut engine, for machines that cannot get InSPyReNet's weights. It needs no weights and no network.

``build`` creates ``engine.GrabCutEngine``, directly or as the fallback of ``auto``. ``graphcut``, ``matting`` and
``saliency`` import OpenCV, so the engine imports them only when it loads, after the port is open.
"""
