"""Engines turn an RGB image into an alpha mask: the protocol, the choice of an engine, and a package for each engine.

``build`` creates the engine that the settings ask for; the rest of the service knows engines only by ``protocol``.
Torch and OpenCV must be imported only inside the engines, after the port is open. Nothing here knows requests or HTTP.
"""
