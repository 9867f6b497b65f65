"""Starting a machine: as a clone of a memory image in about a second, or by a boot where no image fits.

Owns the steps from nothing to a machine that has its identity and takes logins.
"""

import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.errors import InfrastructureError
from server.home.files import open_anew, open_own
from server.process_priority import MACHINE, PATIENT, step_back
from server.workers.clouds.keys import KeyPair, make_key
from server.workers.clouds.qemu.accelerator import VARIABLE, Accel, choose, give_up_kvm, prove_kvm
from server.workers.clouds.qemu.channel import Identity, give_identity
from server.workers.clouds.qemu.command import Memory, qemu_command
from server.workers.clouds.qemu.console import MachineConsole
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.images import Image, require_integrity
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.network.private_network import connect, private_network
from server.workers.clouds.qemu.network.uplink import NAME_SERVER
from server.workers.clouds.qemu.qmp import Qmp, QmpError

POLL_S = 0.01
LOGIN_POLL_S = 0.2
START_LIMIT_S = 30.0
# A clone that is not itself by then never will be: boot instead. Long, since a busy computer is no reason to boot.
CLONE_LIMIT_S = 60.0
# The same for the first machine with KVM, which takes a few seconds where KVM works; emulation is tried then.
KVM_LIMIT_S = 60.0
KVM_SHARE = 0.3  # of all the time that there is, at most
FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")


@dataclass
class _Deadline:
    """What is left of a limit in seconds."""

    limit_s: float
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.limit_s

    def left(self, most: float = float("inf")) -> float:
        """Seconds left, ``most`` at most; raises InfrastructureError where none are."""
        if (seconds := self._end - time.monotonic()) <= 0:
            raise InfrastructureError(f"the machine was not ready in {self.limit_s:.0f} s")
        return min(seconds, most)


@dataclass(frozen=True)
class Booter:
    """Creates machines. ``now``: Unix seconds; ``entropy(n)``: n random bytes."""

    machines: Machines
    now: Callable[[], float] = time.time
    entropy: Callable[[int], bytes] = secrets.token_bytes

    def create(self, spec: MachineSpec, limit_s: float) -> Machine:
        """Start the machine and give it its identity, within ``limit_s`` seconds.

        One that runs under this name already is taken over if it is ready and just like that (its creator's answer got lost),
        else removed first. Raises CumulusError; the machine may be there then, and Machines.remove takes it away.
        """
        with self.machines.lock(spec.worker, limit_s):
            if (known := self.machines.find(spec.worker)) and known.ready and known.spec == spec:
                return known
            self.machines.remove_locked(spec.guest)
            try:
                return self._bring_up(spec, _Deadline(limit_s))
            except InfrastructureError:
                if self.machines.unwanted(spec.worker).exists():
                    self.machines.remove_locked(spec.guest)
                raise

    def _bring_up(self, spec: MachineSpec, deadline: "_Deadline") -> Machine:
        """KVM that has brought up no machine yet is doubted: what it cannot do is tried by emulation at once."""
        choice = choose(self.machines.home)
        attempt = _Attempt(self, spec, self.machines.image(spec.snapshot), choice.accel, make_key())
        if not choice.accel.is_kvm or choice.proven:
            return attempt.run(deadline)
        try:
            doubted = _Deadline(deadline.left(min(KVM_LIMIT_S, deadline.limit_s * KVM_SHARE)))
            machine = attempt.run(doubted if choice.may_fall_back else deadline)
        except InfrastructureError as problem:
            attempt.require_wanted()
            if not choice.may_fall_back:
                named = f"the setting accelerator ({VARIABLE}) is kvm; auto or tcg would emulate the machine"
                raise InfrastructureError(f"{problem.message} ({named})") from None
            return attempt.emulated(deadline, problem.message)
        prove_kvm(self.machines.home)
        return machine


@dataclass(frozen=True)
class _Attempt:
    """One machine in the making."""

    booter: Booter
    spec: MachineSpec
    image: Image
    accel: Accel
    key: KeyPair

    @property
    def folder(self) -> Path:
        return self.booter.machines.folder(self.spec.worker)

    def run(self, deadline: _Deadline) -> Machine:
        if not self.spec.persistent and self.spec.disk_gb << 30 < self.image.disk_bytes:
            least = -(-self.image.disk_bytes >> 30)
            raise InfrastructureError(f"a disk of {self.spec.disk_gb} GB is too small: the template's has {least} GB")
        reason = self._unfit()
        if not reason:
            try:
                return self._clone(_Deadline(deadline.left(CLONE_LIMIT_S)))
            except InfrastructureError as problem:
                self.require_wanted()
                self.booter.machines.remove_locked(self.spec.guest)
                reason = f"a clone failed: {problem.message}"
        return self._boot(deadline, f"cold: {reason}")

    def emulated(self, deadline: _Deadline, why: str) -> Machine:
        """The machine without KVM, which did not bring it up. That counts against KVM only if emulation does."""
        self.booter.machines.drop(self.spec.guest)
        if kept := memory.reserved_for(self.image, self.spec.shape, self.spec.worker):
            kept.ram.unlink(missing_ok=True)  # nothing that the other attempt wrote is worth being kept
        machine = replace(self, accel=self.accel.emulated()).run(deadline)
        reason = f"KVM passed its test, but brought no machine up ({why})"
        give_up_kvm(self.booter.machines.home, reason)
        note = f"{reason}: machines are emulated, until the next boot of this computer"
        return self._record(machine.model_copy(update={"note": note, "boot": f"{machine.boot}; {note}"}))

    def _unfit(self) -> str:
        if self.spec.persistent:
            return "it runs on the template's own disk"
        if memory.reserved_for(self.image, self.spec.shape, self.spec.worker):
            return "its memory will be saved"
        found = memory.memory_image(self.image, self.spec.shape)
        return memory.unfit(found, memory.origin(self.accel, self.spec.shape, self.image), self.image)

    def _clone(self, deadline: _Deadline) -> Machine:
        saved = memory.memory_image(self.image, self.spec.shape)
        disk = self._overlay(saved.disk)
        with open_own(saved.state) as state:
            process = self._start(disk, Memory(saved.ram), state.fileno())
            with self._qmp(process, deadline) as qmp:
                memory.ignore_shared(qmp)
                self._restore(qmp, saved, state.fileno(), deadline)
                port = _forwarded_port(qmp)
        machine = self._introduce(process, port, "warm", deadline)
        saved.note_use()
        return machine

    def _restore(self, qmp: Qmp, saved: memory.MemoryImage, state: int, deadline: _Deadline) -> None:
        """An image that QEMU refuses although it fits would cost each later machine the attempt."""
        try:
            qmp.run("migrate-incoming", uri=f"fd:{state}")
            _wait_running(qmp, deadline)
        except QmpError:
            self.require_wanted()
            if not (words := self._last_words()):  # it was killed: says nothing of the image
                raise
            memory.withdraw(saved)
            raise InfrastructureError(f"QEMU refused the memory image: {words}") from None

    def _boot(self, deadline: _Deadline, boot: str) -> Machine:
        if not self.spec.persistent:
            require_integrity(self.image)
        kept = memory.reserved_for(self.image, self.spec.shape, self.spec.worker)
        disk = self.image.disk if self.spec.persistent else self._overlay(self.image.disk)
        ram = Memory(kept.ram, shared=True) if kept else Memory()
        process = self._start(disk, ram, None, patient=bool(kept and kept.on_demand))
        with self._qmp(process, deadline) as qmp:
            port = _forwarded_port(qmp)
        machine = self._introduce(process, port, "template" if self.spec.persistent else boot, deadline, ready=False)
        wait_login(port, deadline.left(), lambda: process.poll() is not None, process.pid)
        return self._record(machine.model_copy(update={"ready": True}))

    def _overlay(self, backing: Path) -> Path:
        self.folder.mkdir(parents=True, mode=0o700)
        self._record(Machine(spec=self.spec, host_key=self.key.public))
        disk = self.folder / "disk.qcow2"
        create_overlay(backing, disk, self.spec.disk_gb)
        return disk

    def require_wanted(self) -> None:
        """Raises InfrastructureError where somebody has asked for the machine's removal."""
        if self.booter.machines.unwanted(self.spec.worker).exists():
            raise InfrastructureError(f"{self.spec.worker} was removed while it was made")

    def _start(self, disk: Path, ram: Memory, state: int | None, *, patient: bool = False) -> "subprocess.Popen[bytes]":
        """``patient``: the machines of jobs go before this one."""
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, mode=0o700)
        self.require_wanted()
        command = qemu_command(self.spec.guest, self.accel, self.spec.shape, self.image, disk, ram, state is not None)
        process = self._launch(command, state)
        step_back(process.pid, PATIENT if patient else MACHINE)
        threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie when it ends
        self._record(Machine(spec=self.spec, host_key=self.key.public, pid=process.pid))
        return process

    def _launch(self, command: list[str], state: int | None) -> "subprocess.Popen[bytes]":
        """In the private network; the template's machine is outside: it mounts nothing, and gets packages from somewhere."""
        with open_anew(self.folder / "qemu.log") as log:

            def launch() -> "subprocess.Popen[bytes]":
                return subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # it outlives who started it
                    pass_fds=() if state is None else (state,),
                )

            if self.spec.persistent:
                return launch()
            resolver = self.folder / "resolv.conf"  # what QEMU asks for the machine
            resolver.write_text(f"nameserver {NAME_SERVER}\n")
            return private_network(self.booter.machines.home, self.spec.server_id).inside(launch, resolver)

    def _qmp(self, process: "subprocess.Popen[bytes]", deadline: _Deadline) -> Qmp:
        until = _Deadline(deadline.left(START_LIMIT_S))
        while True:
            try:
                return Qmp.open(self.folder / "qmp", until.left())
            except OSError:  # not there yet, or never
                if process.poll() is not None:
                    raise InfrastructureError(f"QEMU did not start: {self._last_words() or process.returncode}") from None
            except QmpError:
                raise InfrastructureError(f"QEMU ended at once: {self._last_words()}") from None
            time.sleep(min(POLL_S, until.left()))

    def _introduce(
        self, process: "subprocess.Popen[bytes]", port: int, boot: str, deadline: _Deadline, ready: bool = True
    ) -> Machine:
        made = {"pid": process.pid, "port": port, "boot": boot, "accel": self.accel}
        machine = Machine(spec=self.spec, host_key=self.key.public).model_copy(update=made)
        self._record(machine)
        seed, name, login = self.booter.entropy(64).hex(), self.spec.worker, self.spec.ssh_public_key
        who = Identity(seed, name, host_key=self.key.private, authorized_key=login)
        give_identity(self.booter.machines.identity(self.spec.worker), who, self.booter.now, deadline.left())
        return self._record(machine.model_copy(update={"ready": ready}))

    def _record(self, machine: Machine) -> Machine:
        self.booter.machines.write(machine)
        return machine

    def _last_words(self) -> str:
        return MachineConsole(self.booter.machines.home).log(self.spec.worker).strip()[-500:]


def create_overlay(backing: Path, disk: Path, size_gb: int) -> None:
    """A disk of ``size_gb`` that shows ``backing`` and takes all writes itself. Raises InfrastructureError."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(backing), str(disk), f"{size_gb}G"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InfrastructureError(f"no disk for the machine: {done.stderr.strip()}")


def wait_login(port: int, limit_s: float, ended: Callable[[], bool] = lambda: False, pid: int | None = None) -> None:
    """Return when an ssh server says its name on 127.0.0.1:``port``; raises InfrastructureError after ``limit_s`` seconds.

    A connection alone proves nothing: QEMU accepts it for the guest. ``ended``: whether there is nothing left to wait for.
    ``pid``: the process in whose network that is; None: this one's.
    """
    until = _Deadline(limit_s)
    while not ended():
        try:
            with connect(pid or os.getpid(), port, until.left(5)) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        time.sleep(min(LOGIN_POLL_S, until.left()))
    raise InfrastructureError("the machine ended before it took logins")


def _wait_running(qmp: Qmp, deadline: _Deadline) -> None:
    while not qmp.run("query-status")["running"]:
        time.sleep(min(POLL_S, deadline.left()))


def _forwarded_port(qmp: Qmp) -> int:
    text = qmp.run("human-monitor-command", command_line="info usernet")
    if not (found := FORWARD.search(text)):
        raise InfrastructureError("QEMU forwards no port to the machine")
    return int(found.group(1))
