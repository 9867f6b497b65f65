"""A thread that keeps files true: it inspects them every few seconds while a block runs, and repairs what is wrong."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def kept(
    inspect: Callable[[], None],
    every_s: float,
    name: str,
    *,
    first: Callable[[], None] = lambda: None,
    end_limit_s: float | None = None,
) -> Iterator[None]:
    """Within the block, ``inspect`` runs every so many seconds in a thread of its own called ``name``.

    ``first``: what the thread does before. ``end_limit_s``: seconds that the block's end waits for
    an inspection that hangs; None: no limit.
    """
    over = threading.Event()

    def run() -> None:
        first()
        while not over.wait(every_s):
            inspect()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(end_limit_s)
