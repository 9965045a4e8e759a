"""References: the operator's own pictures, each with the mask that was accepted for it.

What makes such a set, what checks it, and what judges a mask against it belongs here. When a reference is sent through
the pipeline is the target's decision and does not belong here.
"""
