"""Loops over the pixels of a picture: in C where that was compiled, and the same in NumPy where not.

What belongs here takes most of the time around the network and is arithmetic alone. What a picture or a mask means, and
which numbers are good ones, belongs to ``imaging`` and ``engines``.
"""
