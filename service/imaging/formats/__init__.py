"""The image formats that the service takes: one module for each.

A module of a format knows how to recognise a file, how to read its size and orientation from the header, and how to
copy it without its metadata. Pixels are decoded in ``service.imaging.decode``. To add a format, write its module and
add one line to ``recognise.FORMATS``. Modules of formats must not import each other.
"""
