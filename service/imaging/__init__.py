"""Bytes to pixels and pixels to bytes: file formats, decoding, compositing, encoding.

Every function is pure and synchronous: no network, no queue, no event loop.
"""
