"""The template's disk: a Debian of its own, the worker's roles and the apps on it, made without booting it once.

Owns what makes a root folder bootable on this cloud; what makes it a worker is in the Ansible playbook ``template.yml``.
All is built beside the template and takes its place at the end; an interrupted build leaves a folder that the next one
removes, and nothing mounted.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.errors import InfrastructureError
from server.progress import Progress
from server.settings import CHECKOUT, Converter
from server.workers.clouds.keys import KeyPair, ensure_key, make_key
from server.workers.clouds.qemu.chroot import isolated, run_in_root, run_logged, sshd_in_root
from server.workers.clouds.qemu.images import describe_image
from server.workers.clouds.qemu.places import QemuHome
from server.workers.clouds.qemu.setup import find_program
from server.workers.clouds.recipe import recipe_of
from server.workers.playbooks import Playbooks
from server.workers.reach import Host

PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "udev",
    "dbus",
    "openssh-server",
    "nfs-common",
    "python3",
    "python3-apt",
    "rsync",
    "iproute2",
    "kmod",
    "e2fsprogs",
)
PLAYBOOKS = CHECKOUT / "infra" / "ansible"
PLAY_LIMIT_S = 3600.0
SPARE_GB = 2
GB = 1 << 30
NO_SERVICES = "#!/bin/sh\nexit 101\n"  # https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
# Nothing here needs them, and an emulated processor takes seconds to load them at each boot.
NOT_LOADED = (
    *("kvm_amd", "kvm_intel", "powernow_k8", "acpi_cpufreq", "aesni_intel", "ghash_clmulni_intel", "sha512_ssse3"),
    *("sha256_ssse3", "sha1_ssse3", "crct10dif_pclmul", "evdev", "serio_raw", "psmouse", "pcspkr"),
)
# growfs: a worker's disk is larger than the template's.
FILES = {
    "etc/hostname": "cumulus-worker\n",
    "etc/fstab": "/dev/vda / ext4 noatime,x-systemd.growfs 0 1\n",
    "etc/initramfs-tools/conf.d/cumulus": "MODULES=list\nCOMPRESS=gzip\n",
    "etc/modprobe.d/cumulus.conf": "".join(f"blacklist {name}\n" for name in NOT_LOADED),
}
MODULES = "virtio_pci\nvirtio_blk\next4\n"
# What a machine of an hour's life does not need; together they made a third of an emulated boot.
QUIET_UNITS = (
    *("systemd-logind.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-pstore.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *(f"modprobe@{module}.service" for module in ("configfs", "dm_mod", "drm", "efi_pstore", "fuse", "loop")),
    *("run-rpc_pipefs.mount", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
)
UNUSED_UNITS = ("nfs-client.target", "remote-fs.target")
UNITS = f"""\
systemctl -q mask {" ".join(QUIET_UNITS)}
systemctl -q disable {" ".join(UNUSED_UNITS)}
systemctl -q set-default multi-user.target
"""
FINISH = """\
update-initramfs -u
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /tmp/* /var/tmp/* /root/.ansible
rm -f /usr/sbin/policy-rc.d
: > /etc/machine-id
"""


def recipe() -> str:
    """Names what a template built now is made from: this module and the playbook with its roles."""
    return recipe_of(Path(__file__))


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
        shutil.rmtree(work, ignore_errors=True)
        root, image, log = work / "root", work / "image", work.parent / "build.log"
        image.mkdir(parents=True)
        log.write_bytes(b"")

        def phase(text: str) -> None:
            progress.say(f"{text} ({self.clock() - began:.0f} s)")

        phase(f"Unpacking Debian {self.suite}")
        self._bootstrap(root, log)
        host_key = self._configure(root, log)
        phase("Installing the worker's programs and the apps")
        self._install(root, host_key, log)
        phase("Writing the disk")
        run_in_root(root, FINISH, log)
        (root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
        self._write_image(root, image, log)
        self._take_place(image)
        shutil.rmtree(work)
        phase("The template is ready")

    def _bootstrap(self, root: Path, log: Path) -> None:
        cache = self.home.root / "packages"
        cache.mkdir(parents=True, exist_ok=True)
        options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--cache-dir={cache}"]
        mirror = [self.mirror] if self.mirror else []
        run_logged(isolated(find_program("debootstrap") or "debootstrap", *options, self.suite, str(root), *mirror), log)

    def _configure(self, root: Path, log: Path) -> KeyPair:
        """What it takes to boot here and to be logged in on; each machine gets its own host key before anybody does."""
        host_key = make_key()
        for name, text in FILES.items():
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

    def _install(self, root: Path, host_key: KeyPair, log: Path) -> None:
        directory = self.home.root / "build" / "play"
        playbooks = Playbooks(PLAYBOOKS)
        with sshd_in_root(root, log) as port:
            playbooks.announce(directory, Host("template", "ssh", "127.0.0.1", port, "root", host_key.public, self.home.key))
            variables = {
                **self.variables,
                "converters_archives": [one.model_dump(mode="json", exclude_none=True) for one in self.converters],
            }
            outcome = playbooks.run("template.yml", directory, variables, PLAY_LIMIT_S, lambda: False)
        with log.open("a") as file:
            file.write(outcome.output)
        if not outcome.ok:
            raise InfrastructureError(f"the template's playbook failed: {outcome.message} (all of it: {log})")

    def _write_image(self, root: Path, image: Path, log: Path) -> None:
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
            newest = max((root / "boot").glob(pattern), key=lambda path: path.stat().st_mtime)
            shutil.copy(newest, image / name)
        raw = image / "disk.raw"
        used = sum(path.lstat().st_blocks * 512 for path in root.rglob("*") if not path.is_symlink())
        with raw.open("wb") as file:
            file.truncate((used // GB + 1 + SPARE_GB) * GB)
        run_logged([find_program("mkfs.ext4") or "mkfs.ext4", "-q", "-F", "-d", str(root), str(raw)], log)
        run_logged(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image / "disk.qcow2")], log)
        raw.unlink()
        subprocess.run(["sync", "-f", str(image)], check=False)
        describe_image(image, self.clock(), recipe())

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
