"""The machine and the process: CPUs, main memory, the allocator, garbage collection, the age of the process.

Every other package may import these modules. Apart from the log of ``memory``, they need the standard library only.
Nothing here knows pictures, networks or requests.
"""
