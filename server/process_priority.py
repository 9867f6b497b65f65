"""Which processes come first where processors are short: API and loop, then their tools, then this computer's machines.

Only child processes get a lower priority, never a thread of the controller: one that waits for a processor while it holds
Python's lock would keep all others waiting.
"""

import os
from contextlib import suppress
from pathlib import Path

# Where two want all of a processor, one gets 1.25 times as much as the other for each step between them.
TOOL = 3
MACHINE = 5
PATIENT = 12  # of a machine that nobody waits for: the systemd in a guest that gets much less gives up on its units
HIGHEST = 19
PROC = Path("/proc")


def step_back(pid: int, steps: int) -> None:
    """Let others come before a child that leads a session of its own, and before what it starts. Nothing depends on that."""
    with suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PGRP, pid, min(os.getpriority(os.PRIO_PROCESS, 0) + steps, HIGHEST))
    with suppress(OSError):  # where a kernel schedules by session, priorities count within one only; this kernel may not
        (PROC / str(pid) / "autogroup").write_text(str(steps))
