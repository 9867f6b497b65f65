"""Ctrl-C in a program that has to clean up: an exception of its own, and stretches in which it waits."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Ctrl-C, or a request to end."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Cleaning up goes on whatever is typed."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
