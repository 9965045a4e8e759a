"""Engines: what turns an RGB image into an alpha mask."""
