"""Whether KVM runs a guest at all. Owns the probe, not what follows from it.

``/dev/kvm`` may exist and a machine still abort with ``-cpu host``, or run a boot sector twenty times slower than it should and
a kernel not at all. So a real guest is run, with the CPU model that workers get, and a limit to the processor time that it may
take: on a busy computer a good guest waits long for its turn, but computes no longer than on an idle one.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

KVM_DEVICE = Path("/dev/kvm")
CPU_LIMIT_S = 1.5  # of processor time, for QEMU and its guest
WALL_LIMIT_S = 15.0
POLL_S = 0.02
# mov dx,0xf4; mov al,0x10; out dx,al; hlt; jmp: QEMU's exit device turns the 0x10 into exit code 0x10 * 2 + 1.
BOOT_SECTOR = b"\xba\xf4\x00\xb0\x10\xee\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
PROBE_EXIT_CODE = 33
GUEST = (
    *("-nodefaults", "-display", "none", "-machine", "pc", "-accel", "kvm", "-cpu", "host", "-m", "16"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


@dataclass(frozen=True)
class Verdict:
    """``why``: what speaks against KVM, "" for nothing. ``final``: False where a less busy computer may say otherwise."""

    why: str
    final: bool = True


def device_problem() -> str:
    """Why KVM cannot even be tried, "" if it can."""
    if not KVM_DEVICE.exists():
        return f"there is no {KVM_DEVICE}"
    return "" if os.access(KVM_DEVICE, os.R_OK | os.W_OK) else f"{KVM_DEVICE} may not be used by this user"


def probe(binary: str, clock: Callable[[], float] = time.monotonic) -> Verdict:
    """Run a boot sector under KVM with the host's CPU model, to its end or a limit. ``clock``: seconds."""
    if why := device_problem():
        return Verdict(why)
    with tempfile.NamedTemporaryFile(prefix="cumulus-probe-") as image:
        image.write(BOOT_SECTOR)
        image.flush()
        command = [binary, *GUEST, "-drive", f"file={image.name},format=raw,if=ide"]
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return _watch(guest, clock, clock() + WALL_LIMIT_S)
        finally:
            guest.kill()
            guest.wait()


def _watch(guest: "subprocess.Popen[bytes]", clock: Callable[[], float], until: float) -> Verdict:
    while (code := guest.poll()) is None:
        if _computed_s(guest) > CPU_LIMIT_S:
            return Verdict("the test guest took too long under KVM")
        if clock() > until:
            return Verdict(f"the test guest did not end within {WALL_LIMIT_S:.0f} s under KVM", final=False)
        time.sleep(POLL_S)
    return Verdict("" if code == PROBE_EXIT_CODE else f"the test guest failed under KVM (exit code {code})")


def _computed_s(guest: "subprocess.Popen[bytes]") -> float:
    try:
        times = psutil.Process(guest.pid).cpu_times()
    except psutil.Error:  # it has just ended
        return 0.0
    return float(times.user + times.system)
