"""Checkpoint files: where they are, how they are downloaded and verified, and how they are read.

The engines and ``./inspyrenet weights`` use this package. Nothing here may build or run a network. Only ``state_dict``
may import torch, and only ``download`` may import an HTTP client.
"""
