"""Everything that speaks HTTP: one module for each family of routes, and what all requests share.

Status codes, headers, and the sentences that clients read live here and nowhere else. No pixels are touched here.
"""
