"""What the machine is that a job runs on, for the record of the run."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

MB = 1 << 20


def describe() -> dict[str, Any]:
    """Name, processors, memory (MB) and kernel; what the system does not say is left out."""
    system = os.uname()
    found: dict[str, Any] = {"host": system.nodename, "cpus": os.cpu_count(), "kernel": f"{system.sysname} {system.release}"}
    with suppress(OSError, ValueError):
        found["memory_mb"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB
    return found
