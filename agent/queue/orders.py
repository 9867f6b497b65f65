"""What a client asks the agent to send, read from a form and checked: files of this computer, places in the storage."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.errors import InvalidInput
from agent.sources.paths import Root, base_name, job_folder, locate

MAX_FILES = 100_000
MAX_OWNER = 200
DATA = "data"  # where shared files lie in the storage


@dataclass(frozen=True)
class Wanted:
    """One file or folder that a job needs: its path here, its place (a folder) in the storage, its name there."""

    source: str
    place: str
    name: str

    @property
    def is_shared(self) -> bool:
        """Whether it is shared by all jobs."""
        return self.place == DATA


@dataclass(frozen=True)
class Order:
    """A job's files. ``refusal``: why the job cannot be served, "" if it can; the controller has to hear of it."""

    number: int
    folder: str
    owner: str
    wanted: tuple[Wanted, ...] = ()
    refusal: str = ""


def read_order(form: Mapping[str, str], roots: Iterable[Root]) -> Order:
    """The order in a client's form. Raises InvalidInput where it names no job, so that no owner can be informed.

    (The client sends the controller's own refusal as a job's number, when there is no job.)
    """
    number = job_number(form.get("job_id", ""))
    folder = job_folder(form.get("job_dir", ""), number)
    owner = _owner(form.get("owner", ""))
    try:
        places = tuple(roots)
        shared = [Wanted(path, DATA, base_name(path)) for path in _sources(form, "files", places)]
        local = [Wanted(path, own_place(folder), base_name(path)) for path in _sources(form, "local_files", places)]
        wanted = tuple(dict.fromkeys((*shared, *local)))
        _require_distinct(wanted)
    except InvalidInput as error:
        return Order(number, folder, owner, refusal=error.message)
    return Order(number, folder, owner, wanted)


def own_place(folder: str) -> str:
    """Where the files of one job alone lie in the storage."""
    return f"jobs/{folder}/input"


def job_number(text: str) -> int:
    """A job's id at the controller. Raises InvalidInput for anything else, such as a message."""
    if text.isascii() and text.isdigit() and len(text) < 16 and int(text):
        return int(text)
    raise InvalidInput(f"{text[:200]!r} is not the number of a job", field="job_id")


def _owner(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the owner has characters that no name can have", field="owner") from None
    if not text.strip() or len(text) > MAX_OWNER or "\0" in text:
        raise InvalidInput("an owner's name is needed, of 200 characters at most", field="owner")
    return text


def _sources(form: Mapping[str, str], field: str, roots: tuple[Root, ...]) -> list[str]:
    try:
        names = json.loads(form.get(field) or "[]")
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) > MAX_FILES or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{field}: this is not a JSON list of paths", field=field)
    return [locate(name, roots, field=field) for name in names]


def _require_distinct(wanted: tuple[Wanted, ...]) -> None:
    """Two sources cannot have one name, not in two places either: to the app, shared files and others lie in one folder."""
    seen: dict[str, str] = {}
    for one in wanted:
        other = seen.setdefault(one.name, one.source)
        if other != one.source:
            raise InvalidInput(f"{other!r} and {one.source!r} have the same name", field="files")
