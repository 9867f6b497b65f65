"""What runs the guests' instructions: KVM where it really does, QEMU's translator otherwise, or what the settings say.

Owns the choice and what is remembered of it until the computer's next boot or a new QEMU: what the probe said, whether a machine
has come up with KVM, and that none did though the probe ran (nested virtualization does that).
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from server.cloud_settings.qemu import Accelerator
from server.errors import SetupMissing
from server.home.files import read_own_text, write_own
from server.workers.clouds.qemu.host.probe import Verdict, device_problem, probe
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.machine_locks import exclusive

QEMU = "qemu-system-x86_64"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CPU_INFO = Path("/proc/cpuinfo")
KVM = "kvm"
# Without tb-size the translation cache grows to 1 GiB per machine; 128 MB cost no time in a real search.
TCG = "tcg,thread=multi,tb-size=128"
AGAIN_S = 600.0  # after which a computer that was too busy for the probe is probed again
LOCK_LIMIT_S = 10.0
VERSION_LIMIT_S = 30.0
VARIABLE = "CUMULUS_ACCELERATOR"


@dataclass(frozen=True)
class Accel:
    """``argument`` and ``cpu``: what QEMU is given. ``host``: the processor that ``-cpu host`` passes on. ``qemu``: version."""

    qemu: str
    argument: str
    cpu: str
    host: str

    @property
    def is_kvm(self) -> bool:
        """Whether the processor itself runs the guest."""
        return self.argument == KVM

    def emulated(self) -> "Accel":
        """The same QEMU without KVM."""
        return Accel(self.qemu, TCG, "max", "")


@dataclass(frozen=True)
class Found:
    """What is known. ``why``: what speaks against KVM; ``proven``: a machine has come up with it.

    ``until``: Unix seconds, after which it is looked at again; 0: never.
    """

    qemu: str
    why: str = ""
    probed: bool = False
    proven: bool = False
    until: float = 0.0


@dataclass(frozen=True)
class Choice:
    """What a machine made now runs with. ``why``: why not with KVM; ``may_fall_back``: no machine has come up with KVM yet."""

    accel: Accel
    why: str = ""
    may_fall_back: bool = False
    proven: bool = False


def find_accel(home: QemuHome) -> Accel:
    """The accelerator of machines made now. Raises SetupMissing where there is no QEMU."""
    return choose(home).accel


def choose(home: QemuHome, *, remember: bool = True, now: Callable[[], float] = time.time) -> Choice:
    """The same with its reasons. KVM is probed at most once for this QEMU since this computer's last boot, and only for ``auto``.

    ``remember``: False for who only looks. ``now``: Unix seconds.
    """
    binary = _binary()
    before = _read(home.accel, _key(binary), now())
    known = before or Found(_version(binary))
    if home.accelerator is Accelerator.AUTO and not known.probed:
        known = _probed(known, probe(binary), now())
    if remember and known != before:
        known = _change(home, lambda latest: latest if latest.probed else replace(known, proven=latest.proven), now())
    return _choice(home.accelerator, known)


def prove_kvm(home: QemuHome) -> None:
    """A machine has come up with KVM: what fails from now on fails for another reason."""
    _change(home, lambda known: replace(known, proven=True))


def give_up_kvm(home: QemuHome, why: str) -> None:
    """Only emulation has brought a machine up. Changes nothing where another machine has come up with KVM."""
    _change(home, lambda known: known if known.proven else replace(known, why=why, until=0.0))


def described(home: QemuHome) -> str:
    """What machines made now run with and why, and how to have KVM tried again, for a person.

    Raises SetupMissing where the settings demand KVM and it fails its test.
    """
    choice, setting = choose(home, remember=False), f"as the setting accelerator ({VARIABLE}) says"
    if home.accelerator is Accelerator.TCG:
        return f"machines are emulated, {setting}"
    if home.accelerator is Accelerator.KVM:
        if why := choose(replace(home, accelerator=Accelerator.AUTO), remember=False).why:
            raise SetupMissing(f"machines are to run with KVM, {setting}, but {why}: set it to auto or tcg")
        return f"machines run with KVM, {setting}"
    if not choice.why:
        return "machines run with KVM"
    again = f"; looked at again after the computer's next boot, or now: rm {home.accel}" if home.accel.exists() else ""
    return f"machines are emulated, several times slower than with KVM: {choice.why}{again}"


def accel_problems(accelerator: Accelerator) -> list[str]:
    """Why machines could not run as the settings say, one line each with its remedy."""
    if accelerator is not Accelerator.KVM or not (why := device_problem()):
        return []
    return [f"the setting accelerator ({VARIABLE}) is kvm, but {why}: set it to auto or tcg, or make KVM available"]


def _choice(accelerator: Accelerator, known: Found) -> Choice:
    kvm = Accel(known.qemu, KVM, "host", _processor())
    if accelerator is Accelerator.TCG:
        return Choice(kvm.emulated(), "the settings say so")
    if accelerator is Accelerator.KVM:
        return Choice(kvm, proven=known.proven)
    if known.why:
        return Choice(kvm.emulated(), known.why)
    return Choice(kvm, may_fall_back=not known.proven, proven=known.proven)


def _probed(known: Found, verdict: Verdict, now: float) -> Found:
    return replace(known, why=verdict.why, probed=True, until=0.0 if verdict.final else now + AGAIN_S)


def _change(home: QemuHome, change: Callable[[Found], Found], now: float = 0.0) -> Found:
    """Change what is remembered, nobody between; returns what is known now. Machines are made beside each other."""
    binary = _binary()
    key = _key(binary)
    with exclusive(home.root / "machines.lock", "accelerator", LOCK_LIMIT_S):
        known = _read(home.accel, key, now)
        changed = change(known or Found(_version(binary)))
        if changed != known:
            _write(home.accel, key, changed)
    return changed


def _binary() -> str:
    if (binary := shutil.which(QEMU)) is None:
        raise SetupMissing(f"{QEMU} is not installed: apt-get install qemu-system-x86")
    return binary


def _key(binary: str) -> str:
    status = Path(binary).stat()
    return f"{binary} {status.st_size} {status.st_mtime_ns} {BOOT_ID.read_text().strip()}"


def _version(binary: str) -> str:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=VERSION_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError) as problem:
        raise SetupMissing(f"{binary} does not run: {problem}") from None
    return said.partition("\n")[0].removeprefix("QEMU emulator version ")


def _processor() -> str:
    first = CPU_INFO.read_text().partition("\n\n")[0].splitlines()
    return "; ".join(sorted(line.replace("\t", "") for line in first if line.startswith(("model name", "flags", "microcode"))))


def _read(path: Path, key: str, now: float) -> Found | None:
    """What is remembered; None where that is nothing, of another boot or QEMU, too old, or half of it."""
    try:
        known = json.loads(read_own_text(path))
        if known.pop("key") != key:
            return None
        found = Found(**known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return replace(found, probed=False, why="", until=0.0) if 0 < found.until < now else found


def _write(path: Path, key: str, found: Found) -> None:
    write_own(path, json.dumps({"key": key, **asdict(found)}, indent=1) + "\n", 0o644)
