"""The machine and the process: CPUs, main memory, the allocator, the age of the process.

The standard library only; nothing here knows pictures, networks or requests.
"""
