"""The files below the home of an installation, and what may become of each: the table behind docs/operations.md.

A file that no row covers fails tests/faults/test_home.py: whoever adds one says here what happens when it is damaged.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

GARBAGE = b"}{ \xff\xfe\x00 garbage\n" * 20
NOBODY = 65534
SOMETHING = "something"
NOWHERE = Path("/proc/nowhere/file")  # where nobody can make it


class Outcome(StrEnum):
    """What happens when a file is damaged."""

    HEALS = "made again, and a log line says so"
    NO_EFFECT = "no effect, or written again in passing"
    APART = "a test of its own"


def missing(path: Path) -> None:
    """The file is gone."""
    path.unlink()


def empty(path: Path) -> None:
    """A full disk."""
    _write(path, b"")


def garbage(path: Path) -> None:
    """Half a restored backup, a bad disk."""
    _write(path, GARBAGE)


def _write(path: Path, content: bytes) -> None:
    if path.is_fifo():
        path.unlink()
    path.write_bytes(content)


def read_only(path: Path) -> None:
    """A backup restored with the wrong rights."""
    path.chmod(0o400)


def folder(path: Path) -> None:
    """A mistyped command."""
    path.unlink()
    path.mkdir()
    (path / SOMETHING).write_text("something\n")


def fifo(path: Path) -> None:
    """It would hold up whoever opens it."""
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    """A link to a disk that is not mounted."""
    path.unlink()
    path.symlink_to(NOWHERE)


def foreign(path: Path) -> None:
    """Somebody ran a command as another user."""
    path.chmod(0o600)
    os.chown(path, NOBODY, NOBODY)


KINDS: dict[str, Callable[[Path], None]] = {
    kind.__name__: kind for kind in (missing, empty, garbage, read_only, folder, fifo, dangling, foreign)
}
NOT_A_FILE = ("folder", "fifo", "dangling")


@dataclass(frozen=True)
class Row:
    """Files of one kind. ``pattern``: of their paths below the home; ``healed``: kinds of damage that a log line must tell of.

    ``said``: what that line says, ``{path}`` and ``{worker}`` filled in; ``apart``: kinds that a test of their own tries.
    """

    pattern: str
    start: Outcome
    running: Outcome
    healed: tuple[str, ...] = ()
    said: str = "{path}"
    apart: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether a path below the home is in this row."""
        return re.fullmatch(self.pattern, name) is not None


HEALS, NO_EFFECT, APART = Outcome.HEALS, Outcome.NO_EFFECT, Outcome.APART
BAD = ("empty", "garbage", *NOT_A_FILE)
TABLE = (
    Row(r"cumulus\.sqlite(-wal|-shm)?", APART, APART),
    Row(r"cumulus\.sqlite-mark", NO_EFFECT, NO_EFFECT),
    Row(r"accounts\.cumulus\.sqlite", APART, APART),  # tests/engine/test_account_roster.py
    Row(r"installation-id", HEALS, HEALS, ("missing", *BAD), "installation's id|installation-id"),
    Row(r"terraform/installation-id", APART, NO_EFFECT),
    Row(r"controller\.lock", HEALS, HEALS, NOT_A_FILE, "controller.lock", apart=("foreign",)),
    Row(r"controller\.sock", APART, APART),  # tests/api/v1/test_local_door.py
    Row(r"controller\.json", NO_EFFECT, HEALS, ("missing", *BAD), "controller.json"),
    Row(r"log/errors\.log(\.1)?", NO_EFFECT, NO_EFFECT),
    Row(r"terraform/local-worker/(workspaces|init)\.lock", HEALS, HEALS, (*NOT_A_FILE, "foreign")),
    Row(r"terraform/local-worker/initialised", NO_EFFECT, NO_EFFECT),
    Row(r"terraform/local-worker/data/terraform\.tfstate", HEALS, HEALS, ("empty", "garbage", "folder", "fifo")),
    Row(r"terraform/local-worker/output/[a-z0-9-]+\.txt", NO_EFFECT, NO_EFFECT),
    Row(
        r"terraform/local-worker/vars/(?P<worker>[a-z0-9-]+)\.tfvars\.json",
        HEALS,
        HEALS,
        ("garbage", *NOT_A_FILE),
        r"removed by its tag.*worker={worker}\b",
    ),
    Row(
        r"terraform/local-worker/state/workspaces/(?P<worker>[a-z0-9-]+)/terraform\.tfstate",
        HEALS,
        HEALS,
        ("garbage", *NOT_A_FILE, "foreign"),
        r"(removed by its tag|cannot be used).*{worker}\b",
    ),
    Row(
        r"terraform/local-worker/state/workspaces/[a-z0-9-]+/(terraform\.tfstate\.backup|\.terraform\.tfstate\.lock\.info)",
        NO_EFFECT,
        NO_EFFECT,
    ),
    Row(r"plays/[a-z0-9-]+\.(start|teardown|status|ready|login|boot|build)/.+", NO_EFFECT, NO_EFFECT),
    Row(r"local/[a-z0-9-]+/job/.+", APART, APART),
)

# Of the other clouds, and of the demonstration. tests/workers/clouds/qemu/test_damaged.py damages what can be, without a machine.
MODULE = r"terraform/(qemu|openstack)-(worker|template)/"
OTHER_CLOUDS = (
    r"terraform/(provider\.log|terraform\.rc|venv|mirror/.+)",
    MODULE + r"(initialised|(workspaces|init)\.lock|output/[a-z0-9-]+\.txt|vars/[a-z0-9-]+\.tfvars\.json)",
    MODULE + r"(data/(terraform\.tfstate|providers/.+)|module/(\.terraform\.lock\.hcl|[a-z]+\.tf))",
    MODULE + r"state/workspaces/[a-z0-9-]+/(terraform\.tfstate(\.backup)?|\.terraform\.tfstate\.lock\.info)",
    r"qemu/(accel\.json|machines\.lock|snapshot\.(lock|holder)|build\.log|packages/.+)",
    r"qemu/ssh/(id_ed25519(\.pub)?|template\.known_hosts)",
    r"qemu/machines/[a-z0-9-]+/(machine\.json|disk\.qcow2|qmp|identity|console\.log|qemu\.log|pid|resolv\.conf|unwanted)",
    r"qemu/(snapshots/[0-9]+|template)/(disk\.qcow2|vmlinuz|initrd|image\.json|programs\.json|apps\.json|promoted|checked\.(json|lock))",
    r"qemu/snapshots/[0-9]+/memory/[0-9cmg-]+/(ram|state|disk\.qcow2|fingerprint\.json|checked\.(json|lock)|on-demand|used|worker)",
    r"qemu/snapshots/current",
    r"qemu/nfs/(ganesha\.(conf|log)|pid|port|lock|users|uplink\.log|recovery/.+)",
    r"(demo|tests)\.lock|agent/.+|log/.+|backups/.+|ready\.seconds",
    r"openstack/(key(\.pub)?|lock|build\.log|template\.known_hosts)",
)


def is_known(name: str) -> bool:
    """Whether a path below the home is in the table, of whichever cloud."""
    return row_of(name) is not None or any(re.fullmatch(pattern, name) for pattern in OTHER_CLOUDS)


def row_of(name: str) -> Row | None:
    """The row of a path below the home; None where there is none."""
    return next((row for row in TABLE if row.covers(name)), None)


def files(home: Path) -> Iterator[Path]:
    """Every file below the home that is not the storage's, nor one that was set aside."""
    for place, folders, names in os.walk(home):
        folders[:] = [one for one in folders if ".broken-" not in one and Path(place, one) != home / "storage"]
        folders[:] = [one for one in folders if not (one == "broken" and Path(place).parent == home / "terraform")]
        yield from (Path(place, name) for name in sorted(names) if ".broken-" not in name and name != SOMETHING)
