"""The machine and the process: CPUs, main memory, the allocator, garbage collection, the age of the process.

Every other package may import these modules. They may import only the standard library, except that ``memory`` also
imports the log. Nothing here knows pictures, networks or requests.
"""
