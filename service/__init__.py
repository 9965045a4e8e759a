"""The background-removal HTTP service.

The packages below do one job each. The modules here build them, or are used by all of them. The decisions about warmth
are in ``supervisor``, and the names of the metrics are in ``metrics``: these two must not import this package.
"""
