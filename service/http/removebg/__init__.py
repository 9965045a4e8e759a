"""remove.bg's contract: its paths, fields, headers and errors, so that its clients need another address and no more.

What is done, what is accepted and not applied, and what is refused stands in docs/removebg.md. What all contracts share
is in the modules beside this package.
"""
