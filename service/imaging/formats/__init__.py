"""One module for each file format: its signature, its size in pixels, and a copy without metadata.

Only bytes are read here. Decoding pixels is the job of ``service.imaging.codec``.
"""
