"""The installation's id, which everything that it makes in a cloud carries. Owns ``installation-id`` in the home folder.

Which of its processes runs is known to :mod:`server.home.running` and :mod:`server.home.controller_lock`;
:mod:`server.home.presence` keeps the files true while a controller runs.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from programs.errors import explained
from server.home.files import InTheWay, in_the_way, read_own_text, require_usable, set_aside, write_own
from server.home.folder import ID_FILE, SMALL, HomeUnusable, make_home, unusable_text

ID_COPY = Path("terraform") / ID_FILE  # beside the states of the machines that carry it
ID_FORM = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MADE_HERE = re.compile(r"c[0-9a-f]{12}")
log = structlog.get_logger()
LOST_ID = (
    "{path} {why}, and nothing else has the id that this installation's machines carry (as cumulus_server): restore the file"
    " from a backup; or have `cumulus storage adopt` take it from the storage; or, where none of them exists any more, give it a"
    " new one: echo c$(openssl rand -hex 6) > {path}"
)


class IdLost(HomeUnusable):
    """There may be machines of this installation, and nothing in its home has the id that they carry."""

    code = "id_lost"


def installation_id(home: Path) -> str:
    """The id of this installation; made at the first call, the same ever after.

    Where its file is lost, the id is recovered from its copy or from the machines' variables: under another id all machines would
    be orphans. Raises HomeUnusable; IdLost where there may be machines and nothing names the id.
    """
    make_home(home)
    try:
        known = _read_id(home) or _recovered_id(home)
    except InTheWay as problem:
        raise HomeUnusable(unusable_text(home, problem.message)) from None
    return known


def known_id(home: Path) -> str:
    """The id of this installation; "" where there is none, or its file holds none. Makes nothing. Raises HomeUnusable."""
    try:
        found = read_own_text(home / ID_FILE, SMALL).strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return ""
    except OSError as problem:
        raise HomeUnusable(unusable_text(home, explained(problem))) from None
    return found if ID_FORM.fullmatch(found) else ""


def remember_id(home: Path, known: str) -> None:
    """Keep a copy of the id, for the day on which its file is lost."""
    with suppress(InTheWay):
        if _id_in(home / ID_COPY) != known:
            write_own(home / ID_COPY, f"{known}\n", 0o644)


def restore_id(home: Path, known: str) -> None:
    """Write the id into its file again, whatever has become of that. Raises InTheWay."""
    path = home / ID_FILE
    if os.path.lexists(path):
        set_aside(path, f"it {_why_no_id(path)}; the id is {known}")
    else:
        log.warning("the installation's id was lost; it is written again", file=str(path), id=known)
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
    """The id where its file does not hold it; a new one only where nothing was ever made with another. Raises IdLost.

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
            raise IdLost(LOST_ID.format(path=path, why=_why_no_id(path)))
        if os.path.lexists(path):
            set_aside(path, f"it {_why_no_id(path)}")
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
    """The id in the copy, or the one that all machines known to Terraform were made with; "" where neither names one."""
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


def _why_no_id(path: Path) -> str:
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
        raise HomeUnusable(unusable_text(home, problem.message)) from None
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
