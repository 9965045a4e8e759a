"""Checkpoint files: where they are found, how they are downloaded, verified and read.

Nothing here builds or runs a network.
"""
