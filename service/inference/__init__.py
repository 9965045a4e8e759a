"""The way of one picture through the process: admission, threads, queue, and the pipeline of stages.

It knows no HTTP and no particular network; an engine is an argument.
"""
