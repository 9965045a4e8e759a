"""Cutting out many files: which pictures there are, where their results go, what is done already, and the run itself.

No HTTP and no command line belong here. The pictures take the same way as those of clients: admission and pipeline.
"""
