"""Loops over pixels in C, and what the service does where they are missing."""
