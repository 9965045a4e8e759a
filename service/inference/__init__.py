"""The stages of one picture, from bytes to bytes: admission, queue, device thread, codec pool.

Clients' pictures and canaries use the same code. It must know no HTTP and no particular network: the engine is an
argument.
"""
