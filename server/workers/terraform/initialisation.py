"""A Terraform module made ready for use: its text, its backend's configuration and its providers, once for each version of them.

Owns Terraform's data folder, the module's copy and the mark that says what they were when all was well. Every use compares: what
has changed since is made anew, so that no damaged file of them fails all jobs.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from server.home.files import own_folder, read_own, read_own_text, remove_own, require_usable, set_aside, write_own
from server.workers.terraform.state_file import clear_way, is_state
from server.workers.terraform.state_store import StateStore

LOCK_FILE = ".terraform.lock.hcl"
FORMAT = 3  # raise it where an initialisation of an earlier version does not serve any more
NOTHING = "nothing"
# What Terraform prints where its own folder is not as the last init has left it, and a new init helps.
DAMAGED = re.compile(
    r"Backend initialization required|Required plugins are not installed|Inconsistent dependency lock file"
    r"|does not match any of the checksums|Failed to load state|[Ff]ailed to instantiate provider"
    r"|Unrecognized remote plugin message|Could not load the schema for provider"
    r"|failed to read provider|Error loading (state|backend)|[Mm]odule not installed"
)
log = structlog.get_logger()


@dataclass(frozen=True)
class Made:
    """What an initialisation was made of, and what it has made, each as a digest."""

    source: str
    backend: str
    module: str
    providers: str


@dataclass(frozen=True)
class Readiness:
    """One module's. ``source``: its text; ``path``: where terraform works, the source or a copy; ``home``: its own files' folder.

    ``binary``: the terraform; ``init``: runs its init, and raises where that fails.
    """

    source: Path
    path: Path
    home: Path
    binary: str
    init: Callable[[], None]

    @property
    def data(self) -> Path:
        """Terraform's own folder: the backend's configuration, the providers."""
        return self.home / "data"

    @property
    def default_state(self) -> Path:
        """The state of the workspace that nobody uses; Terraform reads it at each init."""
        return self.home / "state" / "terraform.tfstate"

    def holds(self) -> bool:
        """Whether the module is ready as it is."""
        return self._marked() == self._found()

    def make(self) -> None:
        """Make it ready; what is damaged is set aside first. Raises what ``init`` does, InTheWay, OSError."""
        before = self._marked()
        self._clear_way(before)
        if self.path != self.source:
            self._copy()
        self.init()
        write_own(self._mark, json.dumps(asdict(self._found()), indent=1) + "\n", 0o644)
        if before and before.source == self._source():
            log.warning("terraform's own files were not as they had been; they are made anew", folder=str(self.home))

    def invalidate(self, output: str) -> None:
        """After a terraform has failed: where its output blames its own files, they are made anew before the next one."""
        if DAMAGED.search(output):
            remove_own(self._mark)
            if (self.data / "providers").exists():
                set_aside(self.data / "providers", "terraform could not use it")
            log.warning("terraform could not use its own files; they are made anew", folder=str(self.home))

    @property
    def _mark(self) -> Path:
        return self.home / "initialised"

    def _marked(self) -> Made | None:
        with suppress(OSError, ValueError, TypeError):
            return Made(**json.loads(read_own_text(self._mark)))
        return None

    def _found(self) -> Made:
        backend = _content(self.data / "terraform.tfstate")
        texts = [] if self.path == self.source else [*sorted(self.path.glob("*.tf")), self.path / LOCK_FILE]
        module = _digest(f"{text.name} {_content(text)}" for text in texts)
        return Made(self._source(), backend, module, _digest(_looks(self.data / "providers")))

    def _source(self) -> str:
        # The home is in it: terraform notes where its states lie, and a copied or moved home would go on in the former one.
        texts = sorted((*self.source.glob("*.tf"), *self.source.glob(LOCK_FILE)))
        return _digest([f"{FORMAT} {self.binary} {self.home}", *(f"{text.name} {_content(text)}" for text in texts)])

    def _clear_way(self, before: Made | None) -> None:
        for folder in (StateStore(self.home).states, self.data):
            own_folder(folder)
        config, providers = self.data / "terraform.tfstate", self.data / "providers"
        if os.path.lexists(config) and not _is_object(config):
            set_aside(config, "it is no configuration of a backend")
        if not is_state(self.default_state):
            set_aside(self.default_state, "it is no state")
        for path in (config, self._mark):
            require_usable(path)
        clear_way(self.default_state)
        changed = before is not None and before.providers != _digest(_looks(providers))
        if os.path.lexists(providers) and (changed or not providers.is_dir()):
            set_aside(providers, "it is not as terraform's init has left it")

    def _copy(self) -> None:
        """The module's present text, beside the lock file of an earlier one."""
        own_folder(self.path)
        for path in self.path.glob("*.tf"):
            remove_own(path)
        for path in self.source.glob("*.tf"):
            write_own(self.path / path.name, path.read_bytes(), 0o644)
        lock = self.path / LOCK_FILE
        require_usable(lock)
        if lock.exists() and 'provider "' not in _text(lock):
            set_aside(lock, "it names no provider")


def _looks(folder: Path) -> Iterator[str]:
    """What the file system says of every file below a folder, also where links lead."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            path = Path(place) / name
            with suppress(OSError):
                found = path.stat()
                yield f"{path.relative_to(folder)} {found.st_size} {found.st_mtime_ns} {found.st_mode}"


def _content(path: Path) -> str:
    """A digest of what the file holds, or why it holds nothing."""
    try:
        return hashlib.sha256(read_own(path)).hexdigest()
    except FileNotFoundError:
        return NOTHING
    except OSError as problem:
        return f"{problem.strerror}"


def _text(path: Path) -> str:
    try:
        return read_own_text(path)
    except (OSError, ValueError):
        return ""


def _is_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(read_own(path)), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _digest(lines: Iterator[str] | list[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()
