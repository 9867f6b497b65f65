"""The template's disk: a Debian of its own, the worker's roles and the apps on it, made without booting it once.

Owns what makes a root folder bootable on this cloud; what makes it a worker is in the Ansible playbook ``template.yml``.
All is built beside the template and takes its place at the end; an interrupted build leaves a folder that the next one
removes, and nothing mounted.
"""

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from server.cloud_settings.qemu import Converter
from server.errors import InfrastructureError
from server.progress import MB, Progress, Step, duration, growing, megabytes, repeating
from server.settings import CHECKOUT
from server.workers.ansible.connection import Host
from server.workers.ansible.playbooks import Playbooks, current_task
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.keys import KeyPair, ensure_key, make_key
from server.workers.clouds.qemu.host_setup import find_program
from server.workers.clouds.qemu.images.chroot import run_in_root, run_logged, save_from_root, sshd_in_root
from server.workers.clouds.qemu.images.images import describe_image
from server.workers.clouds.qemu.images.packages import PackageCache, package_variables, template_packages
from server.workers.clouds.qemu.images.unpack import TRACES, Debian
from server.workers.clouds.qemu.paths import QemuHome

PLAYBOOKS = CHECKOUT / "infra" / "ansible"
PLAY_LIMIT_S = 3600.0
SPARE_GB = 2
GB = 1 << 30
CONVERT_OPTIONS = ("-f", "raw", "-O", "qcow2", "-W")  # -W: in any order, since the file is on a disk of one's own
NO_SERVICES = "#!/bin/sh\nexit 101\n"  # https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
# Nothing here needs them, and an emulated processor takes seconds to load them at each boot.
NOT_LOADED = (
    *("kvm_amd", "kvm_intel", "powernow_k8", "acpi_cpufreq", "aesni_intel", "ghash_clmulni_intel", "sha512_ssse3"),
    *("sha256_ssse3", "sha1_ssse3", "crct10dif_pclmul", "evdev", "serio_raw", "psmouse", "pcspkr"),
)
# The devices that a machine has; drivers announce what appears later by themselves.
TRIGGER = """\
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net \
    --subsystem-match=virtio --subsystem-match=virtio-ports
"""
# growfs: a worker's disk is larger than the template's.
FILES = {
    "etc/hostname": "cumulus-worker\n",
    "etc/fstab": "/dev/vda / ext4 noatime,x-systemd.growfs 0 1\n",
    "etc/initramfs-tools/conf.d/cumulus": "MODULES=list\nCOMPRESS=gzip\nCOMPRESSLEVEL=1\n",
    "etc/modprobe.d/cumulus.conf": "".join(f"blacklist {name}\n" for name in NOT_LOADED),
    "etc/systemd/system/systemd-udev-trigger.service.d/cumulus.conf": TRIGGER,
}
MODULES = "virtio_pci\nvirtio_blk\next4\n"
# What a machine of an hour's life does not need; together they made a third of an emulated boot.
QUIET_UNITS = (
    *("systemd-logind.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-pstore.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *(f"modprobe@{module}.service" for module in ("configfs", "dm_mod", "drm", "efi_pstore", "fuse", "loop")),
    *("run-rpc_pipefs.mount", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    # Nobody can type on the console, root needs no leave to log in, and the host gives the random seed.
    *("serial-getty@ttyS0.service", "systemd-user-sessions.service", "systemd-random-seed.service"),
    *("systemd-journal-flush.service", "systemd-network-generator.service", "dev-hugepages.mount", "dev-mqueue.mount"),
    *("dbus.service", "dbus.socket"),  # systemctl has a way of its own for root
)
UNUSED_UNITS = ("nfs-client.target", "remote-fs.target")
UNITS = f"""\
systemctl -q mask {" ".join(QUIET_UNITS)}
systemctl -q disable {" ".join(UNUSED_UNITS)}
systemctl -q set-default multi-user.target
"""
# Only reads the root folder, so that it can run while the disk is written. Not compressed: an emulated processor would take a
# second at each boot to unpack it.
INITRD = """\
export TMPDIR=/run
mkinitramfs -o /run/initrd {version} >&2
gzip -dc /run/initrd
"""
# Licences stay; the other documentation is of packages that a role has installed by itself. The stamps say that nothing has to
# be made anew from /usr at the first boot.
FINISH = f"""\
apt-get clean
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /var/lib/apt/lists/* /usr/share/man/* /usr/share/info/* /usr/share/locale/* /tmp/* /var/tmp/* /root/.ansible
rm -f /usr/sbin/policy-rc.d {" ".join(f"/{name}" for name in TRACES)}
: > /etc/machine-id
touch /etc/.updated /var/.updated
"""


def template_hash() -> str:
    """Names what a template built now is made from: this module and its two parts, and the playbook with its roles."""
    here = Path(__file__)
    return build_hash(here, here.with_name("packages.py"), here.with_name("unpack.py"))


@dataclass(frozen=True)
class Builder:
    """Builds the template of one installation. Needs root rights and the network."""

    home: QemuHome
    suite: str
    mirror: str
    converters: tuple[Converter, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    def build(self, progress: Progress) -> None:
        """Make the template and put it in its place. Raises InfrastructureError; a former template stays then."""
        began, work = self.clock(), self.home.root / "build"
        root, image, log = work / "root", work / "image", work.parent / "build.log"
        debian = self._debian()
        debian.cache.collect(root)  # of a build that was killed
        shutil.rmtree(work, ignore_errors=True)
        image.mkdir(parents=True)
        root.mkdir()
        log.write_bytes(b"")
        with progress.step(f"Installing Debian {self.suite} with the apps", "packages") as step:
            debian.unpack(root, log, step)
            host_key = self._configure(root, log)
        with progress.step("Setting up the worker's programs") as step:
            self._install(root, host_key, log, step)
        with progress.step("Writing the template's disk", "MB") as step:
            self._finish(root, image, log, step)
        self._take_place(image)
        shutil.rmtree(work)
        progress.say(f"The template is ready ({duration(self.clock() - began)})")

    def _debian(self) -> Debian:
        packages = template_packages(PLAYBOOKS / "roles", self.variables)
        proxy = str(self.variables.get("worker_base_apt_proxy") or "")
        return Debian(self.suite, self.mirror, packages, PackageCache(self.home.root / "packages"), proxy)

    def _configure(self, root: Path, log: Path) -> KeyPair:
        """What it takes to boot here and to be logged in on; each machine gets its own host key before anybody does."""
        host_key = make_key()
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        with (root / "etc/initramfs-tools/modules").open("a") as modules:
            modules.write(MODULES)
        for path in (root / "etc/ssh").glob("ssh_host_*"):
            path.unlink()
        _write_private(root / "etc/ssh/ssh_host_ed25519_key", host_key.private)
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        _write_private(root / "root/.ssh/authorized_keys", f"{ensure_key(self.home.key)}\n")
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text(NO_SERVICES)
        policy.chmod(0o755)
        run_in_root(root, UNITS, log)
        return host_key

    def _install(self, root: Path, host_key: KeyPair, log: Path, step: Step) -> None:
        directory = self.home.root / "build" / "play"
        playbooks = Playbooks(PLAYBOOKS)
        with sshd_in_root(root, log) as port, repeating(lambda: step.note(current_task(directory))):
            playbooks.announce(directory, Host("template", "ssh", "127.0.0.1", port, "root", host_key.public, self.home.key))
            variables = {
                **self.variables,
                **{name: [] for name in package_variables()},  # they are installed
                "converters_archives": [one.model_dump(mode="json", exclude_none=True) for one in self.converters],
            }
            outcome = playbooks.run("template.yml", directory, variables, PLAY_LIMIT_S, lambda: False)
        with log.open("a") as file:
            file.write(outcome.output)
        if not outcome.ok:
            raise InfrastructureError(f"the template's playbook failed: {outcome.message} (all of it: {log})")

    def _finish(self, root: Path, image: Path, log: Path, step: Step) -> None:
        run_in_root(root, FINISH, log)
        (root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
        kernel = max((root / "boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
        shutil.copy(kernel, image / "vmlinuz")
        with ThreadPoolExecutor(1) as beside:
            script = INITRD.format(version=shlex.quote(kernel.name.removeprefix("vmlinuz-")))
            initrd = beside.submit(save_from_root, root, script, image / "initrd", log)
            self._write_disk(root, image, log, step)
            initrd.result()
            beside.submit(shutil.rmtree, root, ignore_errors=True)
            step.note("reading it back for its checksum")
            subprocess.run(["sync", "-f", str(image)], check=False)
            describe_image(image, self.clock(), template_hash())

    def _write_disk(self, root: Path, image: Path, log: Path, step: Step) -> None:
        raw, disk, used = image / "disk.raw", image / "disk.qcow2", _allocated(root)
        with raw.open("wb") as file:
            file.truncate((used // GB + 1 + SPARE_GB) * GB)
        with growing(step, raw, used / MB):
            run_logged([find_program("mkfs.ext4") or "mkfs.ext4", "-q", "-F", "-d", str(root), str(raw)], log)
        with growing(step, disk, megabytes(raw)):
            run_logged(["qemu-img", "convert", *CONVERT_OPTIONS, str(raw), str(disk)], log)
        raw.unlink()

    def _take_place(self, image: Path) -> None:
        old = self.home.template.with_name("template.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.home.template.exists():
            self.home.template.rename(old)
        image.rename(self.home.template)
        shutil.rmtree(old, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _allocated(folder: Path) -> int:
    """Bytes that all in the folder takes on the disk."""
    output = subprocess.run(["du", "-sx", "-B1", str(folder)], check=True, capture_output=True, text=True).stdout
    return int(output.split()[0])
