"""From bytes to pixels and back: file formats, decoding, compositing, encoding.

The pipeline calls these functions in the threads of its pool. Every function is pure and synchronous: it must use no
network, no queue and no event loop.
"""
