"""How much is copied to find out how fast a cache is."""

COPIED = {"L2": 256 << 10, "L3": 4 << 20, "memory": 64 << 20}
"""Bytes copied by each thread, and as many written, by where both are found again."""
