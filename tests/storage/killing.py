"""Work that is killed with signal 9 at any of its points: just before and just after each call that changes a folder."""

import os
import signal
from collections.abc import Callable

CALLS = ("link", "rename", "mkdir", "unlink", "utime")


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that is killed at its n-th point; True if there was none."""
    child = os.fork()
    if child == 0:
        left = point

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def called(*arguments: object, **named: object) -> object:
                nonlocal left
                for step in (lambda: None, lambda: call(*arguments, **named)):
                    result = step()
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return result

            return called

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
