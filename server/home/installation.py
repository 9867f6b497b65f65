"""This installation: its id, which all it makes in a cloud carries, and who of its processes runs.

Owns ``installation-id``, ``controller.lock`` and ``controller.json`` in the home folder; that they stay true while a controller
runs is presence.py's matter.
"""

import fcntl
import json
import os
import re
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from programs.errors import explained
from server.errors import CumulusError
from server.home.files import InTheWay, in_the_way, open_lock, open_own, read_own_text, require_usable, set_aside, write_own

ID_FILE, LOCK_FILE, ADDRESS_FILE = "installation-id", "controller.lock", "controller.json"
ID_COPY = Path("terraform") / ID_FILE  # beside the states of the machines that carry it
FOR_OTHERS = (ADDRESS_FILE, ID_FILE)
ID_FORM = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MADE_HERE = re.compile(r"c[0-9a-f]{12}")
# What Cumulus makes directly in the home, with what is set aside or beside it; and hidden names, as a user's own folder has.
OWN = re.compile(
    r"\..*|(cumulus\.sqlite|controller|installation-id|demo|backups|log|plays|terraform|qemu|openstack|local|agent|storage|ready)"
    r"([.-].*)?"
)
SMALL = 10_000  # bytes; none of these files is longer
log = structlog.get_logger()
LOST_ID = (
    "{path} {why}, and nothing else tells the id that this installation's machines carry (as cumulus_server): restore the file"
    " from a backup; or have `cumulus storage adopt` take it from the storage; or, where none of them exists any more, give it a"
    " new one: echo c$(openssl rand -hex 6) > {path}"
)
NUDGE = signal.SIGUSR1
LOOKED_AT_S = 0.3  # for a moment the lock is held by who only looks, see is_held
LOOK_S = 0.02
DYING_S = 10.0  # a killed process of some GB takes a moment to go
PF_EXITING = 0x4  # of a process, as the kernel counts


class AlreadyRunning(CumulusError):
    """A second controller on one installation would manage the same machines."""

    code = "already_running"


class NotOurs(CumulusError):
    """The controller belongs to another user of this computer."""

    code = "not_ours"


class HomeUnusable(CumulusError):
    """The home folder cannot be made, read or written."""

    code = "home_unusable"


class IdLost(HomeUnusable):
    """There may be machines of this installation, and nothing in its home tells the id that they carry."""

    code = "id_lost"


@dataclass(frozen=True)
class Running:
    """A controller that answers. ``began``: when its process did (Unix seconds); another process may get its number."""

    pid: int
    began: float
    url: str


def installation_id(home: Path) -> str:
    """The id of this installation; made at the first call, the same ever after.

    Where its file is lost, the id is taken from what else tells of it: with another one all machines would be nobody's. Raises
    HomeUnusable; IdLost where there may be machines and nothing tells.
    """
    make_home(home)
    try:
        known = _read_id(home) or _recovered_id(home)
    except InTheWay as problem:
        raise HomeUnusable(_unusable_text(home, problem.message)) from None
    return known


def known_id(home: Path) -> str:
    """The id of this installation; "" where there is none, or its file tells none. Makes nothing. Raises HomeUnusable."""
    try:
        found = read_own_text(home / ID_FILE, SMALL).strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return ""
    except OSError as problem:
        raise HomeUnusable(_unusable_text(home, explained(problem))) from None
    return found if ID_FORM.fullmatch(found) else ""


def remember_id(home: Path, known: str) -> None:
    """Keep a copy of the id, for the day on which its file is lost."""
    with suppress(InTheWay):
        if _id_in(home / ID_COPY) != known:
            write_own(home / ID_COPY, f"{known}\n", 0o644)


def restore_id(home: Path, known: str) -> None:
    """Have the id in its file, whatever has become of that. Raises InTheWay."""
    path = home / ID_FILE
    if os.path.lexists(path):
        set_aside(path, f"it {_trouble_with_id(path)}; the id is {known}")
    else:
        log.warning("the installation's id was not there any more; it is written again", file=str(path), id=known)
    _write_id(path, known)


def read_id(home: Path) -> str:
    """The id in its file; "" where there is none that could be one."""
    return _id_in(home / ID_FILE)


def _read_id(home: Path) -> str:
    """The same; one that was not made here counts only where nothing contradicts it."""
    path = home / ID_FILE
    if not os.access(path, os.R_OK) and path.exists():
        require_usable(path)
    found = _id_in(path)
    if not found or MADE_HERE.fullmatch(found):
        return found
    return found if _remembered_id(home) in ("", found) else ""


def _recovered_id(home: Path) -> str:
    """The id where its file does not tell it; a new one only where nothing was ever made with another. Raises IdLost.

    One process, or thread, at a time: another would set aside what the first has just written.
    """
    path = home / ID_FILE
    with _alone_in(home):
        if known := _read_id(home):
            return known
        if remembered := _remembered_id(home):
            restore_id(home, remembered)
            return remembered
        if any(home.glob("terraform/*/state")):
            raise IdLost(LOST_ID.format(path=path, why=_trouble_with_id(path)))
        if os.path.lexists(path):
            set_aside(path, f"it {_trouble_with_id(path)}")
        return _write_id(path, f"c{secrets.token_hex(6)}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock of the folder itself. Raises InTheWay."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise in_the_way(problem) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remembered_id(home: Path) -> str:
    """What the copy says, or what all machines that Terraform knows were made with; "" where nothing tells."""
    if found := _id_in(home / ID_COPY):
        return found
    made_with = {_made_with(path) for path in home.glob("terraform/*/vars/*.tfvars.json")} - {""}
    return made_with.pop() if len(made_with) == 1 else ""


def _made_with(variables: Path) -> str:
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(read_own_text(variables)).get("server_id")
        return found if isinstance(found, str) and ID_FORM.fullmatch(found) else ""
    return ""


def _id_in(path: Path) -> str:
    with suppress(OSError, ValueError):
        found = read_own_text(path, SMALL).strip()
        return found if ID_FORM.fullmatch(found) else ""
    return ""


def _trouble_with_id(path: Path) -> str:
    try:
        return "holds no id" if read_own_text(path, SMALL).strip() else "is empty"
    except FileNotFoundError:
        return "leads nowhere" if path.is_symlink() else "is not there"
    except OSError as problem:
        return f"cannot be read ({problem.strerror})"
    except ValueError:
        return "holds no id"


def adopt_id(home: Path, server_id: str) -> None:
    """Have this home take the place of a lost one, whose id is known. Raises HomeUnusable."""
    make_home(home)
    try:
        write_own(home / ID_FILE, f"{server_id}\n", 0o644)
    except InTheWay as problem:
        raise HomeUnusable(_unusable_text(home, problem.message)) from None
    remember_id(home, server_id)


def _write_id(path: Path, known: str) -> str:
    """Write the id, unless another process was quicker; returns what is there then. Raises InTheWay."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        beside.write_text(f"{known}\n")
        with suppress(FileExistsError):
            os.link(beside, path)
        return _id_in(path)
    except OSError as problem:
        raise in_the_way(problem) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def make_home(home: Path) -> None:
    """The home folder, made where it is not there. Raises HomeUnusable."""
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as problem:
        raise _unusable(home, problem) from None


def close_home(home: Path, storage: Path) -> None:
    """Leave other users of this computer nothing of the home but where its controller answers, and the storage with its rights.

    A lock that they could read they could also hold. What is another user's stays as it is, and what is not Cumulus's: the
    setting may name a folder of other things, such as /etc.
    """
    found = [path for path in home.iterdir() if path.name not in FOR_OTHERS and path not in (storage, *storage.parents)]
    own = [path for path in found if OWN.fullmatch(path.name)]
    if len(own) == len(found):
        home.chmod(stat.S_IMODE(home.stat().st_mode) & ~0o066)
    else:
        others = sorted(path.name for path in found if path not in own)[:3]
        log.warning("the home folder has other things, so other users may still list it", home=str(home), others=others)
    for path in own:
        if not path.is_symlink():
            with suppress(FileNotFoundError, PermissionError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)


def _unusable(home: Path, problem: OSError) -> HomeUnusable:
    return HomeUnusable(_unusable_text(home, explained(problem)))


def _unusable_text(home: Path, why: str) -> str:
    return f"the home folder {home} cannot be used: {why} (CUMULUS_HOME sets another one)"


@contextmanager
def only_controller(home: Path) -> Iterator[IO[bytes]]:
    """Hold the installation while the controller runs; its lock, open. Raises AlreadyRunning, HomeUnusable.

    A killed controller holds nothing. One whose lock was removed or replaced goes on, and is asked for, too.
    """
    with _lock_file(home) as lock:
        until = time.monotonic() + LOOKED_AT_S
        is_dying = False
        while not try_lock(lock):
            if not is_dying and _is_dying(_holder_pid(home)):
                is_dying, until = True, time.monotonic() + DYING_S
            if time.monotonic() > until:
                raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}; `cumulus stop` ends it")
            time.sleep(LOOK_S)
        if (other := running_controller(home)) and other.pid != os.getpid() and not _is_dying(other.pid):
            raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}; `cumulus stop` ends it")
        sign(lock)
        yield lock


def sign(lock: IO[bytes]) -> None:
    """Say in the lock's file who holds it, which is only for people: the disk may be full."""
    with suppress(OSError):
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), f"{os.getpid()}\n".encode(), 0)


def _lock_file(home: Path) -> IO[bytes]:
    make_home(home)
    try:
        return open_lock(home / LOCK_FILE, seize=False)
    except InTheWay as problem:
        raise HomeUnusable(_unusable_text(home, problem.message)) from None


def is_held(home: Path) -> bool:
    """Whether a controller, or a command that must be alone, has the installation; it may be starting or ending."""
    with suppress(OSError), open_own(home / LOCK_FILE) as lock:
        if not try_lock(lock, fcntl.LOCK_SH):
            return True
    return running_controller(home) is not None  # whose lock was removed, or something else lies there


def try_lock(lock: IO[Any], how: int = fcntl.LOCK_EX) -> bool:
    """Lock the open file, shared or alone, unless somebody else has; whether it is locked. The lock ends with the process."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(home: Path) -> str:
    """Who has the installation, as far as it is known, in brackets."""
    if other := running_controller(home):
        return f" (process {other.pid}, {other.url})"
    if pid := _holder_pid(home):
        return f" (process {pid}, which is starting or ending)"
    return ""


def _holder_pid(home: Path) -> int:
    """As the lock's file says; 0 where it says nothing."""
    with suppress(OSError, ValueError):
        return int(read_own_text(home / LOCK_FILE, SMALL))
    return 0


def _is_dying(pid: int) -> bool:
    """Whether the process was killed, and the kernel still gives back what it has: its files, and its locks, go last."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pending = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
        killed = any(int(line.split()[1], 16) & 1 << (signal.SIGKILL - 1) for line in pending)
        return killed or fields[0] in "ZX" or bool(int(fields[6]) & PF_EXITING)
    return False


def announce(home: Path, url: str) -> None:
    """Tell other commands on this computer where this process answers. Raises InTheWay."""
    running = Running(os.getpid(), psutil.Process().create_time(), url)
    write_own(home / ADDRESS_FILE, json.dumps(asdict(running)), 0o644)


def withdraw(home: Path) -> None:
    """Tell nobody any more."""
    with suppress(OSError):
        (home / ADDRESS_FILE).unlink()


def nudge(home: Path) -> None:
    """Have the controller look again now, if one runs: something was changed behind its back."""
    if running := running_controller(home):
        with suppress(PermissionError, ProcessLookupError):  # it looks by itself in a while
            os.kill(running.pid, NUDGE)


def end_controller(home: Path, limit_s: float) -> None:
    """End the controller in order, if one runs. Raises AlreadyRunning if it does not end in time, NotOurs."""
    running = running_controller(home)
    if running is None:
        return
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        owner = psutil.Process(running.pid).username()
        raise NotOurs(f"the controller (process {running.pid}) is {owner}'s: run this as {owner}") from None
    deadline = time.monotonic() + limit_s
    while running_controller(home) == running:
        if time.monotonic() > deadline:
            raise AlreadyRunning(f"the controller (process {running.pid}) does not end")
        time.sleep(0.1)


def running_controller(home: Path) -> Running | None:
    """The controller that answers on this installation; None where there is none."""
    try:
        found = Running(**json.loads(read_own_text(home / ADDRESS_FILE, SMALL)))
        alive = psutil.Process(found.pid).create_time() == found.began
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return found if alive and isinstance(found.url, str) else None
