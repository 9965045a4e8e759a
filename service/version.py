"""The version of the program. Packaging, the command line and the service's answers read it here."""

__version__ = "0.1.0"
