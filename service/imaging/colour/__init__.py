"""What the numbers of a picture mean: modes, ICC profiles, declared encodings, transparency.

``formats`` finds out how a file declares its colours, ``decode`` converts them strip by strip, and ``compose`` brings
colours that a client asks for into the picture's own space. ``docs/pictures.md`` has the table of containers and
declarations. Nothing here reads a file or knows a format.
"""
