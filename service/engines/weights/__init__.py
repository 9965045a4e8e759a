"""Checkpoint files: where they are, how they are downloaded and verified, and how they are read.

The engines and ``./inspyrenet weights`` use this package. Nothing here builds or runs a network. Only
``state_dict`` imports torch, and only ``download`` imports an HTTP client.
"""
