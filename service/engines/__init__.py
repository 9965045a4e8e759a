"""Engines turn an RGB image into an alpha mask: the protocol, the choice among them, and one room for each.

The heavy libraries (torch, OpenCV) are imported inside the engines, after the port is open; nothing here knows
requests, queues or HTTP.
"""
