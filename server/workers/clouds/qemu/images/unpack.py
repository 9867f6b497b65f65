"""Debian unpacked into an empty root folder by mmdebstrap. Owns its options, its progress, and what its failures mean.

All packages are installed by one run of apt. Nothing is flushed to the disk on the way: an interrupted build is thrown away.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.errors import InfrastructureError
from server.progress import Step
from server.workers.clouds.qemu.images.chroot import isolated, run_logged
from server.workers.clouds.qemu.images.packages import PackageCache

MIRROR = "http://deb.debian.org/debian"
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
APT_OPTIONS = (
    'APT::Install-Recommends "false"',
    'Acquire::Languages "none"',
    'Acquire::Retries "2"',
    'Acquire::http::Timeout "20"',
    'Acquire::https::Timeout "20"',
)
# Nobody reads documentation on a worker. Licences stay.
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
)
# The roles find apt's lists fresh, and the downloaded packages go to the cache.
KEPT = ("check/empty", "download/empty", "essential/unlink", "cleanup/apt/lists", "cleanup/apt/cache")
# What mmdebstrap leaves of its options in the root folder.
TRACES = ("etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap")
PROXIES = ("http_proxy", "https_proxy")
PROXY_LIMIT_S = 20.0

NEW = re.compile(r"^\d+ upgraded, (\d+) newly installed")
DOWNLOADING = re.compile(r"Get:\d+ \S+ \S+ \S+ (\S+)")
STAGE = "I: "
LAST_STAGE = "I: installing remaining packages"
ERRORS = ("E: ", "dpkg: error", "dpkg-deb: error")
UNKNOWN_PACKAGE = re.compile(r"E: (?:Unable to locate package|Package) '?([a-z0-9][a-z0-9.+-]*)")
NO_ANSWER = re.compile(
    r"Could not resolve|Temporary failure resolving|Could not connect|Unable to connect|Cannot initiate the connection"
    r"|Connection failed|Connection timed out|Connection refused|Network is unreachable"
)
NO_RELEASE = re.compile(r"does not have a Release file")
UNSIGNED = re.compile(r"NO_PUBKEY|is not signed|couldn't be verified")


class PackagesUnavailable(InfrastructureError):
    """The mirror does not answer, or has not what was asked for; another attempt right away would fail as well."""

    code = "packages"


@dataclass(frozen=True)
class Debian:
    """What will be unpacked, and from where. ``mirror`` "": Debian's own; ``proxy`` "": what this computer's apt uses."""

    suite: str
    mirror: str
    packages: tuple[str, ...]
    cache: PackageCache
    proxy: str = ""

    def unpack(self, root: Path, log: Path, step: Step) -> None:
        """Fill the empty folder ``root``. ``step`` counts packages. Raises InfrastructureError.

        A package that was damaged in the cache is downloaded again.
        """
        offered = self.cache.offer(root)
        try:
            self._install(root, log, step)
        except PackagesUnavailable:
            self.cache.collect(root)
            raise
        except InfrastructureError:
            if not offered:
                raise
            step.note("a downloaded package may be damaged: all are downloaded anew")
            self.cache.clear()
            _empty(root)
            self._install(root, log, step)
        self.cache.collect(root)

    def _install(self, root: Path, log: Path, step: Step) -> None:
        counter, began = _Packages(step), log.stat().st_size
        try:
            run_logged(isolated(*self._command(root)), log, counter.hear, self._environment(root.parent))
        except InfrastructureError as problem:
            with log.open(errors="replace") as file:
                file.seek(began)
                errors = [line.strip() for line in file if line.startswith(ERRORS)]
            if known := self._explain(errors):
                raise PackagesUnavailable(f"{known} (all of it: {log})") from None
            raise InfrastructureError(
                f"mmdebstrap failed: {errors[0]} (all of it: {log})" if errors else problem.message
            ) from None

    def _command(self, root: Path) -> list[str]:
        return [
            "mmdebstrap",
            *("--verbose", "--mode=root", "--variant=minbase", "--format=directory", f"--hook-dir={MERGED_USR}"),
            *(f"--skip={','.join(KEPT)}", f"--include={','.join(self.packages)}"),
            *(f"--aptopt={option}" for option in APT_OPTIONS),
            *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
            *(self.suite, str(root), self.mirror or MIRROR),
        ]

    def _environment(self, temporary: Path) -> dict[str, str]:
        """INITRD: the initial RAM disk is made once, when all of its contents are there."""
        proxies = dict.fromkeys(PROXIES, self.proxy) if self.proxy else host_proxies(os.environ)
        own = {"TMPDIR": str(temporary), "INITRD": "No", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return {**os.environ, **proxies, **own}

    def _explain(self, errors: Iterable[str]) -> str:
        """What to do about the failure that apt tells of in these lines; "" where they tell of none that is known."""
        mirror = self.mirror or MIRROR
        for line in errors:
            if NO_ANSWER.search(line):
                return f"the package mirror {mirror} does not answer: look at the network, http_proxy and debian_mirror ({line})"
            if NO_RELEASE.search(line):
                return f"the package mirror {mirror} does not have Debian {self.suite}: look at debian_suite and debian_mirror"
            if UNSIGNED.search(line):
                return f"the signature of {mirror} cannot be checked: apt-get install debian-archive-keyring ({line})"
            if found := UNKNOWN_PACKAGE.search(line):
                return f"Debian {self.suite} on {mirror} has no package {found[1]}: look at template_variables"
        return ""


@dataclass
class _Packages:
    """Counts packages by what apt and dpkg say: each is unpacked and then set up.

    apt says how many are new once a stage, and again where it had nothing to download.
    """

    step: Step
    in_earlier_stages: int = 0
    in_this_stage: int = 0
    half_steps: int = 0
    is_all_known: bool = field(default=False)

    @property
    def expected(self) -> int:
        """As far as is known yet."""
        return self.in_earlier_stages + self.in_this_stage

    def hear(self, line: str) -> None:
        """One line of mmdebstrap's output."""
        if line.startswith(STAGE):
            self.in_earlier_stages, self.in_this_stage = self.expected, 0
        if found := NEW.match(line):
            self.in_this_stage = max(self.in_this_stage, int(found[1]))
        self.is_all_known |= line.startswith(LAST_STAGE)
        if found := DOWNLOADING.match(line):
            self.step.note(f"downloading {found[1]}")
        if line.startswith(("Unpacking ", "Setting up ")):
            self.half_steps += 1
            self.step.advance(self.half_steps / 2, self.expected if self.is_all_known else None)
            self.step.note(line.partition(" (")[0])


def host_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxies that this computer's own apt is configured with, as variables; not where the environment names any."""
    if any(environment.get(name) for name in PROXIES):
        return {}
    script = "; ".join(f"apt-config shell {name} Acquire::{name.removesuffix('_proxy')}::Proxy" for name in PROXIES)
    command = ["sh", "-c", f'eval "$({script})"; printf "%s\\n" "$http_proxy" "$https_proxy"']
    try:
        lines = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PROXY_LIMIT_S).stdout.split("\n")
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {name: value for name, value in zip(PROXIES, lines, strict=False) if value and value != "DIRECT"}


def _empty(root: Path) -> None:
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)
    root.mkdir()
