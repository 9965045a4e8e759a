"""The background-removal HTTP service: the program itself and the rooms it is made of.

The files beside this one put the rooms together or are used by all of them. What the supervisor decides about
warmth and what the metrics are called lives outside, in ``supervisor`` and ``metrics``.
"""
