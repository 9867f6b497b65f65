"""Returning unused memory to the system: by default, glibc keeps it for each thread."""

import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # mallopt(3)
ARENAS = 2
MAPPED_BYTES = 256 * 1024  # larger blocks return to the system as soon as they are free


def give_memory_back() -> None:
    """Let a long-lived process of many threads shrink again after a large request. Does nothing but on Linux with glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, ARENAS)
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)
