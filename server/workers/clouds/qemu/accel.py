"""What runs the guests' instructions: KVM where it really does, QEMU's translator otherwise.

Owns the probe and its cache. ``/dev/kvm`` may exist and a machine still abort with ``-cpu host``, or run a boot sector
twenty times slower than it should and a kernel not at all. So a real guest is run, with the CPU model that
workers get, and a short limit.
"""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from server.errors import SetupMissing

QEMU = "qemu-system-x86_64"
KVM_DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CPU_INFO = Path("/proc/cpuinfo")
PROBE_LIMIT_S = 1.5
# mov dx,0xf4; mov al,0x10; out dx,al; hlt; jmp: QEMU's exit device turns the 0x10 into exit code 0x10 * 2 + 1.
BOOT_SECTOR = b"\xba\xf4\x00\xb0\x10\xee\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
PROBE_EXIT_CODE = 33
# Without tb-size the translation cache grows to 1 GiB per machine; 128 MB cost no time in a real search.
TCG = "tcg,thread=multi,tb-size=128"


@dataclass(frozen=True)
class Accel:
    """``argument`` and ``cpu``: what QEMU is given. ``host``: the processor that ``-cpu host`` passes on. ``qemu``: version."""

    qemu: str
    argument: str
    cpu: str
    host: str


def find_accel(cache: Path) -> Accel:
    """The accelerator for this QEMU since this computer's last boot, probed at most once. Raises SetupMissing."""
    binary = shutil.which(QEMU)
    if binary is None:
        raise SetupMissing(f"{QEMU} is not installed: apt-get install qemu-system-x86")
    status = Path(binary).stat()
    key = f"{binary} {status.st_size} {status.st_mtime_ns} {BOOT_ID.read_text().strip()}"
    try:
        known = json.loads(cache.read_text())
        if known.pop("key") == key:
            return Accel(**known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or half of one: probe
    found = probe(binary)
    _write(cache, {"key": key, **asdict(found)})
    return found


def probe(binary: str) -> Accel:
    """Run a guest under KVM and say what to use."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    qemu = version.splitlines()[0].removeprefix("QEMU emulator version ")
    if kvm_works(binary):
        return Accel(qemu, "kvm", "host", _processor())
    return Accel(qemu, TCG, "max", "")


def kvm_works(binary: str) -> bool:
    """Whether a boot sector runs to its end under KVM, with the host's CPU model, within 1.5 s."""
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return False
    with tempfile.NamedTemporaryFile(prefix="cumulus-probe-") as image:
        image.write(BOOT_SECTOR)
        image.flush()
        drive = f"file={image.name},format=raw,if=ide"
        guest = [
            "-nodefaults",
            "-display",
            "none",
            "-machine",
            "pc",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "16",
            "-drive",
            drive,
        ]
        command = [binary, *guest, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        try:
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_LIMIT_S)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == PROBE_EXIT_CODE


def _processor() -> str:
    first = CPU_INFO.read_text().partition("\n\n")[0].splitlines()
    return "; ".join(sorted(line.replace("\t", "") for line in first if line.startswith(("model name", "flags", "microcode"))))


def _write(path: Path, content: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.rename(path)
